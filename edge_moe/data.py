"""Labelled images, from a folder in the ImageFolder layout or embedded ones, see edge_moe.embedded.

    DATA/train/<class>/*.jpg      or, for commands that only need one split,      DATA/<class>/*.jpg
    DATA/val/<class>/*.jpg        or, where labels are not known,                 DATA/*.jpg

Runs without torch, so that a benchmark on a device can use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import Preprocessing
from edge_moe.embedded import DIGITS, EMBEDDED, NOISE
from edge_moe.errors import DataError, UsageError
from edge_moe.preprocess import normalize, resize_crop, to_rgb

__all__ = ["DIGITS", "IMAGE_SUFFIXES", "NOISE", "LabelledImages", "Split", "open_data"]

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
Split = Literal["train", "val"]


@dataclass(frozen=True)
class LabelledImages:
    """Images (files or arrays) with their class index [N]; without classes the indices mean nothing."""

    name: str
    classes: tuple[str, ...]
    sources: Sequence[Path | npt.NDArray[np.uint8]]
    labels: npt.NDArray[np.int64]
    # [N] which images belong together, as versions of one original do; None: each stands for itself.
    groups: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def title(self) -> str:
        """What a report calls these images: the folder that holds the splits, not the split."""
        path = Path(self.name)
        return path.parent.name if path.name in get_args(Split) else path.name

    @property
    def labelled(self) -> bool:
        """Whether the class of every image is known."""
        return bool(self.classes)

    def pixels(self, index: int, spec: Preprocessing) -> npt.NDArray[np.uint8]:
        """Return image `index` resized and cropped: uint8 [H, W, 3].

        Raises:
            DataError: the file is not a readable image.
        """
        return resize_crop(to_rgb(self.sources[index]), spec)

    def tensors(self, spec: Preprocessing) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the input tensor of every image in order: float32 [1, H, W, 3]."""
        for index in range(len(self)):
            yield normalize(self.pixels(index, spec), spec)[np.newaxis]

    def sample(self, count: int, seed: int = 0) -> LabelledImages:
        """Return `count` images drawn without replacement, in the original order; all of them if there are fewer.

        Raises:
            UsageError: `count` is less than 1.
        """
        if count < 1:
            raise UsageError(f"a sample of {count} images was asked for; expected at least 1")
        if count >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        groups = None if self.groups is None else self.groups[chosen]
        return replace(self, sources=[self.sources[i] for i in chosen], labels=self.labels[chosen], groups=groups)

    def with_classes(self, classes: tuple[str, ...]) -> LabelledImages:
        """Return the same images with class indices into `classes` (a model's labels); unlabelled ones as they are.

        Raises:
            DataError: a class of these images is not among `classes`.
        """
        if not self.labelled:
            return self
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise DataError(
                f"{self.name} has the class {unknown[0]!r}, which the model does not know "
                f"({len(unknown)} such of {len(self.classes)}); expected classes among {_abbreviate(classes)}"
            )
        index = np.array([classes.index(name) for name in self.classes], dtype=np.int64)
        return replace(self, classes=classes, labels=index[self.labels])


def open_data(source: str | Path, split: Split, *, strict: bool = False) -> LabelledImages:
    """Open a folder of images, or those that are embedded under a name, see edge_moe.embedded.

    A folder with a `train` or `val` subfolder gives the split that was asked for; a folder of class folders gives
    itself for either split, unless `strict`, which training uses so that it never validates on what it trained on.

    Raises:
        DataError: the folder is missing, empty or unreadable, or a class folder has no image.
        MissingExtraError: embedded digits without scikit-learn.
    """
    embedded = EMBEDDED.get(str(source))
    if embedded is not None and not (strict and source == NOISE):
        return embedded(split)
    try:
        return _open_folder(Path(source), split, strict)
    except OSError as error:
        raise DataError(
            f"{error.filename or source} cannot be read: {error.strerror}; expected a folder of images"
        ) from None


def _open_folder(root: Path, split: Split, strict: bool) -> LabelledImages:
    if not root.exists():
        raise DataError(f"{root} does not exist; expected '{DIGITS}' or a folder of images, one subfolder a class")
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected '{DIGITS}' or a folder of images, one subfolder a class")
    if (root / split).is_dir():
        return _folder(root / split, strict)
    if strict or (root / "train").is_dir() or (root / "val").is_dir():
        raise DataError(f"{root} has no subfolder '{split}'; expected {root / split}/<class>/<image>")
    return _folder(root, strict)


def _folder(root: Path, strict: bool) -> LabelledImages:
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        unlabelled = sorted(_images(root))
        if strict or not unlabelled:
            raise DataError(f"{root} has no class folders; expected {root}/<class>/<image>")
        return LabelledImages(str(root), (), unlabelled, np.zeros(len(unlabelled), dtype=np.int64))
    sources: list[Path] = []
    labels: list[int] = []
    for index, name in enumerate(classes):
        files = sorted(_images(root / name))
        if not files:
            raise DataError(
                f"{root / name} has no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}: "
                "add some or remove the folder"
            )
        sources += files
        labels += [index] * len(files)
    return LabelledImages(str(root), tuple(classes), sources, np.array(labels, dtype=np.int64))


def _images(folder: Path) -> list[Path]:
    """Return the images under `folder`, but nothing hidden: macOS leaves a ._NAME.jpg that is none."""
    return [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]


def _abbreviate(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
