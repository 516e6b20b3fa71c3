"""Which files of unfinished work are done: by name, size and sha256.

The entry of a file lies beside it, in `.edge-moe/NAME.entry`: one a file, so that several processes write at once. A
file without an entry is not done. An entry is written between a file's bytes and its name, and one that replaces a
file knows the one before, too: whenever a process is killed, what stands under the name is known, old or new.
"""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_moe.errors import OutputError
from edge_moe.orphans import is_orphan
from edge_moe.output import write_file, writing
from edge_moe.records import file_sha256, sha256

__all__ = [
    "SCAFFOLD",
    "Entry",
    "Kept",
    "enter",
    "forget",
    "is_done",
    "is_half_written",
    "keep",
    "owned",
    "read_entry",
    "remove",
    "remove_own",
    "sweep",
    "works",
]

SCAFFOLD = ".edge-moe"  # the folder, in one of unfinished work, of all that is about that work
_SUFFIX = ".entry"


class _Content(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a file that is done."""

    now: _Content
    of: str = ""  # what it was made from, if that can change under the same name
    before: _Content | None = None  # what it replaces


def keep(file: Path, data: bytes, *, of: str = "") -> None:
    """Write `data` to `file` whole or not at all, and enter it as done.

    Raises:
        OutputError: no space, no permission; or the process that began this work is gone, and whoever took it over
            must not find its files changed.
    """

    def ready() -> None:
        if is_orphan():
            raise OutputError(f"{file} is not written: the process that began this is gone")
        known = read_entry(file)
        _write(file, Entry(_content(data), of, known.now if known and file.is_file() else None))

    write_file(file, data, ready=ready)


class Kept(NamedTuple):
    """A file that is kept while it is worked on, such as a state, and what it was made from."""

    file: Path
    of: str = ""

    def is_done(self) -> bool:
        """Return whether it is there as it was written, and made from that."""
        return is_done(self.file, of=self.of)

    def read(self) -> bytes | None:
        """Return its bytes; None if it is not done."""
        return self.file.read_bytes() if self.is_done() else None

    def write(self, data: bytes) -> None:
        """Replace it, as `keep` does."""
        keep(self.file, data, of=self.of)


def enter(file: Path, *, of: str = "") -> None:
    """Enter a file that is there as done."""
    with writing(file):
        _write(file, Entry(_read(file), of))


def forget(file: Path) -> None:
    """Remove a file, if it is there, and its entry."""
    with writing(file):
        file.unlink(missing_ok=True)
        _entry_file(file).unlink(missing_ok=True)


def read_entry(file: Path) -> Entry | None:
    """Return what is known of a file; None if it is not done."""
    try:
        return msgspec.json.decode(_entry_file(file).read_bytes(), type=Entry)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_done(file: Path, *, of: str | None = "") -> bool:
    """Return whether `file` is there, entered, and made from what `of` says (None: from whatever).

    Its bytes are checked once, by `sweep`.
    """
    known = read_entry(file)
    return known is not None and of in (None, known.of) and file.is_file()


def works(folder: Path) -> list[str]:
    """Return the names of the files in `folder`, and below, that are done."""
    return sorted(str(file.relative_to(folder)) for file in _entered(folder) if file.is_file() and read_entry(file))


def sweep(folder: Path, *, own: Iterable[str] = ()) -> dict[str, str]:
    """Check every file of unfinished work against its entry, and drop what is not what was written.

    Args:
        folder: the work.
        own: patterns of files that are nothing without an entry: what is, goes.

    Returns:
        The name of each file that was dropped -> what is wrong with it, in words.
    """
    found = {}
    with writing(folder):
        for file in list(_entered(folder)):
            wrong = _difference(file)
            if wrong:
                found[str(file.relative_to(folder))] = wrong
                forget(file)
        inner = {(folder / pattern).parent for pattern in own}
        for one in {folder, folder / SCAFFOLD, *inner, *(one / SCAFFOLD for one in inner)}:
            for file in list(one.glob("*")):
                if is_half_written(file):
                    file.unlink()
        for file in owned(folder, own):
            if file.is_file() and read_entry(file) is None:
                file.unlink()
    return found


def owned(folder: Path, own: Iterable[str]) -> list[Path]:
    """Return what in `folder`, or in a folder in it, has a name like one of the patterns `own` ("*.bin", "parts/*")."""
    own, found = tuple(own), []
    for one in [*folder.glob("*/*"), *folder.glob("*")]:
        name = one.relative_to(folder).as_posix()
        if one.name != SCAFFOLD and any(
            name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern) for pattern in own
        ):
            found.append(one)
    return found


def remove_own(folder: Path, own: Iterable[str], keep: Iterable[str] = ()) -> None:
    """Remove from a folder of unfinished work what the patterns `own` find, but not what `keep` does.

    Nothing else goes but a folder in which nothing is left.
    """
    own, stays = tuple(own), owned(folder, keep)
    for one in [*owned(folder, own), *filter(is_half_written, list(folder.iterdir()))]:
        if one not in stays:
            remove(one)
            forget(one)  # its entry
    for inner in {(folder / pattern).parent for pattern in own} - {folder}:
        for one in (inner / SCAFFOLD, inner):
            with suppress(OSError):  # not there, or there is something in it
                one.rmdir()


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing if it is not there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def is_half_written(file: Path) -> bool:
    """Return whether `file` is what a kill in the middle of `write_file` leaves."""
    return fnmatch.fnmatchcase(file.name, ".?*.[0-9]*") and file.suffix[1:].isdigit() and file.is_file()


def _difference(file: Path) -> str:
    """Return what is wrong with a file that was entered, "" if nothing is. Sizes first: they cost nothing."""
    known = read_entry(file)
    if known is None:
        return "has a damaged entry" if file.exists() else ""
    if not file.is_file():
        return "is gone"
    size = file.stat().st_size
    wanted = [one for one in (known.now, known.before) if one is not None and one.bytes == size]
    if not wanted:
        return f"has {size:,} bytes, not {known.now.bytes:,}"
    found = _read(file)
    if found == known.now:
        return ""
    if found in wanted:  # killed between the entry and the file: the one before stands
        _write(file, Entry(found, known.of))
        return ""
    return f"has other contents than were written (sha256 {found.sha256[:12]}, not {known.now.sha256[:12]})"


def _entered(folder: Path) -> Iterator[Path]:
    """Yield the files in `folder`, and below, that have an entry, whether they are there or not."""
    for entry in sorted(folder.rglob(f"{SCAFFOLD}/*{_SUFFIX}")):
        yield entry.parent.parent / entry.name.removesuffix(_SUFFIX)


def _entry_file(file: Path) -> Path:
    return file.parent / SCAFFOLD / f"{file.name}{_SUFFIX}"


def _write(file: Path, entry: Entry) -> None:
    write_file(_entry_file(file), msgspec.json.encode(entry))


def _content(data: bytes) -> _Content:
    return _Content(len(data), sha256(data))


def _read(file: Path) -> _Content:
    return _Content(file.stat().st_size, file_sha256(file))
