"""From a request and its traces to a plan: which operating points, and in which order each image wakes experts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import alpha
from edge_moe.benchmarks.job import BUNDLE, INPUTS, image_names
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.request import Request
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Plan, PlannedSet, Setting
from edge_moe.operating import SetOperating
from edge_moe.trace import Trace

__all__ = ["make_plan"]

_SWEPT = (1, 2)  # max_experts, where nobody says otherwise: a second expert often gives more than it costs


def make_plan(request: Request, traces: list[Trace], timed: npt.NDArray[np.intp]) -> Plan:
    """Return what a target is asked.

    Args:
        request: what is asked for.
        traces: of each set, that which it is costed with.
        timed: [T] which of the images are timed.
    """
    options, sets = request.options, []
    for one, found in zip(request.sets, traces, strict=True):
        now = request.bundle.operating(one)
        default = Setting(tau=now.default_tau, max_experts=now.default_max_experts)
        sets.append(
            PlannedSet(
                set=str(one.key),
                settings=_settings(now, found, options),
                order=tuple(map(tuple, np.argsort(-found.gate[timed], axis=1, kind="stable").tolist())),
                sustained=default if options.sustained_s else None,
            )
        )
    return Plan(
        schema_version=SCHEMA_VERSION,
        bundle=BUNDLE,
        sets=tuple(sets),
        inputs=INPUTS,
        images=image_names([request.images.sources[int(index)] for index in timed]),
        threads=options.threads,
        rounds=request.rounds,
        cold_starts=options.cold_starts,
        seed=options.seed,
        peers=options.peers,
        sustained_s=options.sustained_s,
    )


def _settings(operating: SetOperating, trace: Trace, options: BenchOptions) -> tuple[Setting, ...]:
    experts = trace.gate.shape[1]
    if not experts:
        return (Setting(tau=1.0, max_experts=0),)  # of a plain network nothing changes with tau: every image exits
    known = tuple(point.tau for point in operating.operating_points)
    taus = options.taus or ((*known, operating.default_tau) if known else _spread(trace))
    swept = {*(most for most in _SWEPT if most <= experts), operating.default_max_experts}
    return tuple(
        Setting(tau=tau, max_experts=most)
        for most in sorted(set(options.max_experts or swept))
        for tau in sorted({0.0, *taus, 1.0})
    )


def _spread(trace: Trace) -> Iterable[float]:
    """Return taus that spread the exit rate from 0 to 1, for a network whose confidences no fixed grid fits."""
    largest = alpha(trace.max_phi[:, np.newaxis], trace.gate).max(axis=1)
    return tuple(float(tau) for tau in np.quantile(largest, [0.1, 0.25, 0.5, 0.75, 0.9]))
