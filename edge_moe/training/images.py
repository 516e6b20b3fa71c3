"""Labelled images as torch batches: kept in memory where they fit, augmented on the fly, drawn under a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import Augment
from edge_moe.data import LabelledImages
from edge_moe.errors import DataError, EdgeMoeError
from edge_moe.nn.torchvision import torchvision as _torchvision  # noqa: F401  (makes torchvision importable)
from edge_moe.progress import Progress, Silent, track
from edge_moe.training.loading import begin
from edge_moe.training.readable import refusal

from torchvision.transforms import v2  # isort: skip

__all__ = ["Images", "batches", "fits_in_memory", "seed_everything"]

_MEMORY_BYTES = 2 << 30
_PAD_SHARE = 8  # a random crop moves the image by at most 1/8 of its side


def fits_in_memory(source: LabelledImages, spec: Preprocessing) -> bool:
    """Return whether all images, prepared, are kept."""
    height, width = spec.size
    return len(source) * height * width * 3 <= _MEMORY_BYTES


class Images(Dataset[tuple[Tensor, int]]):
    """[3, H, W] uint8 image and class index."""

    def __init__(self, source: LabelledImages, spec: Preprocessing, progress: Progress | None = None) -> None:
        """Decode every image once if all fit in 2 GiB; else each time that it is asked for.

        Raises:
            DataError: some are decoded here, and cannot be: names them.
        """
        self.source, self.spec = source, spec
        self.labels = torch.from_numpy(source.labels)
        self._stored: Tensor | None = None
        if fits_in_memory(source, spec):
            self._stored = torch.empty(len(source), 3, *spec.size, dtype=torch.uint8)
            problems: dict[int, str] = {}
            for index in track(range(len(source)), f"reading {source.name}", len(source), progress or Silent()):
                try:
                    self._stored[index] = self._decode(index)
                except DataError as error:
                    problems[index] = str(error)
            if problems:
                raise refusal(source, problems)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self._decode(index) if self._stored is None else self._stored[index]
        return pixels, int(self.labels[index])

    def _decode(self, index: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.source.pixels(index, self.spec).transpose(2, 0, 1)))


class _Augmented(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: Images, augment: Augment) -> None:
        self._images, self._transform = images, _augmentation(augment, images.spec.size)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = self._images[index]
        return self._transform(pixels), label


class _Told(Dataset["tuple[Tensor, int] | EdgeMoeError"]):
    """Gives an error of ours as a value: torch would make a traceback in words of what a process raises."""

    def __init__(self, images: Dataset[tuple[Tensor, int]]) -> None:
        self._images = images

    def __getitem__(self, index: int) -> tuple[Tensor, int] | EdgeMoeError:
        try:
            return self._images[index]
        except EdgeMoeError as error:
            return error


def _collate(found: list[tuple[Tensor, int] | EdgeMoeError]) -> Any:
    return next((one for one in found if isinstance(one, EdgeMoeError)), None) or default_collate(found)


def batches(
    images: Images,
    batch_size: int,
    device: torch.device,
    *,
    augment: Augment = "none",
    indices: Sequence[int] | None = None,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalised images [B, 3, H, W] (channels last in memory) and labels [B], in the order of `indices`.

    `workers`: processes that decode images, which end with this one. Randomness comes from torch's global generator:
    call `seed_everything` first.
    """
    dataset = images if augment == "none" else _Augmented(images, augment)
    loader: DataLoader[Any] = DataLoader(
        _Told(dataset) if workers else dataset,
        batch_size,
        sampler=range(len(images)) if indices is None else indices,
        num_workers=workers,
        worker_init_fn=begin() if workers else None,
        collate_fn=_collate if workers else None,
    )
    mean = torch.tensor(images.spec.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(images.spec.std, device=device).view(1, 3, 1, 1)
    for batch in loader:
        if isinstance(batch, EdgeMoeError):
            raise batch
        pixels, labels = batch
        normalized = (pixels.to(device, torch.float32) / 255 - mean) / std
        yield normalized.contiguous(memory_format=torch.channels_last), labels.to(device)


def seed_everything(*key: int) -> torch.Generator:
    """Seed torch's global generator by all of `key`, and return it: one key, one sequence, however a run got there."""
    return torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def _augmentation(augment: Augment, size: tuple[int, int]) -> v2.Transform:
    height, width = size
    padding = [max(1, width // _PAD_SHARE), max(1, height // _PAD_SHARE)]  # left and right, top and bottom
    crop = v2.RandomCrop(size, padding=padding, padding_mode="edge")
    flip = v2.RandomHorizontalFlip()
    # Stretched by at most 4/3 against the image that it is cut from, which has these proportions already.
    stretch = (3 / 4 * (width / height), 4 / 3 * (width / height))
    resized = v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=stretch, antialias=True)
    return {
        "crop": crop,
        "crop-flip": v2.Compose([crop, flip]),
        "resized-crop-flip": v2.Compose([resized, flip]),
    }[augment]
