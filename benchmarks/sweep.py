"""Cost and accuracy of a bundle at every operating point, on a target.

The artifacts answer all validation images once, on this host; what they decide is the trace, from which exit rates,
MACs and accuracy of any operating point follow. Then the target costs parts and predictions, round after round.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.anytime import alpha, check_max_experts, check_tau
from edge_moe.benchmarks import prices, targets
from edge_moe.benchmarks.journal import Journal
from edge_moe.benchmarks.machine import this_machine
from edge_moe.benchmarks.results import (
    SCHEMA_VERSION,
    Conditions,
    PartCosts,
    PointCosts,
    Results,
    SetResults,
    StoredTrace,
    bundle_info,
    typical,
)
from edge_moe.benchmarks.targets import Plan, Round, Session, SetPlan, Setting
from edge_moe.bundle import ArtifactSet, Bundle, Manifest, SetOperating, sha256
from edge_moe.checks import check_at_least_one
from edge_moe.data import NOISE, LabelledImages, open_data
from edge_moe.digest import answers_digest
from edge_moe.errors import CheckpointError, UsageError
from edge_moe.evaluate import operating_point
from edge_moe.here import able
from edge_moe.progress import Progress, Silent, track
from edge_moe.runtime import Runtime
from edge_moe.sets import Pattern, patterns
from edge_moe.sizes import short_size_text
from edge_moe.tensors import Tensors
from edge_moe.text import counted
from edge_moe.trace import Trace, record

__all__ = ["BenchOptions", "check", "run_key", "sweep"]

_VERSIONS = ("edge-moe", "numpy")
_PEERS = ("onnx", "torch")  # that peers are made or run with


class BenchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose."""

    device: str = "host"
    sets: tuple[str, ...] = ()  # "litert/int8", or "onnx" for all of a backend's; none: all of the bundle's
    backends: tuple[str, ...] = ()  # the short forms, see edge_moe.sets.patterns
    recipes: tuple[str, ...] = ()
    # None: those of the bundle's operating points, or quantiles of alpha. 0 and 1 are always measured. A plain network
    # is measured at 1, whatever is given: nothing changes with tau.
    taus: tuple[float, ...] | None = None
    max_experts: tuple[int, ...] | None = None  # None: the bundle's default
    threads: int = 1
    timed_images: int = 100
    validation_images: int | None = None  # None: all
    rounds: int = 5
    cold_starts: int = 3
    peers: bool = False
    checkpoint: str | None = None  # for the peers that need one
    seed: int = 0


def run_key(bundle: Path, data: str, options: BenchOptions) -> dict[str, Any]:
    """Return all that the figures of a run depend on, by names: what is kept of it is not mixed with another's.

    Raises: as `check`.
    """
    opened, selected, images = check(bundle, data, options)
    sets = []
    for one in selected:
        now = opened.operating(one)
        sets.append((one.key, one.parts, [p.tau for p in now.operating_points], now.default_max_experts))
    files = [(str(one), one.stat().st_size) for one in images.sources if isinstance(one, Path)]
    info = bundle_info(bundle.resolve().name, opened.manifest)
    stock = []
    if options.checkpoint is not None:
        folder = Path(options.checkpoint)
        stock = [(file.name, sha256(file.read_bytes())) for file in sorted(folder.iterdir()) if file.is_file()]
    here = (this_machine(), _versions(), _libraries())
    groups = None if images.groups is None else images.groups.tolist()
    return {
        **msgspec.to_builtins(options),
        "bundle": info,
        "sets": sets,
        "data": data,
        "images": files,
        "labels": images.labels.tolist(),
        "groups": groups,
        "files of the checkpoint": stock,
        "machine or versions": here,
    }


