"""What a target needs on this machine before it can be used: pinned files in a cache folder, checked, removable.

A set-up that was stopped goes on with the next file; a file counts when its bytes are those that were pinned.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from edge_moe.errors import IntegrityError
from edge_moe.ledger import is_half_written
from edge_moe.lock import acquire
from edge_moe.output import writing
from edge_moe.progress import Progress
from edge_moe.records import Count, Digest, Strict, file_sha256

__all__ = ["Item", "SetUp", "cache_folder"]


class Item(Strict, frozen=True):
    """One file, pinned."""

    name: str  # in the cache folder
    version: str
    bytes: Count
    sha256: Digest


class SetUp(ABC):
    """The files of one kind of target, and how they are made or fetched."""

    items: tuple[Item, ...]

    def __init__(self, folder: Path) -> None:
        """`folder`: of this kind alone, in `cache_folder()` as a rule."""
        self.folder = folder

    @abstractmethod
    def fetch(self, item: Item, file: Path) -> None:
        """Write the item's bytes to `file`: from a registry, or by compiling.

        Raises:
            EdgeMoeError: it cannot be had; says what to do.
        """

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(item.bytes for item in self.items)

    def is_there(self, item: Item) -> bool:
        """Return whether the file is there, with the bytes that were pinned."""
        file = self.folder / item.name
        return file.is_file() and file.stat().st_size == item.bytes and file_sha256(file) == item.sha256

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(map(self.is_there, self.items))

    def install(self, progress: Progress) -> None:
        """Bring every file that is not there; may be stopped and repeated.

        Raises:
            IntegrityError: a file has other bytes than were pinned.
            OutputError: no space, no permission, or another process does this right now.
        """
        step = f"setting up {self.folder.name}"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = acquire(self.folder, "edge-moe devices setup")
        try:
            for half in filter(is_half_written, list(self.folder.iterdir())):  # what a kill left
                half.unlink()
            missing = [item for item in self.items if not self.is_there(item)]
            progress.start(step, len(self.items), len(self.items) - len(missing))
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
        half = self.folder / f".{item.name}.{os.getpid()}"
        try:
            self.fetch(item, half)
            size, digest = half.stat().st_size, file_sha256(half)
            if (size, digest) != (item.bytes, item.sha256):
                raise IntegrityError(
                    f"{item.name} {item.version} has {size:,} bytes and sha256 {digest[:12]}..., but {item.bytes:,} "
                    f"and {item.sha256[:12]}... are pinned; it is not used: repeat the command, or report it"
                )
            half.replace(self.folder / item.name)
        finally:
            half.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return where set-ups lie: EDGE_MOE_CACHE, or the user's own cache folder."""
    given = os.environ.get("EDGE_MOE_CACHE")
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(home) if home else Path.home() / ".cache") / "edge-moe"
