"""What parts cost that are in no bundle yet, in milliseconds: sets take turns, so that a slow moment falls on all.

Processor time is counted, of all threads: on an idle machine it is what the clock says of one core, and on a busy one
the waiting for others is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from edge_moe import backends
from edge_moe.backends import OpenPart, Tensor
from edge_moe.benchmarks import machine
from edge_moe.benchmarks.target import Prices
from edge_moe.benchmarks.targets.host.timing import WARM_UP
from edge_moe.benchmarks.units import MS
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["price"]

_LEAST_ROUNDS = 5
_ENOUGH_S = 3.0  # for each set; large networks get fewer rounds


def price(
    files: Mapping[SetKey, Mapping[str, Path]], inputs: Mapping[str, Tensor], rounds: int, progress: Progress
) -> Prices:
    """Time every part of every set on all `inputs`, part -> [N, ...], on one core; parts run in the order of an answer.

    Raises:
        BackendError: an artifact failed.
    """
    step = f"timing {', '.join(map(str, files))}"
    samples: dict[SetKey, dict[str, list[list[float]]]] = {key: {part: [] for part in files[key]} for key in files}
    draw = np.random.default_rng(0)
    with ExitStack() as stack:
        stack.enter_context(machine.pinned(1))
        opened: dict[SetKey, dict[str, OpenPart]] = {key: {} for key in files}
        for key, parts in files.items():
            for part, file in parts.items():
                opened[key][part] = backends.get(key.backend).open(file.read_bytes())
                stack.callback(opened[key][part].close)
        progress.start(step, rounds)
        start = perf_counter()
        for number in range(rounds):
            if number >= _LEAST_ROUNDS and perf_counter() - start > _ENOUGH_S * len(files):
                break
            for index in draw.permutation(len(files)):
                key = list(files)[index]
                _round(opened[key], inputs, {part: [] for part in opened[key]}, WARM_UP)
                found: dict[str, list[float]] = {part: [] for part in opened[key]}
                _round(opened[key], inputs, found)
                for part, elapsed in found.items():
                    samples[key][part].append(elapsed)
            progress.advance(step)
    return Prices(MS, samples)


def _round(
    parts: Mapping[str, OpenPart],
    inputs: Mapping[str, Tensor],
    into: Mapping[str, list[float]],
    most: int | None = None,
) -> None:
    """Run all parts on one input after the other, at `most` so many, and note the milliseconds of each."""
    for index in range(len(inputs["base"][:most])):
        for name, part in parts.items():
            x = inputs[name][index : index + 1]
            start = process_time()
            part.invoke(x)
            part.output("logits")
            into[name].append((process_time() - start) * 1000)
