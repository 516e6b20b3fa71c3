"""Weights that were trained elsewhere: where they are, and what is known of how their images were prepared.

base.pth                    a file; a config.json of edge-moe in the same folder says how it was trained
torchvision:IMAGENET1K_V1   torchvision's own, which says so too; from torch's cache, or downloaded into it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from edge_moe.anytime import Ensemble, Space
from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import CONFIG, read_config
from edge_moe.errors import CheckpointError, UsageError
from edge_moe.nn import ARCHITECTURES, Architecture, build_empty_base
from edge_moe.nn.torchvision import torchvision
from edge_moe.sizes import Size
from edge_moe.training.labels import normal

__all__ = ["TORCHVISION", "Given", "Known", "class_count", "find_weights"]

TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Known:
    """What somebody wrote down of a network when it was trained."""

    where: str  # for a person
    preprocessing: Preprocessing
    stem_stride: int
    labels: tuple[str, ...]
    ensemble: Ensemble | None = None  # None: the weights are those of a plain network
    space: Space | None = None


@dataclass(frozen=True)
class Given:
    """A file of weights, and what is known of it; None: nothing."""

    file: Path
    known: Known | None


def find_weights(source: str, base: str) -> Given:
    """Find the weights that `source` names, for the architecture `base`.

    Raises:
        CheckpointError: weights of torchvision that are not in torch's cache and cannot be downloaded, or a damaged
            config.json of edge-moe beside the file.
        UsageError: torchvision has no such weights.
    """
    if source.startswith(TORCHVISION):
        return _of_torchvision(source.removeprefix(TORCHVISION), base)
    file = Path(source)
    return Given(file, _beside(file, base))


def class_count(architecture: Architecture, state: dict[str, Tensor]) -> int | None:
    """Return how many logits a base with these weights gives: the rows of its last linear layer. None: not told.

    `architecture` may have another number of classes.
    """
    base = build_empty_base(architecture)
    head = base.get_submodule(base.head_name)
    linear = [name for name, module in head.named_modules() if isinstance(module, nn.Linear)]
    name = ".".join(filter(None, (base.head_name, linear[-1] if linear else "", "weight")))
    for key, tensor in state.items():
        # Either may have the network as an attribute, see weights.fit_names; whose, nobody says of a whole network.
        inside = not base.head_name and name.endswith(f".{key}")
        if tensor.ndim == 2 and (key == name or key.endswith(f".{name}") or inside):
            return len(tensor)
    return None


def _beside(file: Path, base: str) -> Known | None:
    """Return what a checkpoint's config in the folder of `file` says; None where there is none, or one of others.

    One of another architecture than `base` says nothing of these weights. A network of one's own may go by two names.
    """
    config = file.parent / CONFIG
    if not config.is_file() or b'"schema_version"' not in config.read_bytes():
        return None
    found = read_config(file.parent)
    if found.architecture.base != base and (base in ARCHITECTURES or found.architecture.base in ARCHITECTURES):
        return None
    return Known(
        where=str(config),
        preprocessing=found.preprocessing,
        stem_stride=found.architecture.stem_stride,
        labels=normal(found.labels),
        ensemble=found.ensemble if found.experts else None,
        space=found.space if found.experts else None,
    )


def _of_torchvision(name: str, base: str) -> Given:
    if base not in ARCHITECTURES:
        raise UsageError(f"torchvision has no weights for {base}; it has some for {', '.join(ARCHITECTURES)}")
    there: Any = torchvision.models.get_model_weights(base).__members__  # DEFAULT is one of them
    if name not in there:
        raise UsageError(f"torchvision has no weights {name!r} for {base}; expected one of {', '.join(there)}")
    weights = there[name]
    transforms: Any = weights.transforms()
    preprocessing = Preprocessing(
        image_size=_size(transforms.crop_size),
        resize=_size(transforms.resize_size),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )
    known = Known(f"torchvision's {weights.name}", preprocessing, 2, normal(weights.meta["categories"]))
    return Given(_cached(weights.url, f"torchvision's {weights.name} for {base}"), known)


def _size(sides: Sequence[int]) -> Size:
    """Return torchvision's [shorter side] or [height, width] as a Size."""
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _cached(url: str, what: str) -> Path:
    """Return the file of `url` in torch's cache, downloaded if it is not there yet."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if file.is_file():
        return file
    digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), digest.group(1) if digest else None, progress=False)
    except (OSError, RuntimeError) as error:  # a URLError is an OSError; RuntimeError: another digest
        raise CheckpointError(
            f"{what} is not in torch's cache and cannot be downloaded ({error}); get {url} and put it there as {file}"
        ) from None
    return file
