"""One process at a time makes a target.

The lock is a file beside the target, `.NAME.edge-moe.lock`, on which its holder has an flock: the system lifts it when
the process ends, however it ends. The file goes with it; one that a killed process left is nobody's lock, and the next
process takes it over. It says who holds it, for whoever comes second.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import shlex
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from edge_moe.errors import OutputError
from edge_moe.output import writing
from edge_moe.text import printable

try:
    import fcntl
except ModuleNotFoundError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "acquire", "lock_path"]

_log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_TRIES, _TRY_S = 50, 0.02
_SETTLE_S = 0.1  # in which two that write at once are told apart where there are no locks
_MOST_WORDS = 160


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What a lock file says."""

    tool: Literal["edge-moe"] = "edge-moe"
    command: str
    pid: int
    host: str
    since: str  # ISO 8601, local time with its offset

    def __str__(self) -> str:
        """In words."""
        where = "" if self.host == platform.node() else f" on {self.host}"
        return f"'{self.command}' (process {self.pid}{where}, since {self.since.replace('T', ' ')})"


def lock_path(target: Path) -> Path:
    """Return the file on which whoever makes `target` has a lock."""
    place = target.resolve() if target.name in ("", "..") else target  # of ".", say; of a link, it is beside the link
    return place.parent / f".{place.name}.edge-moe.lock"


def acquire(target: Path, command: str, *, amends: bool = False) -> Lock:
    """Lock `target` for this process, and return the lock.

    Args:
        target: what is going to be made; its parent folder is made if it is not there.
        command: "edge-moe convert", for whoever comes second.
        amends: the target is there, and the command can take no other one.

    Raises:
        OutputError: another process, or another thread of this one, makes `target`; or the place cannot be written.
    """
    file = lock_path(target)
    me = Holder(
        command=_in_full(command),
        pid=os.getpid(),
        host=platform.node(),
        since=datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    made: list[Path] = []
    with writing(target):
        for left in reversed(range(_TRIES)):
            made += _make(file.parent)
            try:
                descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except FileNotFoundError:  # the folder went meanwhile, with a command that had made it
                if not left:
                    raise
                continue
            try:
                if _take(descriptor, target, me, "" if amends else ", or choose another target"):
                    return Lock(file, descriptor, made)
            except BaseException:
                os.close(descriptor)
                _unmake(made)
                raise
            os.close(descriptor)  # of a file that went with its holder
            time.sleep(_TRY_S)
    _unmake(made)
    raise OutputError(f"{file} comes and goes; wait until nothing else makes {target}, and run again")


class Lock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, file: Path, descriptor: int, made: list[Path]) -> None:
        """`made`: folders, the outer first, that were made for it and go with it if nothing is in them."""
        self.file, self._descriptor, self._made = file, descriptor, made
        _held.append(self)

    def is_held(self) -> bool:
        """Return whether the lock file is still the one that was locked: somebody may have removed it."""
        return self._descriptor >= 0 and _is_at(self._descriptor, self.file)

    def release(self) -> None:
        """Let others in. The file goes first, while it is locked: nobody else's can be removed."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            if _is_at(self._descriptor, self.file):
                self.file.unlink()
        self._close()
        _unmake(self._made)

    def _close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1
        if self in _held:
            _held.remove(self)

    @staticmethod
    def _forget_all() -> None:
        """In a forked child: a lock is that of the process that took it, and ends with that one."""
        for lock in list(_held):
            lock._close()


_held: list[Lock] = []
os.register_at_fork(after_in_child=Lock._forget_all)  # a spawned one inherits no descriptor


def _take(descriptor: int, target: Path, me: Holder, more: str) -> bool:
    """Lock the open file and write `me` into it; False if it is no longer the one beside `target`.

    `more`: what one can do but wait.

    Raises:
        OutputError: it is another's.
    """
    file = lock_path(target)
    locked = True
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(target, _read(descriptor, patiently=True), more) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        locked = False
    if not _is_at(descriptor, file):
        return False
    holder = _read(descriptor)
    if holder is None and os.fstat(descriptor).st_size:
        raise OutputError(f"{file} is a file that edge-moe did not write; it needs that place: move the file away")
    if not locked:
        if holder is not None and _may_live(holder, file):
            raise _busy(target, holder, f"{more}; if it is gone, remove {file}")
        _log.info(
            "%s has no file locks: two commands that start at the same moment on %s may not notice each other",
            file.parent,
            target,
        )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(me), 0)
    if not locked:
        time.sleep(_SETTLE_S)
        if (now := _read(descriptor)) != me:
            raise _busy(target, now, more)
    return True


def _busy(target: Path, holder: Holder | None, more: str) -> OutputError:
    who = "another process" if holder is None else str(holder)
    return OutputError(f"{target} is being made by {who}; wait until that is done{more}")


def _may_live(holder: Holder, file: Path) -> bool:
    if holder.host != platform.node():
        return True
    if holder.pid == os.getpid():  # a number that was given out again
        return file in [lock.file for lock in _held]
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(descriptor: int, *, patiently: bool = False) -> Holder | None:
    """Return who stands in the open lock file; `patiently`: the holder may be about to write it."""
    for _ in range(_TRIES if patiently else 1):
        try:
            return msgspec.json.decode(os.pread(descriptor, 1 << 16, 0), type=Holder)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if patiently:
                time.sleep(_TRY_S / 5)
    return None


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except FileNotFoundError:
        return False


def _make(folder: Path) -> list[Path]:
    """Make `folder` with its parents; return those that were not there, the outer first."""
    missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _unmake(made: list[Path]) -> None:
    for folder in reversed(made):
        with suppress(OSError):  # there is something in it
            folder.rmdir()


def _in_full(command: str) -> str:
    """Return the command with its arguments where a person typed it."""
    program, *arguments = sys.argv or [""]
    if Path(program).name != "edge-moe":
        return command
    text = printable(" ".join(shlex.join(["edge-moe", *arguments]).split()))  # a name may hold bytes that are no UTF-8
    return text if len(text) <= _MOST_WORDS else text[:_MOST_WORDS] + "..."
