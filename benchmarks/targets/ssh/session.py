"""A board at work on a job: what it is sent, and what it answers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_moe.benchmarks.answer import JOB
from edge_moe.benchmarks.job import INPUTS, PLAN, Job, bundle_files
from edge_moe.benchmarks.stream import Streamed
from edge_moe.benchmarks.targets.ssh import there
from edge_moe.benchmarks.targets.ssh.connection import Board, Connection, packed
from edge_moe.benchmarks.targets.ssh.sources import sources
from edge_moe.progress import Progress

__all__ = ["LOOPBACK", "BoardSession"]

_KIND = "ssh"  # a host's own name is nobody's business who reads the results
LOOPBACK = "over ssh on this machine itself"


class BoardSession(Streamed):
    """See the module."""

    def __init__(self, way: Connection, board: Board, job: Job, progress: Progress) -> None:
        """Send the job, and read the opening."""
        package, unpacked = packed({**sources(), **_files(job)})
        line = way.begin(
            "answer",
            package,
            progress,
            kind="job",
            unpacked=unpacked,
            paths=["core", *dict.fromkeys(one.backend for one in job.sets)],
            target=_KIND,
            how=LOOPBACK if board.boot == there.text("/proc/sys/kernel/random/boot_id") else "",
            facts={"python": ".".join(map(str, board.python)), "C library": " ".join(board.libc)},
        )
        super().__init__(line, way.name)


def _files(job: Job) -> dict[str, Path | bytes]:
    """Return the job folder, without peers, which are made on this machine alone."""
    plan = msgspec.structs.replace(job.plan, peers=False)
    found: dict[str, Path | bytes] = {f"{JOB}/{PLAN}": msgspec.json.encode(plan)}
    for name in (INPUTS, *plan.images):
        found[f"{JOB}/{name}"] = job.folder / name
    return found | bundle_files(job.bundle, f"{JOB}/{plan.bundle}/")
