"""A browser at work on a job: what the page is asked for, and what becomes of its answers.

Axis letters: N inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks.browser.desk import Alive, Hello
from edge_moe.benchmarks.browser.site import Content
from edge_moe.benchmarks.elsewhere import split_outputs
from edge_moe.benchmarks.job import INPUTS, PLAN, Job, bundle_files
from edge_moe.benchmarks.target import Prices, Session
from edge_moe.benchmarks.targets.browser.room import Room
from edge_moe.benchmarks.units import MS
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Cost, Facts, Machine, Opening, Round
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.errors import BackendError
from edge_moe.progress import Progress
from edge_moe.records import sha256
from edge_moe.sets import SetKey

__all__ = ["HOW", "BrowserSession", "outputs", "price"]

T = TypeVar("T")

HOW = "in a browser (WebAssembly)"
_PRICED = "priced/"
_NOTHING, _SOME = 1 << 10, 1 << 20
_BYTES_A_SAMPLE = 64  # of JSON: a cost, and which experts ran
_NUMBERS = count()


class BrowserSession(Session):
    """See the module."""

    def __init__(self, job: Job, name: str, room: Room, version: str) -> None:
        """Wait for a page and have it open the job; `version`: of what executes the artifacts."""
        self._job, self._room = job, room
        self._at = f"job-{next(_NUMBERS)}/"  # a page knows by it which one it has open
        files: dict[str, Content] = {f"{self._at}{one}": job.folder / one for one in (PLAN, INPUTS, *job.plan.images)}
        room.hand_out(files | bundle_files(job.bundle, f"{self._at}{job.plan.bundle}/"))
        self._hello = room.page()
        room.ask({"kind": "job", "job": self._at}, most_bytes=_NOTHING)
        self.steps = 1 + sum(2 + len(one.settings) for one in job.plan.sets)
        self.opening = Opening(
            schema_version=SCHEMA_VERSION,
            target=name,
            units=(MS,),
            machine=_machine(self._hello),
            versions={str(one.key): f"{version}, {self._hello.build}" for one in job.sets},
            how=HOW,
            facts={"timer step, ms": self._hello.timer_ms, "cross-origin isolated": self._hello.isolated},
        )

    @property
    def _most_bytes(self) -> int:
        """Of a round: costs of every image at every setting, and of every part some times."""
        plan, parts = self._job.plan, len(self._job.bundle.manifest.parts)
        samples = sum(plan.timed * (len(one.settings) + 4) + 20 * parts for one in plan.sets)
        return _SOME + _BYTES_A_SAMPLE * samples * max(1, parts)

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Ask for one round after the other."""
        for number in range(first, self._job.plan.rounds):
            told = _following(progress, step, self.steps)
            cold = number < self._job.plan.cold_starts
            task = {"kind": "round", "job": self._at, "number": number, "cold": cold}
            line = _decoded(self._room.ask(task, most_bytes=self._most_bytes, told=told), Round)
            if (now := self._room.page()).identity != self._hello.identity:
                raise BackendError(
                    f"another browser answered, {_machine(now).title}, and {self.opening.machine.title} had begun; "
                    "open the page in that one and repeat the command, or measure into another folder with -o"
                )
            told(Alive(visible=True, done=self.steps))
            yield line

    def __exit__(self, *_: object) -> None:
        """Let the page wait for what comes next."""
        self._room.hand_out({})


def outputs(room: Room, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
    """Run one part on N inputs; see `Target.outputs`."""
    address, artifact, spec = f"{_PRICED}{part}", artifacts.parts[part], bundle.manifest.parts[part]
    room.hand_out({address: bundle.read(artifact)})
    expected = 4 * len(inputs) * sum(int(np.prod(one.shape)) for one in spec.outputs)
    task = {
        "kind": "outputs",
        "url": address,
        "artifact": artifact.plain,
        "spec": spec,
        "names": [one.name for one in spec.outputs],
    }
    answer = room.ask(task, inputs=np.ascontiguousarray(inputs, np.float32).tobytes(), most_bytes=expected)
    return split_outputs("the browser", part, spec, len(inputs), answer)


def price(
    room: Room,
    files: Mapping[SetKey, Mapping[str, Path]],
    specs: Mapping[str, PartSpec],
    inputs: Mapping[str, Tensor],
    rounds: int,
    progress: Progress,
) -> Prices:
    """Time parts of several sets in turns; see `Target.price`."""
    if not files:
        return Prices(MS, {})
    handed: dict[str, Content] = {}
    parts = []
    for key, of in files.items():
        for part, file in of.items():
            data, address = file.read_bytes(), f"{_PRICED}{len(handed)}"
            handed[address] = data
            artifact = {"url": address, "file": file.name, "bytes": len(data), "sha256": sha256(data)}
            parts.append({"set": str(key), "part": part, "artifact": artifact, "spec": specs[part]})
    room.hand_out(handed)
    given = {part: x for part, x in inputs.items() if part in specs}
    task = {
        "kind": "prices",
        "rounds": rounds,
        "parts": parts,
        "inputs": {part: list(x.shape[:1]) for part, x in given.items()},
    }
    step = f"timing {', '.join(map(str, files))} in the browser"
    progress.start(step, rounds)
    flat = b"".join(np.ascontiguousarray(x, np.float32).tobytes() for x in given.values())
    most = _SOME + _BYTES_A_SAMPLE * rounds * len(parts) * max((len(x) for x in given.values()), default=0)
    answer = room.ask(task, inputs=flat, most_bytes=most, told=_following(progress, step, rounds))
    found = _decoded(answer, dict[str, dict[str, list[list[Cost]]]])
    return Prices(MS, {SetKey.parse(name): samples for name, samples in found.items()})


def _following(progress: Progress, step: str, most: int) -> Callable[[Alive], None]:
    """Return what is told how far a page is, and advances `step` by what is new, up to `most`."""
    seen = 0

    def told(alive: Alive) -> None:
        nonlocal seen
        while seen < min(alive.done, most):
            seen += 1
            progress.advance(step)

    return told


def _machine(hello: Hello) -> Machine:
    facts: Facts = {"WebAssembly": hello.build, "user agent": hello.user_agent}
    return Machine(name=hello.name, system=hello.system, logical_cpus=hello.cores, facts=facts)


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BackendError(f"the browser answered what was not asked: {error}; report this") from None
