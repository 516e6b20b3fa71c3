"""Files that a library made of an artifact for this processor, kept to be mapped instead of made again.

A cache and no more: keyed by artifact, library and processor; held against a hash before native code sees a byte, for
what a library says of its own files' soundness cannot be relied on; made anew when anything differs; bounded on disk.
Where nothing can be kept, nothing is.

    <folder>/<key>-<sha256 of the file>
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib
import io
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from edge_moe.brought import cache_folder
from edge_moe.errors import OutputError
from edge_moe.output import write_file
from edge_moe.processor import this_processor

__all__ = ["Packed", "forget", "has_sha256", "packed_folder"]

_MOST_BYTES = 512 << 20  # of all files together: some 200 experts of MobileNetV3-Small
_USED_SECONDS = 3600  # how exactly it is known when a file was last used: to note it makes a file another one
_SETTLED_SECONDS = 2.0  # a file may be written twice within one tick of its clock, and look unchanged
_NAMES = re.compile(r"\.?[0-9a-f]{32}-[0-9a-f]{64}(\.\d+)?")  # of ours, and of those that are being written
_ABANDONED_SECONDS = 3600  # after which what is being made has nobody who makes it


def packed_folder() -> Path | None:
    """Return where this user keeps packed files: EDGE_MOE_WEIGHT_CACHE, or the user's cache folder; "0": nowhere."""
    given = os.environ.get("EDGE_MOE_WEIGHT_CACHE")
    if given:
        return None if given == "0" else Path(given)
    try:
        return cache_folder() / "packed"
    except RuntimeError:  # a user without a home
        return None


class Packed:
    """The packed files of one folder, which several processes may use at once."""

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
        """Touch nothing yet.

        Args:
            folder: where they are, or will be.
            most_bytes: of all files together; those that nobody has used for longest go first.
        """
        self._folder, self._most_bytes = folder, most_bytes
        self.before_making: Callable[[], None] = lambda: None  # is called before what takes memory for a while
        self._is_of_use = True

    def open(
        self, parts: tuple[str, ...], make: Callable[[], int | None], is_worth_it: Callable[[], bool] = lambda: True
    ) -> int | None:
        """Return a descriptor of the file that belongs to `parts`, for reading, which the caller has to close.

        Args:
            parts: all that decides what is in it, the processor aside.
            make: returns a descriptor of what is to be in it, which is closed here; None: there is nothing to keep.
            is_worth_it: is asked before it is made.

        Returns:
            None where nothing is kept: on a disk that is full or may not be written to, which is tried once.
        """
        key = _key(parts)
        try:
            found = self._find(key)
            if found is not None or not self._is_of_use or not is_worth_it():
                return found
            self.before_making()
            made = make()
            if made is not None:
                with os.fdopen(made, "rb") as data:
                    self._keep(key, data)
                found = self._find(key)
        except (OSError, OutputError):
            found = None
        self._is_of_use = found is not None
        return found

    def _find(self, key: str) -> int | None:
        if not _is_ours(self._folder.stat() if self._folder.is_dir() else None):
            return None
        for file in self._folder.glob(f"{key}-*"):
            # Neither a link is followed, nor a pipe waited for.
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                state = os.fstat(descriptor)
                is_it = stat.S_ISREG(state.st_mode) and _is_ours(state)
                is_it = is_it and has_sha256(descriptor, file.name.rpartition("-")[2])
            except BaseException:
                os.close(descriptor)
                raise
            if is_it:
                if time.time() - os.fstat(descriptor).st_mtime > _USED_SECONDS:
                    with contextlib.suppress(OSError):  # of another user's, or on a disk that may not be written to
                        os.utime(file)
                return descriptor
            os.close(descriptor)
            file.unlink()
        return None

    def _keep(self, key: str, data: io.BufferedReader) -> None:
        size = os.fstat(data.fileno()).st_size
        if size > self._most_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_room(size)
        write_file(self._folder / f"{key}-{_sha256(data)}", data)

    def _make_room(self, size: int) -> None:
        """Remove the files that were used least recently, until `size` bytes more are within the bound."""
        found = []
        for file in filter(lambda one: _NAMES.fullmatch(one.name), self._folder.iterdir()):  # whatever else lies here
            with contextlib.suppress(OSError):  # another process removed it
                state = file.stat()
                half = file.name.startswith(".")  # being written, or left by a process that was killed
                if not half or time.time() - state.st_mtime > _ABANDONED_SECONDS:
                    found.append((0 if half else state.st_mtime_ns, state.st_size, file))
        used = sum(size for _, size, _ in found)
        for used_last, held, file in sorted(found):
            if used_last and used + size <= self._most_bytes:
                break
            with contextlib.suppress(OSError):
                file.unlink()  # who has mapped it keeps it until it is closed
                used -= held


def _is_ours(state: os.stat_result | None) -> bool:
    """Return whether nobody but this user could have written there; the hash in a name anybody can compute."""
    return state is not None and state.st_uid == os.geteuid() and not state.st_mode & 0o022


def _key(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join((*parts, *_of_the_processor())).encode()).hexdigest()[:32]


@functools.cache
def _of_the_processor() -> tuple[str, ...]:
    processor = this_processor()
    return processor.name, *sorted(processor.flags), *_seen_by_numpy()


def _seen_by_numpy() -> list[str]:
    """Return the instruction sets that numpy found by asking the processor itself.

    Under emulation the system tells of the machine beneath; the processor, when asked, of the emulated one.
    """
    with contextlib.suppress(ImportError, AttributeError):
        # In numpy 1 the package had another name.
        core: Any = importlib.import_module(f"numpy.{'_core' if hasattr(numpy, '_core') else 'core'}._multiarray_umath")
        return sorted(name for name, there in core.__cpu_features__.items() if there)
    return []


def has_sha256(descriptor: int, expected: str) -> bool:
    """Return whether the file of `descriptor` has that SHA-256; one that has not changed since is not read again."""
    state = os.fstat(descriptor)
    now = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if _seen.get(now) == expected:
        return True
    with open(descriptor, "rb", buffering=0, closefd=False) as stream:
        found = _sha256(stream)
    if time.time() - max(state.st_mtime, state.st_ctime) > _SETTLED_SECONDS:
        if len(_seen) >= _MOST_SEEN:
            _seen.clear()
        _seen[now] = found
    return found == expected


def forget() -> None:
    """Forget which files were seen, as for a measurement of what a new process does."""
    _seen.clear()


def _sha256(stream: io.BufferedReader | io.FileIO) -> str:
    """Return the digest of a whole file, read in pieces: to have it in memory, or mapped, would take longer."""
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return digest


_seen: dict[tuple[int, ...], str] = {}  # what a file was that has not changed -> its SHA-256
_MOST_SEEN = 10_000
