"""The other ways to run a checkpoint: what each quantizer makes of it by itself, and torch without any of this."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.converters import recipes, toolchain
from edge_moe.converters.workers import Job, carry_out
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["PARTS", "make_stock", "stock_call"]

_Floats = npt.NDArray[np.float32]
PARTS = {"base": "base", "expert": "expert_00"}  # kind -> the part that stands for it: experts share one graph


def make_stock(
    wanted: Collection[str], checkpoint: Path, samples: Mapping[str, _Floats], folder: Path, progress: Progress
) -> dict[str, dict[SetKey, Path]]:
    """Make base and expert, or a plain network, as the quantizer of each backend does by itself.

    Args:
        wanted: names of backends.
        checkpoint: with the base and the experts, if it has any.
        samples: kind -> what to calibrate on, [N, 1, H, W, C] or of another rank; "base", and "expert" if there are.
        folder: where the artifacts go; those that are there already are taken.
        progress: told of each part.

    Returns:
        kind -> set -> file.

    Raises:
        ConversionError: a part cannot be converted.
        CheckpointError: there is no checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[SetKey, Path]] = {kind: {} for kind in PARTS}
    jobs = []
    plain = "expert" not in samples
    for kind, part in PARTS.items():
        if kind not in samples:
            continue
        given = folder / f"{kind}.npy"
        np.save(given, samples[kind])
        for backend in wanted:
            recipe = recipes.book(backend).stock
            file = folder / f"{backend}-{kind}-{recipe.name}{backends.get(backend).suffix}"
            files[kind][SetKey(backend, recipe.name)] = file
            if not file.exists():
                jobs.append(
                    Job(
                        backend=backend,
                        checkpoint=checkpoint,
                        part=part,
                        plain=plain,
                        samples=given,
                        graph=folder / f"{backend}-{kind}.graph",
                        targets=((recipe, file),),
                    )
                )
    if jobs:
        carry_out(jobs, 1, folder, progress)
    return files


def stock_call(key: SetKey, file: Path, threads: int, x: _Floats) -> Callable[[], Any]:
    """Return a call of a stock artifact on `x`, ready made."""
    return toolchain.get(key.backend).stock_call(file.read_bytes(), threads, x)
