"""A device's costs, predicted: what its parts cost there, once measured, and the routing of any data, decided here.

The routing is that of the same int8 artifacts, run on this machine. What an image costs is then the sum of what the
parts that it wakes cost on the device, and of what the runtime adds to them there.

Axis letters: N images.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.backends import Backend
from edge_moe.benchmarks import prices
from edge_moe.benchmarks.decide.matching import Match, match
from edge_moe.benchmarks.decide.simulation import (
    SCHEMA_VERSION,
    Compared,
    Comparison,
    Profile,
    SimulatedPoint,
    Simulation,
)
from edge_moe.benchmarks.measured import PointCosts
from edge_moe.benchmarks.recorded import bundle_info
from edge_moe.benchmarks.samples import summary, typical
from edge_moe.bundle import Bundle
from edge_moe.checks import check_at_least_one
from edge_moe.data import open_data
from edge_moe.digest import answers_digest
from edge_moe.errors import DataError, UsageError
from edge_moe.points import operating_point
from edge_moe.progress import Progress, Silent, track
from edge_moe.runtime import Runtime
from edge_moe.sets import Pattern
from edge_moe.trace import Trace, record

__all__ = ["SimulationOptions", "simulate"]

# Confidences of one artifact on two machines agree to this; those of two images hardly ever.
_SAME_CONFIDENCE, _SAME_SHARE = 1e-3, 0.95


class SimulationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose."""

    taus: tuple[float, ...] = ()  # none: those of the profile
    max_experts: tuple[int, ...] = ()  # none: the bundle's default
    wanted: tuple[Pattern, ...] = ()  # which set; the first that is meant and that the profile has
    validation_images: int | None = None  # None: all
    seed: int = 0


