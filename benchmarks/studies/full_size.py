"""The network that the full-size benchmarks measure: MobileNetV3-Small, 224 pixels, 1000 classes.

Latency does not depend on what a network has learned, so it is untrained.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_moe import Runtime
from edge_moe.backends import names
from edge_moe.bundle import Bundle, Preprocessing
from edge_moe.converters import recipes
from edge_moe.converters.convert import ConversionOptions, convert
from edge_moe.data import NOISE, open_data
from edge_moe.nn import Architecture
from edge_moe.progress import Progress, shown_progress
from edge_moe.training.checkpoint import save_checkpoint
from edge_moe.training.untrained import new_untrained

__all__ = ["TITLE", "bundle_of", "full_size_bundle", "full_size_checkpoint", "inputs", "workplace"]

TITLE = "MobileNetV3-Small, 224 pixels, 1000 classes, UNTRAINED"
_SIZE = 224


@contextmanager
def workplace(output: Path | None) -> Iterator[tuple[Path, Progress]]:
    """Return the folder of a study, made if it is not there, and its progress; of None, a folder that goes again."""
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        yield folder, stack.enter_context(shown_progress())


def full_size_checkpoint(folder: Path, experts: int) -> Path:
    """Make an untrained MobileNetV3-Small with `experts` experts in `folder`, if it is not there."""
    checkpoint = folder / f"checkpoint-{experts}"
    if not checkpoint.exists():
        architecture = Architecture(base="mobilenet_v3_small", classes=1000, image_size=_SIZE)
        spec = Preprocessing(image_size=_SIZE, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        save_checkpoint(checkpoint, new_untrained(architecture, experts, spec, seed=0))
    return checkpoint


def full_size_bundle(folder: Path, experts: int, progress: Progress, backends: tuple[str, ...] = names()[:1]) -> Path:
    """Make a bundle of that checkpoint with every recipe of `backends` in `folder`, if it is not there."""
    bundle = folder / f"bundle-{experts}-{'-'.join(backends)}"
    if not bundle.exists():
        wanted = tuple(f"{b}/{name}" for b in backends for name in recipes.book(b).recipes if name != recipes.FLOAT)
        options = ConversionOptions(  # what falls apart is timed as well
            backends=backends, recipes=wanted, calibration_images=32, validation_images=64, keep_going=True
        )
        checkpoint = full_size_checkpoint(folder, experts)
        convert(checkpoint, NOISE, bundle, options, jobs=min(os.cpu_count() or 1, 4), progress=progress)
    return bundle


def bundle_of(folder: Path, experts: int, progress: Progress, sets: tuple[str, ...]) -> Path:
    """Make a bundle of that checkpoint with these sets in `folder`, if it is not there."""
    bundle = folder / f"bundle-{experts}-{'-'.join(sets).replace('/', '-')}"
    if not bundle.exists():
        options = ConversionOptions(
            sets=sets, calibration_images=32, validation_images=16, ship_float=False, keep_going=True
        )
        checkpoint = full_size_checkpoint(folder, experts)
        convert(checkpoint, NOISE, bundle, options, jobs=min(os.cpu_count() or 1, 4), progress=progress)
    return bundle


def inputs(bundle: Bundle) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return images [N, 1, H, W, 3] and their features at the branch point [N, 1, H, W, C]."""
    images = list(open_data(NOISE, "val").sample(8).tensors(bundle.manifest.preprocessing))
    with Runtime(bundle, recipe=recipes.FLOAT) as runtime:
        features = []
        for image in images:
            runtime.part("base").invoke(image)
            features.append(runtime.part("base").output("features"))
    return np.stack(images), np.stack(features)
