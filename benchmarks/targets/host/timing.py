"""The blocks of a round, each of which warms up and then times one thing on every image.

Only what is named is timed: input tensors are prepared before a prediction's clock starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.backends import OpenPart, Tensor
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.wire import PlannedSet, Ran, Setting
from edge_moe.bundle import expert_name
from edge_moe.preprocess import prepare
from edge_moe.runtime import Runtime
from edge_moe.turns import bare

__all__ = ["time_parts", "time_point", "time_preprocessing", "time_waking", "time_way"]

WARM_UP = 3
_UNSEEN_IMAGES = 10


def time_parts(runtime: Runtime, planned: PlannedSet, inputs: Sequence[Tensor], into: dict[str, list[float]]) -> None:
    """Time each part through its backend, among the parts that it runs among: as if every other image exited.

    A part that others ran before finds the processor's caches full of their weights. That is part of its price: an
    expert timed over and over by itself would seem cheaper than it ever is. So is taking over what it reads.
    """
    order = np.array(planned.order, np.intp).reshape(len(inputs), -1)
    ranked = order[:, : max(one.max_experts for one in planned.settings)]
    # Experts that no timed image needs are timed as well, on a few images more.
    unseen = sorted(set(range(runtime.manifest.experts)) - set(ranked.ravel().tolist()))
    turns = [*enumerate(ranked[:WARM_UP]), *enumerate(ranked)]
    turns += [(index, np.array(unseen)) for index in range(min(len(inputs), _UNSEEN_IMAGES)) if unseen]
    base = bare(runtime.part("base"))
    gate = bare(runtime.part("gate")) if runtime.manifest.experts else None
    for turn, (index, experts) in enumerate(turns):
        x = inputs[index]
        elapsed = [("base", _base_ms(base, x)), ("base", _base_ms(base, x))]
        if gate is not None:
            elapsed.append(("gate", _ms(gate, base, "embedding")))
        for k in np.sort(experts).tolist():
            elapsed.append((expert_name(k), _ms(bare(runtime.part(expert_name(k))), base, "features")))
        if turn >= min(WARM_UP, len(inputs)):
            for name, value in elapsed:
                into.setdefault(name, []).append(value)


def _base_ms(base: OpenPart, x: npt.NDArray[np.float32]) -> float:
    start = perf_counter()
    base.invoke(x)
    base.output("logits")
    return (perf_counter() - start) * 1000


def _ms(part: OpenPart, base: OpenPart, what: str) -> float:
    start = perf_counter()
    part.invoke(base.output(what))
    part.output("logits")
    return (perf_counter() - start) * 1000


def time_point(runtime: Runtime, setting: Setting, inputs: Sequence[Tensor], into: list[float], ran: list[Ran]) -> None:
    """Time whole predictions at one operating point, and note what ran for each."""
    runtime.tau, runtime.max_experts = setting.tau, setting.max_experts
    predict = runtime.predict_tensor
    for x in inputs[:WARM_UP]:
        predict(x)
    for x in inputs:
        start = perf_counter()
        answer = predict(x)
        into.append((perf_counter() - start) * 1000)
        ran.append(answer.experts if answer.gate_ran else None)


def time_way(call: Callable[[int], Any], images: int, into: list[float]) -> None:
    """Time another way to answer, of the index of an image."""
    for index in range(min(WARM_UP, images)):
        call(index)
    for index in range(images):
        start = perf_counter()
        call(index)
        into.append((perf_counter() - start) * 1000)


def time_waking(wake: Callable[[str], OpenPart], parts: Sequence[str], into: dict[str, list[float]]) -> None:
    """Time what it takes until each part could run: its artifact read, checked and opened. Files are cached."""
    for name in parts:
        start = perf_counter()
        part = wake(name)
        into.setdefault(name, []).append((perf_counter() - start) * 1000)
        part.close()


def time_preprocessing(job: Job, into: list[float]) -> None:
    """Time the way from an image file to the input tensor: read, decode, resize, crop, normalise."""
    spec, files = job.bundle.manifest.preprocessing, job.images
    time_way(lambda index: prepare(files[index], spec), len(files), into)