def simulate(
    bundle: Path,
    profile: Path,
    data: str,
    options: SimulationOptions,
    *,
    compare: Path | None = None,
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Predict the costs of validation images of `data` on the device that `profile` was measured on.

    Memory is bounded however many images there are: they are read one after the other.

    Args:
        bundle: the folder.
        profile: the results file with the parts' costs.
        data: as `open_data` takes it; labelled or not.
        options: the settings to simulate, and the set.
        compare: a results file with measured predictions of the same artifacts, in the same unit.
        backend: what runs the artifacts here; None is the set's own.
        progress: where to report.

    Raises:
        UsageError: an option out of range, or the bundle has no such set.
        DataError: the images or a results file cannot be used, or belong to another bundle.
        BundleError, BackendError: the bundle cannot be used here.
        MissingExtraError: the set's backend is not installed here.
    """
    progress = progress or Silent()
    opened = Bundle(bundle)
    manifest = opened.manifest
    _check(options, manifest.experts)
    found = match(opened, profile, *options.wanted)
    costs = found.measured.prices
    key = found.artifacts.key
    other = None if compare is None else match(opened, compare, Pattern((key.backend,), key.recipe))
    if other is not None and other.results.unit != found.results.unit:
        units = f"{other.file} is in {other.results.unit.name}, {profile} in {found.results.unit.name}"
        raise DataError(f"{units}; compare with results of the same target")

    images = open_data(data, "val")
    if options.validation_images is not None:
        images = images.sample(options.validation_images, options.seed)
    images = images.with_classes(manifest.labels)
    engine: str | Backend = backend or key.backend
    with Runtime(opened, backend=engine, recipe=key.recipe) as runtime:
        tensors = track(images.tensors(manifest.preprocessing), f"routing by {found.label}", len(images), progress)
        trace = record(runtime.part, manifest.experts, manifest.ensemble, manifest.space, tensors)

    labels = images.labels if images.labelled else None
    draws = prices.draws(found.measured.samples, len(images), options.seed)
    points: list[SimulatedPoint] = []
    overhead: dict[int, tuple[float, float]] = {}
    for max_experts in sorted(set(options.max_experts or (opened.operating(found.artifacts).default_max_experts,))):
        runtime_cost = found.measured.overhead(max_experts)
        overhead[max_experts] = (runtime_cost.exited, runtime_cost.awake)
        for tau in sorted(set(options.taus or (one.point.tau for one in found.measured.points))):
            decisions = trace.at(tau, max_experts)
            more = runtime_cost.per_image(decisions)
            drawn = summary(prices.per_image(decisions, draws) + more)
            points.append(
                SimulatedPoint(
                    point=operating_point(decisions, labels, manifest.macs, tau, max_experts, images.groups),
                    mean=float((prices.per_image(decisions, costs) + more).mean()),
                    median=drawn.median,
                    p10=drawn.p10,
                    p90=drawn.p90,
                )
            )
    return Simulation(
        schema_version=SCHEMA_VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        unit=found.results.unit.name,
        counted_in=found.results.unit,
        profile=_profile(found),
        bundle=bundle_info(bundle.resolve().name, manifest),
        backend=key.backend,
        recipe=key.recipe,
        data=images.title,
        images=len(images),
        groups=None if images.groups is None else len(np.unique(images.groups)),
        seed=options.seed,
        overhead=overhead,
        points=tuple(points),
        comparison=None if other is None else _compare(trace, points, found, other),
        digest=answers_digest(manifest, found.artifacts),
    )


def _check(options: SimulationOptions, experts: int) -> None:
    for tau in options.taus:
        check_tau(tau)
    for max_experts in options.max_experts:
        check_max_experts(max_experts, experts)
    check_at_least_one(validation_images=options.validation_images)
    if options.seed < 0:
        raise UsageError(f"seed is {options.seed}; expected at least 0")


def _profile(found: Match) -> Profile:
    results = found.results
    return Profile(
        target=results.target,
        created=results.created,
        complete=results.complete,
        machine=results.machine,
        versions=results.versions,
        backend_version=found.measured.backend_version,
        threads=results.threads,
        data=results.data,
        provenance=results.provenance(),
        remarks=results.conditions.remarks,
    )


def _compare(trace: Trace, points: Iterable[SimulatedPoint], found: Match, other: Match) -> Comparison:
    """Set predicted against measured means: where the images are the same, of just those that were timed."""
    timed = np.array(other.results.timed, dtype=np.intp)
    there = other.measured.decisions
    same = len(there) == len(trace) and bool(
        np.isclose(there.max_phi, trace.max_phi, rtol=_SAME_CONFIDENCE).mean() >= _SAME_SHARE
    )
    costs, judged = found.measured.prices, trace.rows(timed) if same else trace
    measured = {(one.point.tau, one.point.max_experts): _mean(one) for one in other.measured.points}
    compared, missing = [], []
    for one in points:
        setting = (one.point.tau, one.point.max_experts)
        mean = measured.get(setting, 0.0)
        if not mean:
            missing.append(setting)
            continue
        decisions = judged.at(*setting)
        more = found.measured.overhead(setting[1]).per_image(decisions)
        predicted = float((prices.per_image(decisions, costs) + more).mean())
        compared.append(Compared(tau=setting[0], max_experts=setting[1], predicted=predicted, measured=mean))
    return Comparison(
        created=other.results.created,
        machine=other.results.machine,
        data=other.results.data,
        same_images=same,
        images=len(judged),
        points=tuple(compared),
        missing=tuple(missing),
        remarks=tuple(_remarks(found, other)),
    )


def _remarks(found: Match, other: Match) -> Iterable[str]:
    if other.results == found.results:
        yield "it is the profile itself: that parts and predictions of one run agree says nothing about another"
    if other.results.threads != found.results.threads:
        yield f"it ran on {other.results.threads} thread(s), the profile on {found.results.threads}"
    if not other.results.complete:
        yield "it was stopped before its last round"
    yield from other.results.conditions.remarks


def _mean(point: PointCosts) -> float:
    """Return the measured mean; 0 where the target ran parts only, so that there is none."""
    return typical(point.raw) if point.raw is not None else 0.0
