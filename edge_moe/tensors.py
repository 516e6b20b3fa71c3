"""The input tensors of a set of images, to go through more than once without holding more than memory allows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages
from edge_moe.fingerprints import fingerprint
from edge_moe.preprocess import normalize
from edge_moe.progress import Progress, Silent, track

__all__ = ["Tensors"]

_MEMORY_BYTES = 1 << 30


class Tensors:
    """Input tensors float32 [1, H, W, 3], in the order of the images."""

    def __init__(self, images: LabelledImages, spec: Preprocessing, progress: Progress | None = None) -> None:
        """Decode every image once if the pixels fit in 1 GiB; else each time that its tensor is asked for.

        Raises:
            DataError: a file is not a readable image.
        """
        self._images, self._spec = images, spec
        self._pixels: list[npt.NDArray[np.uint8]] | None = None
        height, width = spec.size
        if len(images) * height * width * 3 <= _MEMORY_BYTES:
            indices = track(range(len(images)), "reading images", len(images), progress or Silent())
            self._pixels = [images.pixels(index, spec) for index in indices]
        self._fingerprints: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        pixels = self._images.pixels(index, self._spec) if self._pixels is None else self._pixels[index]
        if index not in self._fingerprints:  # now that it is at hand: decoding it again would take far longer
            self._fingerprints[index] = fingerprint(pixels)
        return normalize(pixels, self._spec)[np.newaxis]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """[N] what each image is known by, see `edge_moe.fingerprints`."""
        for index in set(range(len(self))) - self._fingerprints.keys():
            self[index]
        return tuple(self._fingerprints[index] for index in range(len(self)))

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return (self[index] for index in range(len(self)))