def check(bundle: Path, data: str, options: BenchOptions) -> tuple[Bundle, list[ArtifactSet], LabelledImages]:
    """Return the bundle, the sets of it to measure and the images, before minutes of measuring.

    Raises:
        UsageError: an option is out of range, or the bundle has no such set.
        BackendError: a set that is named cannot run on this machine, or none can.
        DataError, BundleError, CheckpointError: data, bundle or checkpoint cannot be used.
        MissingExtraError: a backend is not installed.
    """
    targets.get(options.device)
    opened = Bundle(bundle)
    manifest = opened.manifest
    _check(options, manifest.experts)
    selected = _selected(manifest, options)
    for artifacts in selected:
        backends.get(artifacts.backend).version()
    images = open_data(data, "val").with_classes(manifest.labels)
    if options.validation_images is not None:
        images = images.sample(options.validation_images, options.seed)
    if options.checkpoint is not None:
        _check_checkpoint(Path(options.checkpoint), manifest)
    return opened, selected, images


def sweep(
    bundle: Path, data: str, options: BenchOptions, *, journal: Journal | None = None, progress: Progress | None = None
) -> Results:
    """Measure every set of `bundle` that `options` selects on validation images of `data`.

    Ctrl-C after the first round ends it early: the results then hold the rounds that were finished, and say that they
    are not complete. With a journal, the same call goes on with the next round.

    Raises:
        UsageError: an option is out of range, or the bundle has no such set.
        DataError, BundleError: the data or the bundle cannot be used.
        MissingExtraError, BackendError: a backend is not installed, or refuses an artifact.
        KeyboardInterrupt: before the first round was finished.
    """
    progress = progress or Silent()
    target = targets.get(options.device)
    opened, selected, images = check(bundle, data, options)
    manifest = opened.manifest
    tensors = Tensors(images, manifest.preprocessing, progress)
    timed = np.sort(np.random.default_rng(options.seed).permutation(len(tensors))[: options.timed_images])
    traces = [_trace(opened, one, tensors, journal, progress) for one in selected]

    with ExitStack() as stack:
        folder = journal.folder if journal else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plan = Plan(
            bundle=opened,
            sets=tuple(
                SetPlan(
                    one,
                    _settings(opened.operating(one), found, options),
                    np.argsort(-found.gate[timed], axis=1, kind="stable"),
                )
                for one, found in zip(selected, traces, strict=True)
            ),
            inputs=[tensors[int(index)] for index in timed],
            threads=options.threads,
            rounds=options.rounds,
            cold_starts=options.cold_starts,
            seed=options.seed,
            folder=folder,
            peers=options.peers,
            checkpoint=None if options.checkpoint is None else Path(options.checkpoint),
        )
        session = stack.enter_context(target.open(plan, progress))
        rounds = _rounds(session, plan, journal, progress)
        seen = [one.seen for one in rounds if one.seen is not None]
        return Results(
            schema_version=SCHEMA_VERSION,
            target=target.name,
            unit=target.unit,
            complete=len(rounds) == options.rounds,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            sittings=journal.sittings if journal else 1,
            machine=session.machine,
            conditions=_with_doubt(session.conditions(seen), data, manifest),
            versions=_versions(),
            bundle=bundle_info(bundle.resolve().name, manifest),
            data=images.title,
            images=len(images),
            labels=_labels(images, manifest),
            groups=None if images.groups is None else tuple(images.groups.tolist()),
            timed=tuple(timed.tolist()),
            rounds_asked=options.rounds,
            rounds=len(rounds),
            threads=options.threads,
            seed=options.seed,
            sets=tuple(
                _set_results(i, one, found, rounds, timed, images, opened, session.version(one.artifacts))
                for i, (one, found) in enumerate(zip(plan.sets, traces, strict=True))
            ),
            peers=tuple(msgspec.structs.replace(peer, raw=_of_peer(rounds, i)) for i, peer in enumerate(session.peers)),
            limits=tuple(
                msgspec.structs.replace(limit, raw=tuple(value for one in rounds for value in one.limits[i]))
                for i, limit in enumerate(session.limits)
            ),
        )


def _with_doubt(conditions: Conditions, data: str, manifest: Manifest) -> Conditions:
    """Add that a trained network was measured on made-up images, if it was; an untrained one says enough by itself."""
    if data != NOISE or not manifest.trained:
        return conditions
    remark = "the images are noise: what parts cost is real, exit rates and the costs at a tau are those of noise"
    return msgspec.structs.replace(conditions, remarks=(*conditions.remarks, remark))


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _VERSIONS}}


