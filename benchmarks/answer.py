"""Answering on another machine, where there is Python: what a board does with what it was sent.

It measures as the host target does, for it is the same code: a job gives an opening, rounds and, if it has seconds for
them, predictions without a pause; parts give outputs, and parts that are in no bundle yet are priced. What comes
through the connection is read by a thread of its own, which ends the process when nobody is there any more.

Axis letters: N inputs.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import numpy as np

from edge_moe import backends
from edge_moe.backends import OpenPart
from edge_moe.benchmarks.elsewhere import run_each
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.line import BEAT_S
from edge_moe.benchmarks.stream import SUSTAINED
from edge_moe.benchmarks.targets.host.price import price
from edge_moe.benchmarks.targets.host.session import HostSession
from edge_moe.benchmarks.wire import Facts
from edge_moe.errors import EdgeMoeError
from edge_moe.progress import Silent
from edge_moe.records import sha256
from edge_moe.sets import SetKey

__all__ = ["INPUTS", "JOB", "PARTS", "answer"]

JOB, PARTS, INPUTS = "job", "parts", "inputs"  # folders of what was sent
_GONE = 3  # exit code
_writing = threading.Lock()


class Given(Protocol):
    """What comes through the connection, see targets/ssh/there.py; both raise EOFError where it ends."""

    def readline(self) -> bytes:
        """Return a line without its end."""

    def exactly(self, size: int) -> bytes:
        """Return bytes."""


def answer(folder: str, request: Mapping[str, Any], given: Given) -> None:
    """Answer a request whose files lie in `folder`, on standard output, to which nothing else is written.

    Args:
        folder: goes when the connection ends.
        request: `kind` is job, parts or prices; what belongs to it.
        given: what follows.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    inbox: queue.SimpleQueue[tuple[Any, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(given, inbox, folder), daemon=True).start()
    threading.Thread(target=_beat, args=(out,), daemon=True).start()
    kinds: dict[str, Callable[..., None]] = {"job": _job, "parts": _parts, "prices": _prices}
    try:
        kinds[request["kind"]](Path(folder), request, inbox, out)
    except EdgeMoeError as error:
        sys.exit(str(error))


def _listen(given: Given, inbox: queue.SimpleQueue[tuple[Any, bytes]], folder: str) -> None:
    """Hand on messages: a line of JSON, and as many bytes as it says; an empty line says that somebody is there."""
    try:
        while True:
            line = given.readline()
            if line:
                message = json.loads(line)
                inbox.put((message, given.exactly(message["bytes"] if isinstance(message, dict) else 0)))
    except BaseException as error:  # whatever it is: without this thread the process would wait for ever
        if not isinstance(error, EOFError):
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(_GONE)


def _job(folder: Path, request: Mapping[str, Any], inbox: queue.SimpleQueue[tuple[Any, bytes]], out: IO[bytes]) -> None:
    job = read_job(folder / JOB)
    with HostSession(job, Silent()) as session:
        facts: Facts = {**session.opening.facts, **request["facts"]}
        _say(out, msgspec.structs.replace(session.opening, target=request["target"], how=request["how"], facts=facts))
        while True:
            asked, _ = inbox.get()
            if asked == SUSTAINED:
                _say(out, session.sustained(Silent(), ""))
                return
            for line in session.rounds(asked, Silent(), ""):
                _say(out, line)
            if not job.plan.sustained_s:  # nothing else will be asked
                return


def _parts(
    folder: Path, request: Mapping[str, Any], inbox: queue.SimpleQueue[tuple[Any, bytes]], out: IO[bytes]
) -> None:
    """Run parts on inputs, as long as somebody asks; an artifact comes before its first input, and stays open."""
    opened: dict[str, OpenPart] = {}
    _say(out, {"ready": True})
    while True:
        asked, data = inbox.get()
        if "artifact" in asked:
            artifact, data = data[: asked["artifact"]], data[asked["artifact"] :]
            opened[sha256(artifact)] = backends.get(asked["backend"]).open(artifact)
        part, inputs = opened[asked["sha256"]], np.frombuffer(data, "<f4").reshape(asked["shape"])
        found = run_each(part, asked["names"], inputs)
        flat = b"".join(values.astype("<f4").tobytes() for values in found.values())
        _say(out, {"bytes": len(flat)}, flat)


def _prices(
    folder: Path, request: Mapping[str, Any], inbox: queue.SimpleQueue[tuple[Any, bytes]], out: IO[bytes]
) -> None:
    files = {
        SetKey.parse(name): {part: folder / PARTS / file for part, file in parts.items()}
        for name, parts in request["sets"].items()
    }
    inputs = {part: np.load(folder / INPUTS / f"{part}.npy") for part in request["inputs"]}
    found = price(files, inputs, request["rounds"], Silent())
    _say(out, {str(key): samples for key, samples in found.samples.items()})


def _beat(out: IO[bytes]) -> None:
    """Say every few seconds that this process is there."""
    while True:
        time.sleep(BEAT_S)
        _write(out, b"\n")


def _say(out: IO[bytes], what: Any, data: bytes = b"") -> None:
    _write(out, msgspec.json.encode(what) + b"\n" + data)


def _write(out: IO[bytes], data: bytes) -> None:
    with _writing:
        out.write(data)
        out.flush()
