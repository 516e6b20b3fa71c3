"""The checkpoint's config.json: what the network is, and how it was trained. A file format, read without torch.

    checkpoint/
      config.json
      base.safetensors  gate.safetensors  expert_00.safetensors ...

A plain network, K = 0, has base.safetensors alone. The weights are read by `edge_moe.training.checkpoint`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge_moe.anytime import Ensemble, Space
from edge_moe.bundle import Preprocessing, part_names
from edge_moe.errors import CheckpointError
from edge_moe.output import write_file
from edge_moe.records import Digest, file_sha256, to_json
from edge_moe.sizes import LARGEST, SMALLEST, height_width
from edge_moe.untrusted import Malformed, OtherVersion, as_record, read, versioned

__all__ = [
    "CONFIG",
    "MOST_EXPERTS",
    "SCHEMA_VERSION",
    "Architecture",
    "Augment",
    "CheckpointConfig",
    "DataDigest",
    "Finetune",
    "Normalization",
    "TrainingConfig",
    "check_part",
    "part_file",
    "read_config",
    "write_config",
]

SCHEMA_VERSION = 2
CONFIG = "config.json"

Augment = Literal["none", "crop", "crop-flip", "resized-crop-flip"]
Finetune = Literal["all", "head", "none"]
Normalization = Literal["none", "l2", "standardize"]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]  # beyond, no machine has the memory or the time
_Rate = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
_Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Side = Annotated[int, msgspec.Meta(ge=SMALLEST, le=LARGEST)]
MOST_EXPERTS = 10_000
_Experts = Annotated[int, msgspec.Meta(ge=0, le=MOST_EXPERTS)]


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is needed to build a base without its weights."""

    base: str  # one of edge_moe.nn.ARCHITECTURES, or "module:function" of a network of one's own, see base_builder
    classes: _Positive
    image_size: _Side | Annotated[tuple[_Side, ...], msgspec.Meta(min_length=2, max_length=2)]  # H = W, or (H, W)
    stem_stride: Literal[1, 2] = 2  # of the first convolution; 1 keeps small images from vanishing

    @property
    def size(self) -> tuple[int, int]:
        """H and W of the image, in pixels."""
        return height_width(self.image_size)


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How base, gate and experts were trained. None: that was not done, see `carried_out`.

    Optimiser: SGD with Nesterov momentum of 0.9, no weight decay on biases and BatchNorm; the learning rate rises over
    the first tenth of the epochs and falls to 0 by a cosine. (AdamW at 2e-3 learned more slowly here, and left longer
    tails in the activations, which int8 with fixed ranges pays for.)
    """

    data: str
    seed: int = 0
    batch_size: _Positive = 64
    augment: Augment = "crop-flip"
    weight_decay: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 5e-4
    # base
    base_weights: str | None = None
    finetune: Finetune = "all"  # what of the base learns: everything, its last linear layer, nothing
    epochs: _Positive | None = 30
    learning_rate: _Rate | None = 0.1
    # gate: k-means on the embeddings of the training images, not augmented; KL(g* || g) with one-hot g*
    normalization: Normalization | None = "standardize"  # of the embeddings, for k-means
    kmeans_restarts: _Positive | None = 10
    gate_epochs: _Positive | None = 30
    gate_learning_rate: _Rate | None = 0.01
    # experts: BatchNorm keeps the base's statistics; D_k is drawn anew each epoch, with replacement, by
    # (1 - epsilon) * g_k + epsilon / K; an epoch has as many samples as these weights sum to
    epsilon: _Share | None = 0.3
    expert_epochs: _Positive | None = 8
    expert_learning_rate: _Rate | None = 0.002
    ensemble: Ensemble = "bagging"
    space: Space = "logit"

    def carried_out(self, experts: int) -> TrainingConfig:
        """Return the same with None for what decides nothing: of a base that does not learn, and where K is 0."""
        idle = (*(_OF_THE_BASE if self.finetune == "none" else ()), *(() if experts else _OF_GATE_AND_EXPERTS))
        return msgspec.structs.replace(self, **dict.fromkeys(idle))


_OF_THE_BASE = ("epochs", "learning_rate")
_OF_GATE_AND_EXPERTS = (
    *("normalization", "kmeans_restarts", "gate_epochs", "gate_learning_rate"),
    *("epsilon", "expert_epochs", "expert_learning_rate"),
)


class DataDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which images a checkpoint was trained and measured on: how many, and a SHA-256 of their entries."""

    train_images: int
    train_sha256: str
    val_images: int
    val_sha256: str

    def difference(self, now: DataDigest) -> str:
        """Say which images are others `now`; "" if none are."""
        for split, then_count, then, count, digest in (
            ("training", self.train_images, self.train_sha256, now.train_images, now.train_sha256),
            ("validation", self.val_images, self.val_sha256, now.val_images, now.val_sha256),
        ):
            if then_count != count:
                return f"{count} {split} images, not {then_count}"
            if then != digest:
                return f"as many {split} images ({count}), with other names, classes, order or contents"
        return ""


class CheckpointConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """config.json."""

    schema_version: int = SCHEMA_VERSION
    architecture: Architecture
    experts: _Experts  # 0: a plain network, the base alone
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    ensemble: Ensemble  # of base and expert, with `space`; of a plain network they decide nothing
    space: Space
    origin: Literal["trained", "imported", "untrained"]
    training: TrainingConfig | None = None  # None unless edge-moe trained it
    trained_on: DataDigest | None = None  # None also where an older version trained it
    metrics: dict[str, Any] = {}
    tools: dict[str, str] = {}
    parts: dict[str, Digest] = {}  # part -> SHA-256 of its file; empty: not known, as where an older version wrote it


def read_config(path: Path) -> CheckpointConfig:
    """Read and check the config of the checkpoint in the folder `path`.

    One of schema 1 is read as the same in schema 2: that one had one expert or more, and recorded epochs and a learning
    rate also for a base that did not learn.

    Raises:
        CheckpointError: no checkpoint there, or another schema version, or not a config.
    """
    file = path / CONFIG
    if not file.is_file():
        what = "has no " + CONFIG if path.is_dir() else "is not a folder"
        raise CheckpointError(f"{path} {what}; expected a checkpoint, made by 'edge-moe train', 'import' or 'init'")
    try:
        raw = versioned(read(file), 1, SCHEMA_VERSION)
        config = as_record(raw | {"schema_version": SCHEMA_VERSION}, CheckpointConfig)
    except OtherVersion as error:
        newer = isinstance(error.found, int) and error.found > SCHEMA_VERSION
        todo = "update edge-moe, or train or import again" if newer else "train or import again"
        raise CheckpointError(f"{file} has schema version {error}; this edge-moe reads 1 and 2: {todo}") from None
    except Malformed as error:
        raise CheckpointError(f"{file} is not a checkpoint's config: {error}; train or import again") from None
    if len(config.labels) != config.architecture.classes:
        raise CheckpointError(
            f"{file} has {len(config.labels)} labels for {config.architecture.classes} classes; train or import again"
        )
    names = part_names(config.experts)
    if config.parts and sorted(config.parts) != sorted(names):
        raise CheckpointError(
            f"{file} has digests of {', '.join(config.parts)}; expected {', '.join(names)}: train or import again"
        )
    if config.training is None:
        return config
    return msgspec.structs.replace(config, training=config.training.carried_out(config.experts))


def write_config(path: Path, config: CheckpointConfig) -> None:
    """Write `config` into the folder `path`."""
    write_file(path / CONFIG, to_json(config))


def part_file(path: Path, name: str) -> Path:
    """Return the file of one part of the checkpoint in the folder `path`."""
    return path / f"{name}.safetensors"


def check_part(path: Path, name: str, expected: str | None) -> None:
    """Hold the file of one part of the checkpoint in the folder `path` against its SHA-256.

    `expected`: None where it is not known, and anything will do. A file that is missing is told by who reads it.

    Raises:
        CheckpointError: it is another file than the one that the checkpoint was finished with.
    """
    file = part_file(path, name)
    if expected is None or not file.is_file():
        return
    found = file_sha256(file)
    if found != expected:
        raise CheckpointError(
            f"{file} was altered since {path} was finished: found the sha256 {found[:12]}..., expected "
            f"{expected[:12]}...; put back the file that belongs to it, or train or import again"
        )
