"""What parts cost on a phone that are in no bundle yet: sets take turns, so that a slow moment falls on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks.runner.turns import tensors_of
from edge_moe.benchmarks.runner.work import Run
from edge_moe.benchmarks.target import Prices
from edge_moe.benchmarks.targets.adb.contact import Contact
from edge_moe.benchmarks.targets.adb.parts import Parts
from edge_moe.benchmarks.units import MS
from edge_moe.bundle import PartSpec
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["price"]

_GIVEN = "prices.f32"
_WARM_UP = 3
_ROUNDS = 7  # at most: each starts a process for every set


def price(
    contact: Contact,
    cpus: Sequence[int],
    files: Mapping[SetKey, Mapping[str, Path]],
    specs: Mapping[str, PartSpec],
    inputs: Mapping[str, Tensor],
    rounds: int,
    progress: Progress,
) -> Prices:
    """Time every part of every set on all of the base's inputs; arguments as `Target.price`."""
    if not files:
        return Prices(MS, {})
    contact.put({_GIVEN: np.ascontiguousarray(inputs["base"], "<f4").tobytes()}, progress)
    sent: dict[SetKey, Parts] = {}
    for place, (key, parts) in enumerate(files.items()):
        described = {name: tensors_of(key.backend, file, specs[name]) for name, file in parts.items()}
        sent[key] = Parts(contact, f"priced-{place}", key.backend, specs, described, progress)
        sent[key].send({name: file.read_bytes() for name, file in parts.items()}, progress)
    samples: dict[SetKey, dict[str, list[list[float]]]] = {key: {part: [] for part in files[key]} for key in files}
    draw, step, rounds = np.random.default_rng(0), f"timing {', '.join(map(str, files))}", min(rounds, _ROUNDS)
    progress.start(step, rounds)
    for _ in range(rounds):
        for index in draw.permutation(len(files)):
            key = list(files)[index]
            names = tuple(files[key])
            runs = [Run(image, names, whole=False) for image in range(len(inputs["base"]))]
            times = sent[key].run([Run(0, names, whole=False)] * _WARM_UP + runs, _GIVEN, cpus).times
            rows = times[_WARM_UP * len(names) :].reshape(-1, len(names))
            for name, row in zip(names, rows.T.tolist(), strict=True):
                samples[key][name].append(row)
        progress.advance(step)
    return Prices(MS, samples)
