from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import TrainingConfig
from edge_moe.data import open_data
from edge_moe.nn import Architecture
from edge_moe.training.images import Images
from edge_moe.training.plan import TrainingPlan
from edge_moe.training.run import train

SIZE = 16
CLASSES = ("cat", "dog", "eel")
FILES = {"config.json", *(f"{part}.safetensors" for part in ("base", "gate", "expert_00", "expert_01"))}
TWO = {"epochs": 2, "expert_epochs": 2}


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors: threads only get in each other's way, and sums depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen and five images of each of three classes, of different brightness, as an ImageFolder."""
    return write_images(tmp_path_factory.mktemp("images"), CLASSES, {"train": 13, "val": 5})


@pytest.fixture(scope="package")
def reference(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run writes."""
    out = tmp_path_factory.mktemp("reference") / "checkpoint"
    train(small_plan(folder, **TWO), out)
    return out


@pytest.fixture
def finished(reference: Path, tmp_path: Path) -> Path:
    """A checkpoint of the test's own, to change."""
    return Path(shutil.copytree(reference, tmp_path / "c"))


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    """Images of the test's own, to change."""
    return Path(shutil.copytree(folder, tmp_path / "data"))


def write_images(root: Path, classes: tuple[str, ...], counts: dict[str, int], mode: str = "RGB") -> Path:
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for level, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(40 + 80 * level, 40, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(root / split / name / f"{i:02d}.png")
    return root


def small_preprocessing() -> Preprocessing:
    return Preprocessing(image_size=SIZE, resize=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def small_architecture(classes: int = 3) -> Architecture:
    return Architecture(base="mobilenet_v3_small", classes=classes, image_size=SIZE, stem_stride=2)


def small_plan(folder: Path, *, experts: int = 2, labels: tuple[str, ...] = CLASSES, **config: Any) -> TrainingPlan:
    few = {"epochs": 1, "expert_epochs": 1, "gate_epochs": 2, "kmeans_restarts": 1, "batch_size": 8}
    return TrainingPlan(
        architecture=small_architecture(len(labels)),
        experts=experts,
        labels=labels,
        preprocessing=small_preprocessing(),
        config=TrainingConfig(data=str(folder), **(few | config)),
    )


@pytest.fixture
def plan(folder: Path) -> Callable[..., TrainingPlan]:
    """plan(experts=2, labels=..., **fields of TrainingConfig) -> a plan over `folder` that trains in about a second."""
    return lambda **options: small_plan(folder, **options)


@pytest.fixture(scope="session")
def images(folder: Path) -> Images:
    return Images(open_data(folder, "train", strict=True), small_preprocessing())


class Recorder:
    """A Progress that remembers: name -> [total, done at the start, advances]."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}
        self.notes: list[str] = []

    def start(self, name: str, total: int, done: int = 0) -> None:
        self.steps[name] = [total, done, 0]

    def advance(self, name: str, note: str = "") -> None:
        self.steps[name][2] += 1
        self.notes.append(note)


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in without
    }


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def noise(file: Path) -> None:
    Image.fromarray(np.random.default_rng(7).integers(0, 255, (SIZE, SIZE, 3), np.uint8)).save(file)


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1  # in the checksum behind the pixels: Pillow reads it all the same, the size stays
    file.write_bytes(bytes(content))
