"""The smallest real thing: photographs of stripes, a MobileNetV3-Small that learned them, and its LiteRT bundle.

Converting it takes half a minute, so it happens once a session; `CopiedParts` stands in for the converter where a
test is about what comes after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_moe.output import write_file

CLASSES = ("across", "diagonal", "down")
SIZE = 32
EXPERTS = 2
VALIDATION_IMAGES = 72


def write_images(root: Path) -> Path:
    """Stripes in three directions, of any phase and colour, noisy enough that a network has its doubts."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    for split, count in (("train", 64), ("val", VALIDATION_IMAGES // len(CLASSES))):
        for name, along in zip(CLASSES, (y, x + y, x), strict=True):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                wave = np.sin(along * (2 * np.pi / 8) + rng.uniform(0, 6))[..., np.newaxis]
                pixels = 128 + 60 * wave * rng.uniform(0.1, 1, 3) + rng.normal(0, 25, (SIZE, SIZE, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / split / name / f"{i:02d}.png")
    return root


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads only get in each other's way."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_checkpoint(out: Path, images: Path) -> Path:
    from edge_moe.bundle import Preprocessing
    from edge_moe.nn import Architecture
    from edge_moe.training.config import TrainingConfig
    from edge_moe.training.run import Plan, train

    config = TrainingConfig(
        data=str(images),
        augment="none",
        batch_size=32,
        epochs=5,
        learning_rate=0.05,
        gate_epochs=3,
        kmeans_restarts=1,
        expert_epochs=1,
    )
    plan = Plan(
        architecture=Architecture(base="mobilenet_v3_small", classes=len(CLASSES), image_size=SIZE, stem_stride=1),
        experts=EXPERTS,
        labels=CLASSES,
        preprocessing=Preprocessing(image_size=SIZE, resize=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        config=config,
    )
    with one_thread():
        train(plan, out)
    return out


class CopiedParts:
    """Instead of `convert_parts`: copies what `bundle` has of the same weights, makes the rest in this process."""

    def __init__(self, checkpoint: Path, bundle: Path) -> None:
        self.made = {
            (digest(checkpoint / f"{file.stem}.safetensors"), file.parent.name): file.read_bytes()
            for file in bundle.glob("litert/*/*.tflite")
        }
        self.calls: list[list[Any]] = []

    def __call__(self, jobs: list[Any], processes: int, folder: Path, progress: Any) -> None:
        self.calls.append(jobs)
        progress.start("converting", len(jobs))
        for job in jobs:
            weights = digest(job.checkpoint / f"{job.part}.safetensors")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                for recipe, target in job.targets.items():
                    write_file(target, self.artifact(job, weights, recipe))
            progress.advance("converting", job.part)

    def artifact(self, job: Any, weights: str, recipe: str) -> bytes:
        from edge_moe.converters import litert, recipes, workers

        if (weights, recipe) not in self.made:
            samples = np.load(job.samples)
            if recipe == recipes.FLOAT:
                made = litert.export(workers.load(job), samples[0])
            else:
                made = litert.calibrate_and_quantize(
                    self.artifact(job, weights, recipes.FLOAT), samples, recipes.get(recipe)
                )
            self.made[weights, recipe] = made
        return self.made[weights, recipe]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Every path under `folder`, files with their hash: equal before and after means untouched."""
    return {
        str(path.relative_to(folder)): digest(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
