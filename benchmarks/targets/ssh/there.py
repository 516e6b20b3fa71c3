"""What runs on a board before anything else is there: says what it is, takes files, and begins what was asked.

Its source is sent through the connection, see connection.py, so it knows nothing but Python's own library, of any
version from 3.8 on. A request is a line of JSON, and what follows it. Input that ends, or is silent for a minute, ends
the process: a cable was pulled, or the one who asked is gone. What it had put into a folder for a request goes with it;
what a loss of power left goes when the next request comes.
"""

from __future__ import annotations

import compileall
import fcntl
import io
import json
import os
import platform
import select
import shutil
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator  # noqa: UP035

MARK = "edge-moe there"  # printed before any answer: whatever a login prints comes before it
SILENCE_S = 60.0
BROUGHT = "brought.json"
_BLOCK = 1 << 16
_WAIT_S, _LOOK_S = 5.0, 0.1
_SPARE = 16 << 20  # bytes that stay free on a board

Request = Dict[str, Any]  # noqa: UP006  (of older Pythons)


class Input:
    """Standard input, which must not fall silent."""

    def __init__(self, descriptor: int = 0) -> None:
        """`descriptor`: of the file."""
        self._descriptor, self._left = descriptor, bytearray()

    def exactly(self, size: int) -> bytes:
        """Return `size` bytes; EOFError where it ends before."""
        while len(self._left) < size:
            self._fill()
        found = bytes(self._left[:size])
        del self._left[:size]
        return found

    def readline(self) -> bytes:
        """Return a line without its end; EOFError where there is none."""
        while (end := self._left.find(b"\n")) < 0:
            self._fill()
        line = bytes(self._left[:end])
        del self._left[: end + 1]
        return line

    def _fill(self) -> None:
        if not select.select([self._descriptor], [], [], SILENCE_S)[0]:
            raise EOFError(f"nothing was heard for {SILENCE_S:.0f} seconds")
        more = os.read(self._descriptor, _BLOCK)
        if not more:
            raise EOFError("the connection ended")
        self._left += more


class Bounded(io.RawIOBase):
    """The next `size` bytes of an input, as a file."""

    def __init__(self, given: Input, size: int) -> None:
        """`given`: where they come from."""
        self._given, self.left = given, size

    def readable(self) -> bool:
        """Return that it is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, less at the end only."""
        size = self.left if size < 0 else min(size, self.left)
        self.left -= size
        return self._given.exactly(size)


def home() -> Path:
    """Return the folder that is ours on this board."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "edge-moe" / "board"


def text(path: str) -> str:
    """Return what a file of the system says; nothing where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def unpack(given: Input, size: int, folder: Path, unpacked: int) -> None:
    """Unpack a tar of `size` bytes, which takes `unpacked` bytes, into a folder that is there."""
    free = shutil.disk_usage(folder).free
    if free < unpacked + _SPARE:
        sys.exit(f"{free >> 20} MiB are free for {folder}, and {(unpacked + _SPARE) >> 20} are needed: make room")
    stream = Bounded(given, size)
    with tarfile.open(fileobj=stream, mode="r|gz") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # an older Python; they are our own files
            archive.extractall(folder)
    stream.read()


def _brought(folder: Path) -> Any:
    """Return what is known of a folder; None: it is not whole, as after a loss of power."""
    try:
        return json.loads((folder / BROUGHT).read_text())
    except (OSError, ValueError):
        return None


def look(request: Request, given: Input) -> Any:
    """Say what is here."""
    brought = {one.name: found for one in _inside(home()) if (found := _brought(one)) is not None}
    near = home()
    while not near.is_dir():
        near = near.parent
    return {
        "python": list(sys.version_info[:3]),
        "implementation": platform.python_implementation(),
        "machine": platform.machine(),
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "system": platform.system(),
        "libc": list(platform.libc_ver()),
        "boot": text("/proc/sys/kernel/random/boot_id"),
        "identity": text("/etc/machine-id"),
        "cpuinfo": text("/proc/cpuinfo"),
        "free": shutil.disk_usage(near).free,
        "folder": str(home()),
        "brought": brought,
    }


def bring(request: Request, given: Input) -> Any:
    """Take a folder, whole or not at all."""
    with _alone():
        return _bring(request, given)


def _bring(request: Request, given: Input) -> Any:
    for one in _inside(home()):
        if one.name.startswith("."):  # what a kill left
            shutil.rmtree(one, ignore_errors=True)
    half = Path(tempfile.mkdtemp(prefix=".", dir=home()))
    try:
        unpack(given, request["bytes"], half, request["unpacked"])
        compileall.compile_dir(half, quiet=2)  # now, not in the first process that is timed
        (half / BROUGHT).write_text(json.dumps(request["brought"]))
        os.sync()  # before it counts as whole: boards lose their power
        target = home() / request["name"]
        shutil.rmtree(target, ignore_errors=True)
        half.rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return {}


def remove(request: Request, given: Input) -> Any:
    """Remove all that was brought."""
    with _alone():
        shutil.rmtree(home(), ignore_errors=True)
    return {"left": home().is_dir()}


@contextmanager
def _alone() -> Iterator[None]:
    """Do one thing at a time; the lock lies beside what may be removed."""
    home().mkdir(parents=True, exist_ok=True)
    with home().with_name("board.lock").open("w") as lock:
        if not _locked(lock):
            sys.exit("something is measured or set up on this board already; wait until it is done")
        yield


def _locked(lock: Any) -> bool:
    """Take the lock; for a while one whose connection just ended may have it."""
    for _ in range(int(_WAIT_S / _LOOK_S)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(_LOOK_S)
    return False


def answer(request: Request, given: Input) -> Any:
    """Take a folder, and have it answer; it holds the package that does."""
    jobs = home() / "jobs"
    with _alone():
        jobs.mkdir(parents=True, exist_ok=True)
        for one in _inside(jobs):  # of a process that is no more, or it would have the lock
            shutil.rmtree(one, ignore_errors=True)
        folder = tempfile.mkdtemp(dir=jobs)
        try:
            unpack(given, request["bytes"], Path(folder), request["unpacked"])
            sys.path[:0] = [folder, *(str(home() / name) for name in request["paths"])]
            sys.dont_write_bytecode = True
            os.environ["EDGE_MOE_WEIGHT_CACHE"] = str(home() / "weights")  # which goes with all that was brought
            from edge_moe.benchmarks.answer import answer

            answer(folder, request, given)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Answer one request."""
    given, kinds = Input(), {"look": look, "bring": bring, "remove": remove, "answer": answer}
    print(f"\n{MARK}", flush=True)
    try:
        line = b""
        while not line:  # an empty one only says that somebody is there
            line = given.readline()
        request = json.loads(line.decode())
        found = kinds[request["do"]](request, given)
        if found is not None:
            print(json.dumps(found), flush=True)
    except EOFError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or home()}: {error.strerror or error}")
