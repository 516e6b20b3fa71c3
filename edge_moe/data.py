"""Labelled images, from a folder in the ImageFolder layout or embedded ones, see edge_moe.embedded.

    DATA/train/<class>/*.jpg      or, for commands that only need one split,      DATA/<class>/*.jpg
    DATA/val/<class>/*.jpg        or, where labels are not known,                 DATA/*.jpg

What counts as an image, a class and a split: `edge_moe/formats.py`, `edge_moe/folders.py`.

Runs without torch, so that a benchmark on a device can use it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_moe.embedded import DIGITS, EMBEDDED, NOISE
from edge_moe.errors import DataError, UsageError
from edge_moe.folders import LeftOut, class_folders, find_images, holds_splits
from edge_moe.formats import IMAGE_SUFFIXES
from edge_moe.labelled import LabelledImages, Split
from edge_moe.text import is_text, printable

__all__ = ["DIGITS", "IMAGE_SUFFIXES", "NOISE", "LabelledImages", "Split", "open_data"]

_log = logging.getLogger(__name__)


_NAMES = ", ".join(f"'{name}'" for name in EMBEDDED)


def open_data(source: str | Path, split: Split, *, strict: bool = False) -> LabelledImages:
    """Open a folder of images, or those that are embedded under a name, see edge_moe.embedded.

    A folder with a `train` or `val` subfolder gives the split that was asked for; a folder of class folders, some of
    which may have these names, gives itself for either split, unless `strict`, which training uses so that it never
    validates on what it trained on. What the folder holds and is not read stands in the `notes`, and is logged.

    A name without a folder before it, given as text, is that of an embedded set; `./digits` is a folder.

    Raises:
        UsageError: the name of an embedded set is also that of a folder here.
        DataError: the folder is missing, empty or unreadable, a class folder has no image, or the folder can be read
            in two ways.
        MissingExtraError: embedded digits without scikit-learn.
    """
    embedded = EMBEDDED.get(source) if isinstance(source, str) else None
    if embedded is not None:
        _refuse_a_folder_of_that_name(str(source))
        if strict and source == NOISE:
            raise DataError(f"{NOISE} has no labels; expected images to train on: '{DIGITS}', or a folder of images")
        return embedded(split)
    try:
        images = _open_folder(Path(source), split, strict)
    except OSError as error:
        raise DataError(
            f"{error.filename or source} cannot be read: {error.strerror}; expected a folder of images"
        ) from None
    for note in images.notes:
        _log.info(note)
    return images


def _refuse_a_folder_of_that_name(name: str) -> None:
    if Path(name).is_dir():
        raise UsageError(
            f"{name} is an embedded data set, and there is a folder of that name here; give ./{name} for the folder, "
            "or rename it, or work in another folder, for the embedded one"
        )


def _open_folder(root: Path, split: Split, strict: bool) -> LabelledImages:
    if not root.exists():
        raise DataError(
            f"{root} does not exist; expected a folder of images, one subfolder a class, or one of {_NAMES}"
        )
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; expected a folder of images, one subfolder a class, or one of {_NAMES}"
        )
    if not is_text(str(root)):
        raise DataError(f"the name of {printable(root)} is not in UTF-8; rename it")
    left_out = LeftOut()
    if holds_splits(root, left_out):
        if not (root / split).is_dir():
            raise DataError(f"{root} has no subfolder '{split}'; expected {root / split}/<class>/<image>")
        return _folder(root / split, strict, left_out, is_split=True)
    if strict:
        there = (root / split).is_dir()
        found = f"is a folder of classes, '{split}' among them" if there else f"has no subfolder '{split}'"
        raise DataError(f"{root} {found}; expected {root / split}/<class>/<image>")
    return _folder(root, strict, left_out)


def _folder(root: Path, strict: bool, left_out: LeftOut, *, is_split: bool = False) -> LabelledImages:
    classes = class_folders(root, left_out)
    if not classes:
        left_out = LeftOut(folders=left_out.folders)  # counted again, by what there is beside loose images
        unlabelled = find_images(root, left_out)
        if strict or not unlabelled:
            raise DataError(f"{root} has no class folders; expected {root}/<class>/<image>{left_out.instead}")
        without = (f"{root} has no class folders: its {len(unlabelled)} images have no labels",) if is_split else ()
        notes = (*without, *_notes(root, unlabelled, left_out))
        return LabelledImages(str(root), (), unlabelled, np.zeros(len(unlabelled), dtype=np.int64), notes=notes)
    sources: list[Path] = []
    labels: list[int] = []
    for index, (name, folder) in enumerate(classes.items()):
        before = left_out.suffixes.copy()
        files = find_images(folder, left_out)
        if not files:
            others = LeftOut(suffixes=left_out.suffixes - before)
            raise DataError(
                f"{root / name} has no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}: "
                f"add some or remove the folder{others.instead}"
            )
        sources += files
        labels += [index] * len(files)
    notes = _notes(root, sources, left_out)
    return LabelledImages(str(root), tuple(classes), sources, np.array(labels, dtype=np.int64), notes=notes)


def _notes(root: Path, read: Sequence[Path], left_out: LeftOut) -> tuple[str, ...]:
    return (f"{root}: {len(read)} images are read; left out: {left_out}",) if str(left_out) else ()
