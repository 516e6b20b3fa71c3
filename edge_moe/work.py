"""The folder in which a target is made: NAME.partial, beside it.

One process at a time has it (`edge_moe.lock`). A mark in it says which command makes the target, and by which plan:
the same command with the same plan takes it over, and finds done what its ledger says is done (`edge_moe.ledger`).
Whatever else is in its place is refused: nothing is removed that edge-moe did not make, nor work of another plan.

    NAME.partial/
      ...                what is done so far
      .edge-moe/
        mark.json        whose work this is
        *.entry          the ledger
        result/          what gets the name of the target, when it is whole
        dropped/         what had that name, and is being removed

While the new one gets the name, the old one lies in `.NAME.edge-moe.replaced`, beside the target and not in that
folder, which not every command makes its target in: whichever comes first after a kill puts it back.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from edge_moe.errors import OutputError
from edge_moe.ledger import SCAFFOLD, is_half_written, remove, remove_own, sweep, works
from edge_moe.lock import Lock, acquire
from edge_moe.mark import MARK, Mark, others_work, plan_digest, read_mark, settings
from edge_moe.output import check_target, partial_path, write_file, writing

__all__ = ["Work", "forget_published", "making", "published"]

_log = logging.getLogger(__name__)

_RESULT, _DROPPED, _NOBODYS = "result", "dropped", "nobodys.json"
_published: tuple[Path, os.stat_result] | None = None  # the last target, and the folder that gets its name


class Work:
    """The right to make a target, and the folder for that. From `making`."""

    def __init__(self, target: Path, command: str, folder: Path, own: tuple[str, ...], lock: Lock) -> None:
        """See `making`."""
        self.target, self.folder, self.own = target, folder, own
        self.sittings = 0  # in which it was made so far, this one included
        self.check: Callable[[], None] = lambda: None  # whether the target may be replaced
        self.thread = threading.get_ident()
        self._command, self._lock = command, lock
        self._scaffold = folder / SCAFFOLD
        self._replaced = target.parent / f".{target.name}.edge-moe.replaced"
        self._is_mine = False

    def look(self) -> None:
        """Bring back what was about to be replaced when a process was killed.

        Raises:
            OutputError: the folder is not edge-moe's, or another command has work in it.
        """
        with writing(self.folder):
            self._put_back()
            mark = read_mark(self.folder, self.target)
            if mark is not None and mark.command != self._command and works(self.folder):
                raise others_work(self.folder, mark, self._command, {})

    def take_up(self, plan: Any, *, own: Iterable[str] = (), explain: Callable[[str], str] = lambda _: "") -> None:
        """Make the folder, or go on with what is in it: each file of it is checked, and dropped if it is damaged.

        Work of another command or plan stays; if none of it is done yet, it is in nobody's way, and goes.

        Args:
            plan: all that decides what is made; msgspec encodes it.
            own: patterns of files that are nothing without an entry in the ledger.
            explain: is told the first setting that is another, and may say it in words of its own.

        Raises:
            OutputError: the folder holds other work, or cannot be written.
        """
        with writing(self.folder):
            mark, now, digest = read_mark(self.folder, self.target), settings(plan), plan_digest(plan)
            if mark is not None and (mark.command, mark.plan) != (self._command, digest):
                if works(self.folder):
                    raise others_work(self.folder, mark, self._command, now, explain)
                self._clear(mark.own)
                mark = None
            if mark is None:
                remove(self._scaffold)  # nothing else is in it: what was to be replaced is beside the target
                self._scaffold.mkdir(parents=True)
            self._is_mine = True
            self.sittings = mark.sittings + 1 if mark else 1
            mark = Mark(
                version=importlib.metadata.version("edge-moe"),
                command=self._command,
                plan=digest,
                settings=now,
                since=mark.since if mark else datetime.now().astimezone().isoformat(timespec="seconds"),
                sittings=self.sittings,
                own=self.own,
            )
            write_file(self._scaffold / MARK, msgspec.json.encode(mark))
        for name, wrong in sweep(self.folder, own=own).items():
            _log.info("%s in %s %s: it is made anew", name, self.folder, wrong)

    def scaffold(self, name: str) -> Path:
        """Return the place of a file that is about the work, and never part of the target."""
        return self._scaffold / name

    def fresh(self) -> Path:
        """Return an empty folder for what is going to be published."""
        result = self._scaffold / _RESULT
        if not self._is_mine:
            self.take_up({})
        with writing(self.folder):
            remove(result)
            result.mkdir()
        return result

    def gather(self, *names: str, beside: Path | None = None) -> Path:
        """Let what is going to be published be what the patterns `names` find in the folder; return where that is.

        Nothing is copied where a file can have two names. `beside`: a folder of which all is taken that is not there.
        """
        result = self.fresh()
        with writing(self.folder):
            _link(self.folder, result, names, (SCAFFOLD,))
            if beside is not None:
                _link(beside, result, ("*",), ())
        return result

    def publish(self) -> None:
        """Give the folder that `fresh` returned the name of the target; what had it goes when the new one stands.

        Raises:
            OutputError: it cannot be done, or something came to stand there that may not be replaced.
        """
        if not self._lock.is_held():
            raise OutputError(
                f"somebody removed the lock on {self.target} while it was made; what is done is in {self.folder}: "
                "repeat the command"
            )
        self.check()
        global _published
        result = self._scaffold / _RESULT
        with writing(self.target):
            _published = self.target, result.stat()
            try:  # around both: an interrupt is raised when a system call has been done
                if os.path.lexists(self.target):
                    self._remove_replaced()
                    self.target.rename(self._replaced)
                result.rename(self.target)
            except BaseException:
                self._put_back()
                raise
        with suppress(OSError):  # the new one stands; what is left of the old one goes with the folder
            self._remove_replaced()

    def drop(self) -> None:
        """Remove the folder. What somebody put into it stays, and is told."""
        if not self._is_mine:
            return
        self._is_mine = False
        with suppress(OSError):
            self._settle()  # where that cannot be done, nothing is dropped
            self._clear(self.own)
            self.folder.rmdir()
        if self.folder.is_dir():
            _log.info("%s stays, for there is something in it that edge-moe did not make", self.folder)

    def close(self) -> None:
        """Leave what is worth going on with, and nothing else; let others in."""
        try:
            with suppress(OSError):
                if self._is_mine:
                    self._settle()
                    remove(self._scaffold / _RESULT)
                    if all(one.name == SCAFFOLD or is_half_written(one) for one in self.folder.iterdir()):
                        self.drop()
        finally:
            self._lock.release()

    def _put_back(self) -> None:
        """Bring back what was to be replaced, if a kill or an error came in between."""
        if os.path.lexists(self._replaced) and not os.path.lexists(self.target):
            self._replaced.rename(self.target)

    def _settle(self) -> None:
        """Let one of the two be under the target's name, and the other one go."""
        if self._lock.is_held():  # else another one may be about to
            self._put_back()
            self._remove_replaced()

    def _remove_replaced(self) -> None:
        """Remove what was replaced; killed in the middle of that, there is nothing that could be put back."""
        dropped = self._scaffold / _DROPPED
        remove(dropped)
        if os.path.lexists(self._replaced):
            self._replaced.rename(dropped)
            remove(dropped)

    def _clear(self, own: Iterable[str]) -> None:
        """Remove what the patterns `own` name, and the scaffold last."""
        remove_own(self.folder, own)
        with suppress(FileNotFoundError):
            (self._scaffold / MARK).rename(self._scaffold / _NOBODYS)  # killed from here on, it is nobody's work
        remove(self._scaffold)


