"""Folders of images: which are classes, which are splits, what images they hold, and what they hold beside.

Links are followed. A link that leads back, to where the search has been or to a folder above it, is not.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge_moe.errors import DataError
from edge_moe.formats import IMAGE_SUFFIXES
from edge_moe.text import is_text, nfc, printable

__all__ = ["LeftOut", "class_folders", "find_images", "holds_splits"]

SPLITS = ("train", "val")
_THIRD_SPLIT = "test"  # many data sets have it, often without labels; nobody calls a class so
_NAMED = 5  # suffixes
_PLURALS = {"hidden file or folder": "hidden files and folders", "pipe or device": "pipes and devices"}


@dataclass
class LeftOut:
    """What lies in a folder and is not read, by kind."""

    suffixes: Counter[str] = field(default_factory=Counter)  # of files that are no images by their suffix
    beside: int = 0  # images that lie beside class folders
    hidden: int = 0  # files and folders whose name begins with a dot
    back: int = 0  # links to a folder that is read already, or holds the one that they lie in
    broken: int = 0  # links to nothing
    no_files: int = 0  # pipes and devices that are called as images are
    folders: list[str] = field(default_factory=list)  # beside the splits

    def __str__(self) -> str:
        """Return a list in words; empty where nothing was left out."""
        files, named = self.suffixes.total(), ", ".join(sorted(self.suffixes)[:_NAMED])
        more = ", ..." if len(self.suffixes) > _NAMED else ""
        counted = (
            (files, "file", f" with other suffixes ({named}{more})"),
            (self.beside, "image", " beside the class folders"),
            (self.hidden, "hidden file or folder", ""),
            (self.back, "link", " that leads back" if self.back == 1 else " that lead back"),
            (self.broken, "broken link", ""),
            (self.no_files, "pipe or device", ""),
            (len(self.folders), "folder", f" beside the splits ({', '.join(self.folders[:_NAMED])})"),
        )
        return ", ".join(f"{count} {_plural(what, count)}{rest}" for count, what, rest in counted if count)

    @property
    def instead(self) -> str:
        """The list in brackets, for the end of what is missing."""
        return f" (found {self})" if str(self) else ""


def holds_splits(root: Path, left_out: LeftOut) -> bool:
    """Return whether `root` holds the splits `train` and `val`, or one of them; else its folders are classes.

    Both may also be names of classes, so what is in them decides. A split holds class folders; a class holds images,
    and lies beside other classes. Only two folders of images, and nothing beside them, are splits without labels.

    Raises:
        DataError: it can be read both ways.
    """
    shapes: dict[str, _Shape] = {}
    others: dict[str, _Shape] = {}
    for entry in _entries(root):
        if _is_folder(entry) and not entry.name.startswith("."):
            (shapes if entry.name in SPLITS else others)[entry.name] = _shape(Path(entry.path))
    if not shapes:
        return False
    with_classes = sorted(name for name, shape in shapes.items() if shape.nested)
    like_classes = sorted(name for name, shape in others.items() if shape.direct and name != _THIRD_SPLIT)
    if with_classes:
        both = len(with_classes) == len(SPLITS) and not any(shape.direct for shape in shapes.values())
        if like_classes and not both:
            raise DataError(
                f"{root} can be read in two ways: {root / with_classes[0]} holds folders, as a split does, and lies "
                f"beside {root / like_classes[0]}, which holds images, as a class does; "
                f"give {root / with_classes[0]} itself, or move the classes into {root / 'val'}/"
            )
    elif like_classes:
        return False
    else:
        doubtful = sorted(name for name, shape in others.items() if shape.direct or shape.nested)
        if doubtful and any(shape.direct for shape in shapes.values()):
            first = next(name for name, shape in shapes.items() if shape.direct)
            raise DataError(
                f"{root} can be read in two ways: {root / first} is a class beside {root / doubtful[0]}, or a split "
                f"without labels; give {root / first} itself for images without labels, "
                f"or move the classes into {root / 'val'}/"
            )
    left_out.folders += sorted(others)
    return True


def class_folders(root: Path, left_out: LeftOut) -> dict[str, Path]:
    """Return the class folders in `root` by name, composed as in `nfc`, in ascending order.

    Raises:
        DataError: a name is no text, or two of them differ only in how accents are stored.
    """
    found: dict[str, Path] = {}
    here = os.path.realpath(root)
    for entry in sorted(_entries(root), key=lambda one: one.name):
        if entry.name.startswith("."):
            left_out.hidden += 1
        elif not _is_folder(entry):
            _count_file(entry, left_out, beside=True)
        elif entry.is_symlink() and _within(here, os.path.realpath(entry.path)):
            left_out.back += 1
        elif not is_text(entry.name):
            raise _no_text(entry.path)
        elif nfc(entry.name) in found:
            twins = ascii(found[nfc(entry.name)].name), ascii(entry.name)
            raise DataError(
                f"{root} has two folders for the class {nfc(entry.name)!r}, {twins[0]} and {twins[1]}; "
                "expected one: put the images of both into one"
            )
        else:
            found[nfc(entry.name)] = Path(entry.path)
    return dict(sorted(found.items()))


def find_images(folder: Path, left_out: LeftOut) -> list[Path]:
    """Return the images in `folder` and the folders in it, sorted; nothing hidden: macOS leaves a ._NAME.jpg.

    Raises:
        DataError: the name of one is no text.
    """
    return sorted(_walk(folder, left_out))


class _Shape(NamedTuple):
    direct: bool  # it holds an image
    nested: bool  # a folder in it does


def _shape(folder: Path) -> _Shape:
    ignored, direct, nested = LeftOut(), False, False
    for entry in _entries(folder):
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            nested = nested or any(True for _ in _walk(Path(entry.path), ignored))
        else:
            direct = direct or _is_image(entry)
        if direct and nested:
            break
    return _Shape(direct, nested)


def _walk(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    top = os.path.realpath(folder)
    seen = {top}
    todo = deque([(str(folder), top)])
    links: deque[tuple[str, str, str]] = deque()  # after all else, so that what lies in two places is found in its own
    while todo or links:
        if todo:
            here, real = todo.popleft()
        else:
            here, real, parent = links.popleft()
            if real in seen or _within(top, real) or _within(parent, real):
                left_out.back += 1
                continue
            seen.add(real)
        for entry in sorted(_entries(here), key=lambda one: one.name):
            if entry.name.startswith("."):
                left_out.hidden += 1
            elif _is_folder(entry):
                if entry.is_symlink():
                    links.append((entry.path, os.path.realpath(entry.path), real))
                elif (inside := str(Path(real, entry.name))) not in seen:  # a link may have led to it
                    seen.add(inside)
                    todo.append((entry.path, inside))
            elif not _is_image(entry):
                _count_file(entry, left_out)
            elif not is_text(entry.path):
                raise _no_text(entry.path)
            else:
                yield Path(entry.path)


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return _suffix(entry.name) in IMAGE_SUFFIXES and entry.is_file()
    return False


def _count_file(entry: os.DirEntry[str], left_out: LeftOut, *, beside: bool = False) -> None:
    if entry.is_symlink() and not Path(entry.path).exists():
        left_out.broken += 1
    elif beside and _is_image(entry):
        left_out.beside += 1
    elif _suffix(entry.name) in IMAGE_SUFFIXES:
        left_out.no_files += 1
    else:
        left_out.suffixes[printable(_suffix(entry.name)) or "none"] += 1


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _no_text(path: str) -> DataError:
    return DataError(f"the name of {printable(path)} is not in UTF-8; rename it")


def _within(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or lies in it, both real."""
    return f"{path}{os.sep}".startswith(f"{folder.rstrip(os.sep)}{os.sep}")


def _plural(what: str, count: int) -> str:
    if count == 1:
        return what
    return _PLURALS.get(what, f"{what}s")