def _libraries() -> dict[str, str | None]:
    """Return the versions of all that runs parts or products, None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in dict.fromkeys((*_PEERS, *(name for one in backends.names() for name in backends.record(one).executes))):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _labels(images: LabelledImages, manifest: Manifest) -> tuple[int, ...] | None:
    """Return the right classes where they are known and mean something."""
    return tuple(images.labels.tolist()) if images.labelled and manifest.trained else None


def _selected(manifest: Manifest, options: BenchOptions) -> list[ArtifactSet]:
    """Return the sets that the options name, in the bundle's order; every name must be that of a set that runs here."""
    manifest.select([Pattern((name,)) for name in options.backends])
    return able(manifest, patterns(options.sets, options.backends, options.recipes))


def _check(options: BenchOptions, experts: int) -> None:
    for tau in options.taus or ():
        check_tau(tau)
    for max_experts in options.max_experts or ():
        check_max_experts(max_experts, experts)
    check_at_least_one(
        threads=options.threads,
        timed_images=options.timed_images,
        rounds=options.rounds,
        validation_images=options.validation_images,
    )
    if options.seed < 0:
        raise UsageError(f"seed is {options.seed}; expected at least 0")
    if options.cold_starts < 0:
        raise UsageError(f"cold_starts is {options.cold_starts}; expected at least 0")


def _check_checkpoint(checkpoint: Path, manifest: Manifest) -> None:
    """Raise unless the checkpoint looks like what the bundle was made from: its latency would be another network's."""
    from edge_moe.checkpoint import read_config

    config = read_config(checkpoint)
    found = (config.architecture.base, config.architecture.size, config.architecture.classes, config.experts)
    spec = manifest.preprocessing
    expected = (manifest.architecture, spec.size, len(manifest.labels), manifest.experts)
    if found != expected:
        raise CheckpointError(
            f"{checkpoint} is {_words(found)}, but the bundle is {_words(expected)}; give the checkpoint that the "
            "bundle was made from"
        )


def _words(network: tuple[str, tuple[int, int], int, int]) -> str:
    base, size, classes, experts = network
    what = f"{base} for {short_size_text(size)} pixels and {classes} classes"
    return f"{what} with {counted(experts)}" if experts else f"{what} as a plain network"


def _trace(
    bundle: Bundle, artifacts: ArtifactSet, tensors: Tensors, journal: Journal | None, progress: Progress
) -> Trace:
    """Run every part on every image, or take what an earlier sitting found."""
    name = f"trace-{artifacts.backend}-{artifacts.recipe.name}"
    manifest = bundle.manifest
    n, experts = len(tensors), manifest.experts

    def fits(stored: StoredTrace) -> bool:
        rows = (stored.max_phi, stored.gate, stored.answers)
        return (
            {len(one) for one in rows} == {n}
            and {len(row) for row in stored.gate} == {experts}
            and {len(row) for row in stored.answers} == {experts + 1}
        )

    kept = journal.get(name, StoredTrace, fits) if journal else None
    if kept is not None:
        return kept.restored()
    with Runtime(bundle, backend=artifacts.backend, recipe=artifacts.recipe.name) as runtime:
        step = f"measuring {artifacts.key}"
        images = track(tensors, step, len(tensors), progress)
        found = record(runtime.part, manifest.experts, manifest.ensemble, manifest.space, images)
    if journal:
        journal.put(name, StoredTrace.of(found))
    return found


def _settings(operating: SetOperating, trace: Trace, options: BenchOptions) -> tuple[Setting, ...]:
    if not trace.gate.shape[1]:
        return (Setting(1.0, 0),)  # of a plain network nothing changes with tau: every image exits
    taus = options.taus or tuple(point.tau for point in operating.operating_points) or _spread(trace)
    most = options.max_experts or (operating.default_max_experts,)
    return tuple(Setting(tau, m) for m in sorted(set(most)) for tau in sorted({0.0, *taus, 1.0}))


