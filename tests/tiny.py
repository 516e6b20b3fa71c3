"""The smallest real thing: photographs of stripes, a MobileNetV3-Small that learned them, and its bundle.

The networks were trained once, by `python -m tests.fit`, and are loaded: the same weights on every processor.
Converting it takes most of a minute, so it happens once a session. `PartsMadeHere` stands in for the converter's
processes where a test is about what comes before or after them; with the network of `tests.own` that takes a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edge_moe.ledger import SCAFFOLD, keep

if TYPE_CHECKING:
    from edge_moe.nn import SingleGateMoE
    from edge_moe.training.plan import TrainingPlan

CLASSES = ("across", "diagonal", "down")
SIZE = 32
EXPERTS = 2
SETS = ("litert/int8", "litert/fp32", "onnx/int8", "onnx/fp32")  # of the bundle
VALIDATION_IMAGES = 72
DATA = Path(__file__).parent / "data"


def write_images(root: Path, train: int = 64, seed: int = 0) -> Path:
    """Stripes in three directions, of any phase and colour, noisy enough that a network has its doubts.

    `train`: how many training images a class has.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    for split, count in (("train", train), ("val", VALIDATION_IMAGES // len(CLASSES))):
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


def plan(images: Path, base: str) -> TrainingPlan:
    """What the checkpoints say of how they were made."""
    from edge_moe.bundle import Preprocessing
    from edge_moe.checkpoint import TrainingConfig
    from edge_moe.nn import Architecture
    from edge_moe.training.run import TrainingPlan

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
    return TrainingPlan(
        architecture=Architecture(base=base, classes=len(CLASSES), image_size=SIZE, stem_stride=1),
        experts=EXPERTS,
        labels=CLASSES,
        preprocessing=Preprocessing(image_size=SIZE, resize=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        config=config,
    )


def weights(base: str) -> Path:
    """Return the file with what `tests.fit` trained of a network."""
    return DATA / f"{base.partition(':')[0]}.safetensors"


def new_mixture(base: str) -> SingleGateMoE:
    """Return what the training started from: weights in closed form, experts that are the base's tail."""
    from edge_moe.nn import SingleGateMoE, build_base
    from tests import fixed

    network = fixed.fill(build_base(plan(Path(), base).architecture), seed=1, gain=3**0.5)
    return SingleGateMoE(network, network.new_gate(EXPERTS, SIZE), [network.new_expert() for _ in range(EXPERTS)])


def write_checkpoint(out: Path, images: Path, base: str = "mobilenet_v3_small") -> Path:
    """Write a checkpoint that learned `images`, of the weights in tests/data."""
    import torch
    from safetensors.numpy import load_file

    from edge_moe.checkpoint import CheckpointConfig
    from edge_moe.training.checkpoint import Checkpoint, save_checkpoint, tool_versions

    mixture = new_mixture(base)
    state = mixture.state_dict()
    learned = load_file(weights(base))
    assert learned.keys() <= state.keys()
    state |= {name: torch.from_numpy(values.astype(np.float32)) for name, values in learned.items()}
    mixture.load_state_dict(state)
    made = plan(images, base)
    config = CheckpointConfig(
        architecture=made.architecture,
        experts=made.experts,
        labels=made.labels,
        preprocessing=made.preprocessing,
        ensemble=made.config.ensemble,
        space=made.config.space,
        origin="trained",
        training=made.config,
        tools=tool_versions(),
    )
    save_checkpoint(out, Checkpoint(config, mixture.eval()))
    return out


class PartsMadeHere:
    """Instead of `carry_out`: works in this process, and makes nothing twice."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, Any], bytes] = {}  # (weights, recipe) -> artifact; a recipe is of one backend
        self.graphs: dict[tuple[Any, ...], bytes] = {}  # traced
        self.calls: list[list[str]] = []  # what was not there, "litert/int8/base", in each call
        self.stop_before: str | None = None  # press Ctrl-C when this comes
        self.structure = {"litert": (1, 0)}  # what is believed of every artifact: partitions, nodes outside
        self.unmade: dict[str, str] = {}  # "litert/int8-all" -> why no part can be made by it

    def __call__(
        self, jobs: list[Any], processes: int, folder: Path, progress: Any, do: Any = None, step: str = "converting"
    ) -> dict[str, Any]:
        from edge_moe.converters.toolchain import Structure
        from edge_moe.converters.workers import Made

        if do is not None:
            return self.rank(jobs)
        self.calls.append([])
        results = {}
        progress.start("converting", len(jobs))
        for job in jobs:
            unmade = {
                recipe.name: f"{job.label}: {self.unmade[f'{job.backend}/{recipe.name}']}"
                for recipe, _ in job.targets
                if f"{job.backend}/{recipe.name}" in self.unmade
            }
            for recipe, target in job.targets:
                if recipe.name not in unmade and not target.is_file():
                    name = f"{job.backend}/{recipe.name}/{job.part}"
                    if name == self.stop_before:
                        raise KeyboardInterrupt
                    self.calls[-1].append(name)
                    keep(target, self.artifact(job, recipe))
            split = Structure(*self.structure[job.backend]) if job.backend in self.structure else None
            results[job.label] = Made(0.0, {target: split for _, target in job.targets}, unmade)
            progress.advance("converting", job.label)
        return results

    def rank(self, jobs: list[Any]) -> dict[str, Any]:
        from edge_moe.converters import workers

        for job in jobs:
            keep(job.graph, self.graph(job))
        with _silence():
            return {job.label: workers.rank_part(job) for job in jobs}

    def artifact(self, job: Any, recipe: Any) -> bytes:
        from edge_moe.converters import toolchain, workers

        weights = digest(job.checkpoint / f"{job.part}.safetensors")
        weights += job.kind if job.kind == "plain" else ""  # the same weights, other outputs
        if (weights, recipe) not in self.made:
            tools, part, samples = toolchain.get(job.backend), workers.load(job), np.load(job.samples)
            traced = self.graph(job)
            with _silence():
                (self.made[weights, recipe],) = tools.build(traced, part, job.kind, samples, [recipe])
        return self.made[weights, recipe]

    def graph(self, job: Any) -> bytes:
        from edge_moe.checkpoint import read_config
        from edge_moe.converters import workers

        config = read_config(job.checkpoint)
        kind = (config.architecture, config.experts if job.kind == "gate" else None, job.backend, job.kind)
        if kind not in self.graphs:
            with _silence():
                self.graphs[kind] = workers._traced(job)
        return self.graphs[kind]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what the converters say, their native code too, from the test."""
    kept = {number: os.dup(number) for number in (1, 2)}
    with Path(os.devnull).open("w") as nowhere:
        for number in kept:
            os.dup2(nowhere.fileno(), number)
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def visible(folder: Path) -> list[str]:
    """The names of what is in `folder`, sorted, but for what is about the work in it."""
    return sorted(path.name for path in folder.iterdir() if path.name != SCAFFOLD)


def tree(folder: Path) -> dict[str, str]:
    """Every path under `folder`, files with their hash: equal before and after means untouched."""
    return {
        str(path.relative_to(folder)): digest(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
