"""Measuring artifacts before they are packaged: what they answer, how fast that spreads, and where tau should stand."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from edge_moe import backends
from edge_moe.bundle import OperatingPoint, PartSpec, expert_name
from edge_moe.converters.interface import Kind, channels_last, role_of
from edge_moe.data import LabelledImages
from edge_moe.errors import BackendError, ConversionError
from edge_moe.evaluate import Outputs, collect, route
from edge_moe.gains import is_as_accurate
from edge_moe.output import write_file
from edge_moe.points import operating_point
from edge_moe.progress import Progress, track
from edge_moe.sets import SetKey
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint
from edge_moe.verify import relative_error

__all__ = [
    "TAUS",
    "calibration_samples",
    "default_tau",
    "operating_points",
    "run_artifacts",
    "samples_file",
    "torch_errors",
]

TAUS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_UNTRAINED_TAU = 0.25
_ALWAYS_EXIT = 1.0
Image: TypeAlias = npt.NDArray[np.float32]  # [1, H, W, 3]


@torch.no_grad()
def calibration_samples(
    loaded: Checkpoint, images: Sequence[npt.NDArray[np.float32]], folder: Path, progress: Progress
) -> dict[Kind, Path]:
    """Write what each kind of part is calibrated on: `images` [1, H, W, 3], and the base's answers to them."""
    if not loaded.config.experts:
        return {"plain": _write_samples(folder, "plain", images)}
    embeddings, features = [], []
    for image in track(images, "calibration", len(images), progress):
        out = loaded.mixture.base(torch.from_numpy(image.transpose(0, 3, 1, 2)))
        embeddings.append(out.embedding.numpy())
        features.append(np.ascontiguousarray(channels_last(out.features).numpy()))
    kinds: list[tuple[Kind, Sequence[npt.NDArray[np.float32]]]] = [
        ("base", images),
        ("gate", embeddings),
        ("expert", features),
    ]
    return {kind: _write_samples(folder, kind, rows) for kind, rows in kinds}


def samples_file(folder: Path, kind: Kind) -> Path:
    """Return where in `folder` it lies what parts of that kind are calibrated on."""
    return folder / f"{kind}_samples.npy"


def _write_samples(folder: Path, kind: Kind, rows: Sequence[npt.NDArray[np.float32]]) -> Path:
    file = samples_file(folder, kind)
    buffer = io.BytesIO()
    np.save(buffer, np.stack(rows))
    write_file(file, buffer.getvalue())
    return file


def run_artifacts(key: SetKey, files: Mapping[str, Path], tensors: Tensors, progress: Progress) -> Outputs:
    """Run the artifacts of a set, part -> file, over all images.

    Raises:
        ConversionError: a backend refuses an artifact or fails on an image, for a quantizer can write what makes no
            sense.
    """
    backend = backends.get(key.backend)
    with ExitStack() as stack:
        parts = {}
        for part, file in files.items():
            try:
                parts[part] = backend.open(file.read_bytes())
            except BackendError as error:
                raise ConversionError(f"{key}/{part}: {error}; try another --recipe") from None
            stack.callback(parts[part].close)
        measured = track(tensors, f"measuring {key}", len(tensors), progress)
        experts = sum(role_of(part) == "expert" for part in files)
        try:
            return collect(parts.__getitem__, experts, measured)
        except BackendError as error:
            raise ConversionError(f"{key}: {error}; try another --recipe") from None


@torch.no_grad()
def torch_errors(
    loaded: Checkpoint, reference: Outputs, tensors: Sequence[npt.NDArray[np.float32]]
) -> dict[str, float]:
    """Return the relative L2 error of each fp32 artifact's logits against torch, over the first images [1, H, W, 3]."""
    images = np.concatenate(tensors).transpose(0, 3, 1, 2)
    base, gate, experts = loaded.mixture(torch.from_numpy(np.ascontiguousarray(images)))
    n = len(tensors)
    pairs = {"base": (reference.base_logits[:n], base)}
    if loaded.config.experts:
        pairs["gate"] = (reference.gate_logits[:n], gate)
    for k in range(experts.shape[1]):
        pairs[expert_name(k)] = (reference.expert_logits[:n, k], experts[:, k])
    return {part: relative_error(found, expected.numpy()) for part, (found, expected) in pairs.items()}


def operating_points(
    outputs: Outputs, validation: LabelledImages, specs: dict[str, PartSpec], loaded: Checkpoint, max_experts: int
) -> tuple[OperatingPoint, ...]:
    """Measure every tau for one expert, and for `max_experts` if that is another; none for an untrained network.

    Of a plain network no setting changes anything: it has the one at which every image exits.
    """
    if loaded.config.origin == "untrained":
        return ()
    labels = validation.labels if validation.labelled else None
    macs = {name: spec.macs for name, spec in specs.items()}
    points = []
    for most in sorted({min(1, max_experts), max_experts}):
        for tau in TAUS if most else (_ALWAYS_EXIT,):
            answers = route(outputs, tau, most, loaded.config.ensemble, loaded.config.space)
            points.append(operating_point(answers, labels, macs, tau, most, validation.groups))
    return tuple(points)


def default_tau(points: Sequence[OperatingPoint], max_experts: int, asked: float | None = None) -> float:
    """Return the tau that was `asked` for, else the largest, the cheapest, that is as accurate as tau = 0.

    For the bundle's `max_experts`; where that is 0, of a plain network, tau decides nothing, and is 1: always exit.

    It may lose one image in a thousand: where experts help, some tau always differs from 0 by a single image, and an
    exact comparison would let that image decide whether anything exits early at all.
    """
    if not max_experts:
        return _ALWAYS_EXIT
    if asked is not None:
        return asked
    scored = [p for p in points if p.max_experts == max_experts and p.accuracy is not None]
    if not scored:
        return _UNTRAINED_TAU
    always = scored[0].accuracy or 0.0
    return max(p.tau for p in scored if is_as_accurate(p.accuracy or 0.0, always))
