"""Latency and accuracy of a bundle at every tau, on this host.

Everything is interleaved: in each round every set, then every tau, in an order drawn anew, so that a slow moment of
the machine falls on all alike. Each block of one set and one tau is warmed up. Only the inference is timed: input
tensors are prepared before.
"""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.anytime import alpha, check_max_experts, check_tau, softmax
from edge_moe.backends import OpenPart
from edge_moe.benchmarks import host
from edge_moe.benchmarks.results import SCHEMA_VERSION, PartTiming, PointTiming, Results, SetResults
from edge_moe.bundle import MANIFEST, ArtifactSet, Bundle, Manifest, expert_name, sha256
from edge_moe.checks import check_at_least_one
from edge_moe.data import open_data
from edge_moe.errors import UsageError
from edge_moe.evaluate import Outputs, Routed, collect, operating_point, route
from edge_moe.progress import Progress, Silent, track
from edge_moe.runtime import Runtime
from edge_moe.tensors import Tensors

__all__ = ["Options", "sweep"]

_WARM_UP = 3
_UNSEEN_IMAGES = 10
_VERSIONS = ("edge-moe", "numpy")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose."""

    # None: those of the bundle's operating points, or quantiles of alpha. 0 and 1 are always measured.
    taus: tuple[float, ...] | None = None
    max_experts: int | None = None  # None: the bundle's default
    backend: str | None = None
    recipe: str | None = None
    threads: int = 1
    timed_images: int = 100
    validation_images: int | None = None  # None: all
    rounds: int = 5
    seed: int = 0


class _Run(msgspec.Struct):
    """One set while it is measured."""

    runtime: Runtime
    outputs: Outputs
    taus: tuple[float, ...]
    parts_ms: dict[str, dict[int, list[float]]]  # part -> image -> [round]
    points_ms: dict[float, list[list[float]]]  # tau -> [image][round]


def sweep(bundle: Path, data: str, options: Options, *, progress: Progress | None = None) -> Results:
    """Measure every set of `bundle` that `options` selects on validation images of `data`.

    Raises:
        UsageError: an option is out of range, or the bundle has no such set.
        DataError, BundleError: the data or the bundle cannot be used.
    """
    progress = progress or Silent()
    load_before = host.load_average()
    opened = Bundle(bundle)
    manifest = opened.manifest
    _check(options, manifest.experts)
    manifest.find(options.backend, options.recipe)
    for artifacts in _selected(manifest, options):
        backends.get(artifacts.backend).version()  # missing? say so before minutes of measuring
    images = open_data(data, "val").with_classes(manifest.labels)
    if options.validation_images is not None:
        images = images.sample(options.validation_images, options.seed)
    labels = images.labels if images.labelled and manifest.trained else None
    tensors = Tensors(images, manifest.preprocessing, progress)
    draw = np.random.default_rng(options.seed)
    timed = np.sort(draw.permutation(len(tensors))[: options.timed_images])
    inputs = [tensors[int(index)] for index in timed]

    with ExitStack() as stack:
        runs = []
        for artifacts in _selected(manifest, options):
            max_experts = options.max_experts or artifacts.default_max_experts
            runtime = stack.enter_context(
                Runtime(
                    opened,
                    backend=artifacts.backend,
                    recipe=artifacts.recipe.name,
                    max_experts=max_experts,
                    threads=options.threads,
                )
            )
            name = f"measuring {artifacts.backend}/{artifacts.recipe.name}"
            outputs = collect(runtime.part, manifest.experts, track(tensors, name, len(tensors), progress))
            chosen = options.taus or tuple(point.tau for point in artifacts.operating_points) or _spread(outputs)
            taus = tuple(sorted({0.0, *chosen, 1.0}))
            runs.append(_Run(runtime, outputs, taus, {}, {tau: [[] for _ in timed] for tau in taus}))

        progress.start("timing", options.rounds)
        for _ in range(options.rounds):
            for index in draw.permutation(len(runs)):
                _time_parts(runs[index], inputs, timed)
                for tau in draw.permutation(runs[index].taus):
                    _time_point(runs[index], float(tau), inputs)
            progress.advance("timing")
        sets = tuple(_set_results(run, timed, labels) for run in runs)

    return Results(
        schema_version=SCHEMA_VERSION,
        device="host",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=host.describe(load_before),
        versions={name: importlib.metadata.version(name) for name in _VERSIONS},
        bundle=bundle.resolve().name,
        bundle_sha256=sha256((bundle / MANIFEST).read_bytes()),
        architecture=manifest.architecture,
        experts=manifest.experts,
        trained=manifest.trained,
        data=images.title,
        images=len(images),
        timed_images=len(timed),
        rounds=options.rounds,
        threads=options.threads,
        seed=options.seed,
        sets=sets,
    )


def _selected(manifest: Manifest, options: Options) -> list[ArtifactSet]:
    return [
        one
        for one in manifest.sets
        if options.backend in (None, one.backend) and options.recipe in (None, one.recipe.name)
    ]


def _check(options: Options, experts: int) -> None:
    for tau in options.taus or ():
        check_tau(tau)
    if options.max_experts is not None:
        check_max_experts(options.max_experts, experts)
    check_at_least_one(
        threads=options.threads,
        timed_images=options.timed_images,
        rounds=options.rounds,
        validation_images=options.validation_images,
    )
    if options.seed < 0:
        raise UsageError(f"seed is {options.seed}; expected at least 0")


def _spread(outputs: Outputs) -> tuple[float, ...]:
    """Return taus that spread the exit rate from 0 to 1, for a network whose confidences no fixed grid fits."""
    largest = alpha(softmax(outputs.base_logits), softmax(outputs.gate_logits)).max(axis=1)
    return tuple(float(tau) for tau in np.quantile(largest, [0.1, 0.25, 0.5, 0.75, 0.9]))


def _call_ms(part: OpenPart, x: npt.NDArray[np.float32]) -> float:
    start = perf_counter()
    part.invoke(x)
    part.output("logits")
    return (perf_counter() - start) * 1000


def _time_parts(run: _Run, inputs: Sequence[npt.NDArray[np.float32]], timed: npt.NDArray[np.int64]) -> None:
    """Time each part through its backend, in the order in which an image runs them at tau = 0.

    A part that others ran before finds the processor's caches full of their weights. That is part of its price: an
    expert timed over and over by itself would seem cheaper than it ever is.
    """
    runtime = run.runtime
    ranked = np.argsort(-run.outputs.gate_logits[timed], axis=1, kind="stable")[:, : runtime.max_experts]
    # Experts that no timed image needs are timed as well, in place of the image's own, on a few images more.
    unseen = sorted(set(range(runtime.manifest.experts)) - set(ranked.ravel().tolist()))
    turns = [*enumerate(ranked[:_WARM_UP]), *enumerate(ranked)]
    turns += [(index, np.array(unseen)) for index in range(min(len(inputs), _UNSEEN_IMAGES)) if unseen]
    base, gate = runtime.part("base"), runtime.part("gate")
    for turn, (index, experts) in enumerate(turns):
        elapsed = {"base": _call_ms(base, inputs[index]), "gate": _call_ms(gate, base.output("embedding"))}
        features = base.output("features")
        for k in np.sort(experts).tolist():
            elapsed[expert_name(k)] = _call_ms(runtime.part(expert_name(k)), features)
        if turn >= min(_WARM_UP, len(inputs)):
            for name, value in elapsed.items():
                run.parts_ms.setdefault(name, {}).setdefault(index, []).append(value)


def _time_point(run: _Run, tau: float, inputs: Sequence[npt.NDArray[np.float32]]) -> None:
    run.runtime.tau = tau
    for x in inputs[:_WARM_UP]:
        run.runtime.predict_tensor(x)
    for index, x in enumerate(inputs):
        start = perf_counter()
        run.runtime.predict_tensor(x)
        run.points_ms[tau][index].append((perf_counter() - start) * 1000)


def _set_results(run: _Run, timed: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None) -> SetResults:
    runtime, manifest = run.runtime, run.runtime.manifest
    points = []
    # Parts and predictions are summarised alike: the median over rounds, then the mean over images.
    costs = {name: float(np.mean([np.median(raw) for raw in images.values()])) for name, images in run.parts_ms.items()}
    for tau in run.taus:
        routed = route(run.outputs, tau, runtime.max_experts, manifest.ensemble, manifest.space)
        raw = run.points_ms[tau]
        points.append(
            PointTiming(
                point=operating_point(routed, labels, manifest.parts, tau, runtime.max_experts),
                raw_ms=_rounded(raw),
                mean_ms=float(np.median(raw, axis=1).mean()),
                sum_of_parts_ms=_sum_of_parts(costs, routed, timed),
            )
        )
    artifacts = runtime.artifacts
    return SetResults(
        backend=artifacts.backend,
        backend_version=backends.get(artifacts.backend).version(),
        recipe=artifacts.recipe.name,
        parts=tuple(PartTiming(part=name, raw_ms=_flat(run.parts_ms[name])) for name in sorted(run.parts_ms)),
        points=tuple(points),
    )


def _sum_of_parts(costs_ms: dict[str, float], routed: Routed, timed: npt.NDArray[np.int64]) -> float:
    """Return base + P(gate runs) gate + sum over k of P(expert k runs) expert k, over the timed images."""
    shares = routed.active[timed].mean(axis=0)
    experts = sum(share * costs_ms[expert_name(k)] for k, share in enumerate(shares))
    return float(costs_ms["base"] + routed.gate_ran[timed].mean() * costs_ms["gate"] + experts)


def _flat(by_image: dict[int, list[float]]) -> tuple[float, ...]:
    return tuple(value for row in _rounded(list(by_image.values())) for value in row)


def _rounded(raw: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Keep a tenth of a microsecond: finer than the clock, and a third of the bytes."""
    return tuple(tuple(round(value, 4) for value in row) for row in raw)
