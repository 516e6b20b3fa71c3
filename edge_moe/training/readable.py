"""Which of a set's files are no images, told all at once and before any long work, or left out where that was asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages
from edge_moe.errors import DataError
from edge_moe.progress import Progress, Silent
from edge_moe.training.loading import begin

__all__ = ["readable", "refusal"]

_log = logging.getLogger(__name__)

_NAMED = 5  # in one error
_BATCH = 32


class _Tried(Dataset[str]):
    """What is wrong with each file; empty where it is an image."""

    def __init__(self, images: LabelledImages, spec: Preprocessing) -> None:
        self._images, self._spec = images, spec

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> str:
        if not isinstance(self._images.sources[index], Path):
            return ""
        try:
            self._images.pixels(index, self._spec)
        except DataError as error:
            return str(error)
        return ""


def readable(
    images: LabelledImages,
    spec: Preprocessing,
    *,
    leave_out: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> LabelledImages:
    """Decode every file once, and return the images that can be.

    Args:
        images: as they were opened.
        spec: how they will be prepared.
        leave_out: go on without those that cannot be decoded, with a note; else they are an error.
        workers: processes that decode.
        progress: is told of every image.

    Raises:
        DataError: some cannot be decoded; names the first of them. Or, with `leave_out`, a class has none left.
    """
    problems = {
        index: words for index, words in enumerate(_tried(images, spec, workers, progress or Silent())) if words
    }
    if not problems:
        return images
    if not leave_out:
        raise refusal(images, problems)
    kept = images.at(np.array([index for index in range(len(images)) if index not in problems], dtype=np.int64))
    lost = set(images.labels.tolist()) - set(kept.labels.tolist())
    if lost:
        raise DataError(
            f"of the class {images.classes[min(lost)]!r} of {images.name} no image can be read; expected at least one: "
            f"mend some or remove the class ({next(iter(problems.values()))})"
        )
    note = f"{images.name}: {len(problems)} of {len(images)} files cannot be read and are left out: {_some(problems)}"
    _log.info(note)
    return replace(kept, notes=(*kept.notes, note))


def refusal(images: LabelledImages, problems: Mapping[int, str]) -> DataError:
    """Return an error that names files of `images` that cannot be read: index -> why, at least one."""
    if len(problems) == 1:
        (words,) = problems.values()
        return DataError(f"{words}, or train without it, with --leave-out-unreadable")
    return DataError(
        f"{len(problems)} of {len(images)} files of {images.name} cannot be read: {_some(problems)}; mend or remove "
        "them, or train without them with --leave-out-unreadable"
    )


def _some(problems: Mapping[int, str]) -> str:
    words = [one.partition("; expected")[0] for one in problems.values()]
    more = f", and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more


def _tried(images: LabelledImages, spec: Preprocessing, workers: int, progress: Progress) -> Iterator[str]:
    step = f"reading {images.name}"
    progress.start(step, len(images))
    loader: DataLoader[Any] = DataLoader(
        _Tried(images, spec),
        _BATCH,
        num_workers=workers,
        worker_init_fn=begin() if workers else None,
        collate_fn=list,
    )
    for batch in loader:
        for words in batch:
            progress.advance(step)
            yield words