def _spread(trace: Trace) -> Iterable[float]:
    """Return taus that spread the exit rate from 0 to 1, for a network whose confidences no fixed grid fits."""
    largest = alpha(trace.max_phi[:, np.newaxis], trace.gate).max(axis=1)
    return tuple(float(tau) for tau in np.quantile(largest, [0.1, 0.25, 0.5, 0.75, 0.9]))


def _rounds(session: Session, plan: Plan, journal: Journal | None, progress: Progress) -> list[Round]:
    done: list[Round] = []
    while journal and len(done) < plan.rounds:
        kept = journal.get(f"round-{len(done):04d}", Round, lambda one: _fits(one, done, session, plan))
        if kept is None:
            break
        done.append(kept)
    step = "timing"
    progress.start(step, plan.rounds * session.steps, len(done) * session.steps)
    try:
        for number in range(len(done), plan.rounds):
            found = session.round(number, progress, step)
            if journal:
                journal.put(f"round-{number:04d}", found)
            done.append(found)
    except KeyboardInterrupt:
        if not done:
            raise
    return done


def _fits(kept: Round, done: Sequence[Round], session: Session, plan: Plan) -> bool:
    """Return whether a round that was kept has the shape of those that are measured now, and of those before it."""
    timed = len(plan.inputs)
    return (
        (len(kept.sets), len(kept.peers), len(kept.limits)) == (len(plan.sets), len(session.peers), len(session.limits))
        and all(
            found.points is None or [len(costs) for costs in found.points] == [timed] * len(one.settings)
            for found, one in zip(kept.sets, plan.sets, strict=True)
        )
        and all(_samples(kept) == _samples(one) for one in done[:1])
    )


def _samples(one: Round) -> list[dict[str, int]]:
    """Return how many samples each part of each set has in a round: the same in all."""
    return [{part: len(costs) for part, costs in found.parts.items()} for found in one.sets]


def _set_results(
    index: int,
    plan: SetPlan,
    trace: Trace,
    rounds: Sequence[Round],
    timed: npt.NDArray[np.int64],
    images: LabelledImages,
    bundle: Bundle,
    version: str,
) -> SetResults:
    manifest, operating = bundle.manifest, bundle.operating(plan.artifacts)
    mine = [one.sets[index] for one in rounds]
    parts = tuple(
        PartCosts(part=name, macs=manifest.parts[name].macs, raw=tuple(one.parts[name] for one in mine))
        for name in mine[0].parts
    )
    costs = {part.part: part.cost for part in parts}  # for prices.per_image: the sum that a point is compared with
    labels = images.labels if _labels(images, manifest) is not None else None
    points = []
    for j, setting in enumerate(plan.settings):
        raw = tuple(one.points[j] for one in mine if one.points is not None) or None
        predicted = float(prices.per_image(trace.rows(timed).at(*setting), costs).mean())
        points.append(
            PointCosts(
                point=operating_point(trace.at(*setting), labels, manifest.parts, *setting, images.groups),
                raw=raw,
                mean=predicted if raw is None else typical(raw),
                predicted=predicted,
            )
        )
    return SetResults(
        backend=plan.artifacts.backend,
        backend_version=version,
        recipe=plan.artifacts.recipe.name,
        artifacts={name: one.plain for name, one in plan.artifacts.parts.items()},
        trace=StoredTrace.of(trace),
        parts=parts,
        points=tuple(points),
        default_tau=operating.default_tau,
        default_max_experts=operating.default_max_experts,
        cold_start_ms=tuple(one.cold_start_ms for one in mine if one.cold_start_ms is not None),
        peak_rss_bytes=tuple(one.peak_rss_bytes for one in mine if one.peak_rss_bytes is not None),
        digest=answers_digest(manifest, plan.artifacts),
    )


def _of_peer(rounds: Sequence[Round], index: int) -> tuple[tuple[float, ...], ...] | None:
    return tuple(found for one in rounds if (found := one.peers[index]) is not None) or None
