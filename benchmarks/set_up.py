"""What a target needs on this machine before it can be used: folders in a cache folder, checked, removable.

Each is brought whole or not at all, so that a set-up that was stopped goes on with the next; one counts while its files
are those that were brought, and while it is made from what is asked for now.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_moe.ledger import remove
from edge_moe.lock import acquire
from edge_moe.output import writing
from edge_moe.progress import Progress
from edge_moe.records import Count, Digest, Strict, file_sha256, to_json

__all__ = ["HALF", "Item", "Licence", "SetUp"]

_BROUGHT = "brought.json"
HALF = ".half"  # how names end of what is not whole: the next set-up removes it


class Item(Strict, frozen=True):
    """One folder that is brought."""

    name: str  # of the folder
    version: str
    bytes: Count  # that have to be fetched
    made_from: Digest  # of all that decides its files: what is fetched, and sources that are compiled


class Licence(NamedTuple):
    """What a person has to agree to before all is brought."""

    words: str  # whose it is, and what of
    item: str  # the folder that it is in: it is brought before the person is asked
    file: str  # in that folder


class _File(Strict, frozen=True):
    bytes: Count
    sha256: Digest


class _Brought(Strict, frozen=True):
    """What stands in the folder beside its files."""

    item: Item
    files: dict[str, _File]


class SetUp(ABC):
    """The folders of one kind of target, and how each is brought."""

    items: Sequence[Item]
    licence: Licence | None = None  # None: nobody has to be asked

    def __init__(self, folder: Path) -> None:
        """`folder`: of this kind alone, in `cache_folder()` as a rule."""
        self.folder = folder

    @abstractmethod
    def bring(self, item: Item, folder: Path) -> None:
        """Write the item's files into `folder`, which is empty; items before it are there.

        Raises:
            EdgeMoeError: they cannot be had; says what to do.
        """

    @property
    def where(self) -> str:
        """The folder, for people."""
        return str(self.folder)

    @property
    def bytes(self) -> int:
        """Of all that is fetched."""
        return sum(item.bytes for item in self.items)

    @property
    def kept_bytes(self) -> int:
        """Of all that lies in the folder."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file() and not file.is_symlink())

    def is_there(self, item: Item) -> bool:
        """Return whether the item was brought as it is now, and no file of it has changed since."""
        folder = self.folder / item.name
        try:
            brought = msgspec.json.decode((folder / _BROUGHT).read_bytes(), type=_Brought)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return False
        return brought.item == item and brought.files == _files(folder)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(map(self.is_there, self.items))

    def install(self, progress: Progress) -> None:
        """Bring what is not there, in order; may be stopped and repeated.

        Raises:
            IntegrityError: something has other bytes than were pinned.
            OutputError: no space, no permission, or another process does this right now.
        """
        self._install(self.items, progress)

    def bring_licence(self, progress: Progress) -> None:
        """Bring the folder with the licence alone, for a person to read; raises as `install`."""
        assert self.licence is not None, "nobody has to be asked"
        self._install([item for item in self.items if item.name == self.licence.item], progress)

    def _install(self, items: Sequence[Item], progress: Progress) -> None:
        step = f"setting up {self.folder.name}"
        missing = [item for item in items if not self.is_there(item)]
        if not missing:  # then two may ask at once
            progress.start(step, len(items), len(items))
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = acquire(self.folder, "edge-moe devices setup")
        try:
            with writing(self.folder):
                for half in self.folder.glob(f".*{HALF}"):  # what a kill left
                    remove(half)
            missing = [item for item in missing if not self.is_there(item)]  # another may have brought it meanwhile
            progress.start(step, len(items), len(items) - len(missing))
            for item in missing:
                with writing(self.folder / item.name):
                    self._bring(item)
                progress.advance(step, item.name)
        finally:
            lock.release()

    def remove(self) -> None:
        """Remove the folder, with all that is in it; nothing if it is not there.

        Raises:
            OutputError: no permission, or another process sets it up right now.
        """
        if not self.folder.is_dir():
            return
        lock = acquire(self.folder, "edge-moe devices setup")
        try:
            with writing(self.folder):
                shutil.rmtree(self.folder)
        finally:
            lock.release()

    def _bring(self, item: Item) -> None:
        half = self.folder / f".{item.name}.{os.getpid()}{HALF}"
        half.mkdir()
        try:
            self.bring(item, half)
            (half / _BROUGHT).write_bytes(to_json(_Brought(item=item, files=_files(half))))
            remove(self.folder / item.name)
            half.rename(self.folder / item.name)
        finally:
            remove(half)


def _files(folder: Path) -> dict[str, _File]:
    """Return every file of a folder; what links lead to is a file elsewhere."""
    return {
        file.relative_to(folder).as_posix(): _File(bytes=file.stat().st_size, sha256=file_sha256(file))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink() and file != folder / _BROUGHT
    }
