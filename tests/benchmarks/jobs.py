"""Jobs for tests: of any bundle, with made-up images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.job import BUNDLE, INPUTS, Job, image_names, write_job
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Plan, PlannedSet, Setting
from edge_moe.bundle import Bundle
from edge_moe.sets import SetKey

__all__ = ["make_job", "setting"]


def setting(tau: float, most: int) -> Setting:
    return Setting(tau=tau, max_experts=most)


def make_job(
    folder: Path,
    bundle: Bundle,
    settings: Sequence[Setting],
    inputs: Sequence[npt.NDArray[np.float32]],
    *,
    sets: Sequence[str] = (),
    order: Any = None,
    checkpoint: Path | None = None,
    **more: Any,
) -> Job:
    """A job in `folder`: of all sets and one round, every image's experts in their own order, unless it is said."""
    experts = bundle.manifest.experts
    order = np.tile(np.arange(experts), (len(inputs), 1)).tolist() if order is None else order
    height, width = bundle.manifest.preprocessing.size
    draw = np.random.default_rng(0)
    sources = [draw.integers(0, 256, (height, width, 3), np.uint8) for _ in inputs]
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        bundle=BUNDLE,
        sets=tuple(
            PlannedSet(set=name, settings=tuple(settings), order=tuple(map(tuple, order)))
            for name in sets or [str(one.key) for one in bundle.manifest.sets]
        ),
        inputs=INPUTS,
        images=image_names(sources),
        **{"threads": 1, "rounds": 1, "cold_starts": 0, "seed": 0} | more,
    )
    assert all(SetKey.parse(one.set) in {each.key for each in bundle.manifest.sets} for one in plan.sets)
    return write_job(folder, bundle, plan, inputs, sources, checkpoint=checkpoint)