def forget_published() -> None:
    """Let `published` know of nothing: another command begins."""
    global _published
    _published = None


def published() -> Path | None:
    """Return the target that this process published last, if it stands; whatever the moment at which one asks."""
    with suppress(OSError):
        if _published is not None and os.path.samestat(_published[0].lstat(), _published[1]):
            return _published[0]
    return None


_open: dict[Path, Work] = {}


@contextmanager
def making(
    target: Path,
    command: str,
    *,
    force: bool = False,
    reads: Iterable[str | Path | None] = (),
    folder: Path | None = None,
    own: Iterable[str] = (),
    amends: bool = False,
) -> Iterator[Work]:
    """Lock `target` and check its place; what is left in its folder in the end is what is worth going on with.

    A thread that makes the target already goes on with the same work.

    Args:
        target: the folder to make.
        command: "train": who makes it.
        force: the target may be there; it is replaced in the end. Nothing else is.
        reads: what must not be in the target.
        folder: in which it is made; NAME.partial beside it.
        own: patterns of the files that the command leaves there, beside the scaffold, "parts/*.bin" too; all else that
            comes to be there is somebody's.
        amends: the target is there, and most of it stays.

    Raises:
        OutputError: another process makes it, or its place, or the folder's, is not free.
    """
    reads = tuple(reads)

    def check() -> None:
        if not amends or target.name in ("", ".."):
            check_target(target, force=force or amends, reads=reads)

    check()
    key = Path(os.path.realpath(target.parent)) / target.name
    outer = _open.get(key)
    if outer is not None and outer.thread == threading.get_ident():
        before, outer.check = outer.check, check
        outer.own += tuple(own)
        try:
            yield outer
        finally:
            outer.check = before
        return
    lock = acquire(target, f"edge-moe {command}")
    work = Work(target, f"edge-moe {command}", folder or partial_path(target), tuple(own), lock)
    work.check = check
    _open[key] = work
    try:
        work.look()
        check()  # again, now that nobody else makes it
        yield work
    finally:
        del _open[key]
        work.close()


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _link(source: Path, result: Path, names: Iterable[str], without: Iterable[str]) -> None:
    """Give what `names` find in `source` a second name in `result`, if it is not taken; copy what cannot have one."""
    for one in sorted(source.iterdir()):
        there = result / one.name
        if not _is_among(one.name, names) or _is_among(one.name, without) or is_half_written(one):
            continue
        if one.is_dir() and not one.is_symlink():
            there.mkdir(exist_ok=True)
            _link(one, there, ("*",), (SCAFFOLD,))
        elif not os.path.lexists(there):
            try:
                os.link(one, there, follow_symlinks=False)
            except OSError:
                shutil.copy2(one, there, follow_symlinks=False)
