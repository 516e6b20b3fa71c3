"""Labelled images, wherever they are from: what `edge_moe.data` opens and `edge_moe.embedded` makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import Preprocessing
from edge_moe.decode import to_rgb
from edge_moe.errors import DataError, UsageError
from edge_moe.preprocess import normalize, resize_crop
from edge_moe.text import nfc

__all__ = ["LabelledImages", "Split"]

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
    notes: tuple[str, ...] = ()  # what a person should know: what the folder holds and is not read

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
        return self.at(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def at(self, indices: npt.NDArray[np.int64]) -> LabelledImages:
        """Return the images at these places alone, in this order."""
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, sources=[self.sources[i] for i in indices], labels=self.labels[indices], groups=groups)

    def with_classes(self, classes: tuple[str, ...]) -> LabelledImages:
        """Return the same images with class indices into `classes` (a model's labels); unlabelled ones as they are.

        Raises:
            DataError: a class of these images is not among `classes`.
        """
        if not self.labelled:
            return self
        places = {nfc(name): place for place, name in reversed(list(enumerate(classes)))}
        unknown = [name for name in self.classes if nfc(name) not in places]
        if unknown:
            raise DataError(
                f"{self.name} has the class {unknown[0]!r}, which the model does not know "
                f"({len(unknown)} such of {len(self.classes)}); expected classes among {_abbreviate(classes)}"
            )
        index = np.array([places[nfc(name)] for name in self.classes], dtype=np.int64)
        return replace(self, classes=classes, labels=index[self.labels])


def _abbreviate(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
