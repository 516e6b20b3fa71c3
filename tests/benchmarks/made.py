"""Results of a measurement that never was: seeded, of any shape, and consistent in itself.

Traces come from made-up logits, operating points from the traces, and costs from a made-up machine.

Axis letters: N validation images, K experts, Y classes, R rounds, T timed images.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.measured import expected_runs
from edge_moe.benchmarks.recorded import BundleInfo, RecordedSet, Routing, StoredTrace
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.samples import Rows
from edge_moe.benchmarks.units import UNITS
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Limit,
    Machine,
    Opening,
    Peer,
    PointRound,
    Provenance,
    Round,
    Seen,
    SetRound,
    Setting,
)
from edge_moe.bundle import Artifact, expert_name
from edge_moe.evaluate import Outputs
from edge_moe.trace import Trace, trace

__all__ = ["SETS", "TAUS", "make"]

SETS = (("litert", "int8"), ("litert", "fp32"), ("onnx", "int8"), ("onnx", "fp32"))
TAUS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
# Millions.
_BASE_MACS, _GATE_MACS, _EXPERT_MACS = 18.85, 0.002, 8.44
# Milliseconds of base, gate and expert; other backends and recipes cost more by their place in the list.
_COSTS = (0.40, 0.003, 0.19)
_PER_MS = {"ms": 1.0, "instructions": 12e6, "cycles": 3e6, "sram_bytes": 4e6}


def make(
    *,
    seed: int = 0,
    name: str = "birds",
    machine: str = "a laptop",
    target: str = "host",
    data: str = "val",
    unit: str = "ms",
    more_units: Sequence[str] = (),
    provenance: Provenance = "measured",
    trained: bool = True,
    labels: bool = True,
    sets: Sequence[tuple[str, str]] = SETS,
    taus: Sequence[float] = TAUS,
    max_experts: Sequence[int] = (1,),
    experts: int = 4,
    classes: int = 10,
    images: int = 200,
    timed: int = 12,
    rounds: int = 4,
    rounds_asked: int | None = None,
    raw: bool = True,
    peers: bool = True,
    limits: bool = True,
    starts: int = 3,
    remarks: Sequence[str] = (),
    threads: int = 1,
    speed: float = 1.0,
    default_tau: float = 0.07,
) -> Results:
    """Return results that `results.load` would accept; the same options give the same results.

    Args:
        seed: of everything drawn.
        name: of the bundle.
        machine: what kind of machine it was.
        target: what ran the artifacts.
        data: title of the images.
        unit: of all costs.
        more_units: in which parts are counted as well.
        provenance: of figures in `unit`.
        trained: False labels the bundle UNTRAINED.
        labels: whether the images' classes are known.
        sets: (backend, recipe) of each; recipes that begin with int8 answer a little differently from fp32.
        taus: of the operating points.
        max_experts: of the operating points; every tau is measured at each of them.
        experts: K. 0 is a plain network: one operating point, whatever `taus` and `max_experts` are.
        classes: Y.
        images: N.
        timed: T.
        rounds: R.
        rounds_asked: more than `rounds` makes the results partial.
        raw: False leaves the whole predictions away, as a target does that runs parts only.
        peers: whether alternatives were measured, one of which is missing.
        limits: whether the large matrix products were measured.
        starts: processes for cold start and peak memory.
        remarks: why the figures are doubtful.
        threads: of the backend.
        speed: of the machine: 2 halves every cost.
        default_tau: of the bundle; not one of TAUS, unless it is said.
    """
    draw = np.random.default_rng(seed)
    if not experts:
        taus, max_experts = (1.0,), (0,)
    chosen = np.sort(draw.permutation(images)[:timed])
    scale = _PER_MS[unit] / speed
    truth, clean = _outputs(draw, images, experts, classes)
    macs = _macs(experts)
    settings = tuple(Setting(tau=tau, max_experts=most) for most in max_experts for tau in taus)
    recorded, lines = [], []
    for place, (backend, recipe) in enumerate(sets):
        label = f"{backend}/{recipe}"
        stored = trace(_quantized(clean, label, recipe), "bagging", "logit")
        slow = scale * (1 + 0.35 * place) * (1.0 if recipe.startswith("int8") else 1.5)
        costs = {part: slow * _cost(part) for part in macs}
        points = []
        for one in settings if raw else ():
            whole = _whole(costs, stored.rows(chosen), one.tau, one.max_experts)
            ran = expected_runs(stored.rows(chosen).at(one.tau, one.max_experts))
            points.append((_samples(draw, 1.01 * whole, rounds), tuple(ran)))
        parts = {part: _samples(draw, np.full(timed, costs[part]), rounds) for part in macs}
        cold = draw.uniform(200, 260, size=starts).round(2).tolist()
        peak = (draw.integers(60, 70, size=starts) * (1 << 20)).tolist()
        lines.append(
            [
                SetRound(
                    parts={
                        part: {unit: raw_of[r], **{other: (macs[part] / 2.0,) * timed for other in more_units}}
                        for part, raw_of in parts.items()
                    },
                    points=tuple(PointRound(costs={unit: rows[r]}, ran=ran) for rows, ran in points),
                    waking={part: {unit: (round(10 * costs[part] + 1, 4),)} for part in macs} if raw else {},
                    cold_start_ms=cold[r] if r < starts else None,
                    peak_rss_bytes=peak[r] if r < starts else None,
                )
                for r in range(rounds)
            ]
        )
        recorded.append(
            RecordedSet(
                set=label,
                artifacts={part: _artifact(f"{label}/{part}.bin", size) for part, size in macs.items()},
                macs=macs,
                settings=settings,
                trace=StoredTrace.of(stored),
                routing=Routing(set=label, where="host"),
                digest=f"{zlib.crc32(f'{name} {label}'.encode()):08x}" * 8,
                default_tau=default_tau if experts else 1.0,
                default_max_experts=min(1, experts),
            )
        )
    timed_peers = _peers(draw, sets, taus, scale, timed, rounds, plain=not experts) if peers and raw else []
    products = _limits(draw, rounds, speed) if limits and UNITS[unit].is_time else []
    probe = draw.uniform(5.0, 5.1, size=rounds).round(4).tolist()
    return Results(
        schema_version=SCHEMA_VERSION,
        created="2026-01-02T03:04:05+00:00",
        sittings=1,
        versions={"edge-moe": "0.1.0", "numpy": "2.4.0"},
        bundle=BundleInfo(
            name=name,
            rule_sha256=f"{zlib.crc32(name.encode()):08x}" * 8,
            architecture="mobilenet_v3_small",
            experts=experts,
            classes=classes,
            image_size=64,
            trained=trained,
            ensemble="bagging",
            space="logit",
        ),
        data=data,
        images=images,
        labels=tuple(truth.tolist()) if labels else None,
        groups=None,
        fingerprints=tuple(f"{image:012x}" for image in range(images)),
        timed=tuple(chosen.tolist()),
        rounds_asked=rounds if rounds_asked is None else rounds_asked,
        threads=threads,
        seed=seed,
        remarks=tuple(remarks),
        opening=Opening(
            schema_version=SCHEMA_VERSION,
            target=target,
            units=tuple(UNITS[one] for one in (unit, *more_units)),
            machine=Machine(
                name=machine,
                system="Linux x86_64",
                processor="A chip (avx2)",
                logical_cpus=2,
                memory_bytes=1 << 33,
            ),
            versions={f"{backend}/{recipe}": f"{backend} 2.3.0" for backend, recipe in sets},
            provenance={unit: provenance},
            peers=tuple(peer for peer, _ in timed_peers),
            limits=tuple(limit for limit, _ in products),
            cpus=(1,),
            load=0.5,
        ),
        recorded=tuple(recorded),
        lines=tuple(
            Round(
                sets=tuple(one[r] for one in lines),
                steps={"preprocessing": {unit: (round(0.2 * scale, 4),) * timed}} if raw else {},
                peers=tuple(None if rows is None else {unit: rows[r]} for _, rows in timed_peers),
                limits_ms=tuple((rows[r],) for _, rows in products),
                seen=Seen(elapsed_s=10.0, others_s=0.12, probe_ms=probe[r]),
            )
            for r in range(rounds)
        ),
    )


def _outputs(draw: np.random.Generator, n: int, k: int, y: int) -> tuple[npt.NDArray[np.int64], Outputs]:
    """Return right classes and logits: a base that is often right, and experts that know a little more."""
    truth = draw.integers(y, size=n)
    right = np.eye(y)[truth]
    base = draw.normal(size=(n, y)) + right * draw.normal(2.2, 1.5, size=(n, 1))
    gate = draw.normal(size=(n, k)) * 2 + np.linspace(1, 0, k)
    expert = base[:, np.newaxis] + draw.normal(scale=0.7, size=(n, k, y)) + 0.8 * right[:, np.newaxis]
    return truth, Outputs(base.astype(np.float32), gate.astype(np.float32), expert.astype(np.float32))


def _quantized(clean: Outputs, label: str, recipe: str) -> Outputs:
    """Return the outputs as this set gives them: exact in fp32, a little off otherwise, always by as much."""
    if not recipe.startswith("int8"):
        return clean
    draw = np.random.default_rng(zlib.crc32(label.encode()))

    def off(x: Any) -> Any:
        return x + draw.normal(scale=0.05, size=x.shape).astype(np.float32)

    return Outputs(off(clean.base_logits), off(clean.gate_logits), off(clean.expert_logits))


def _macs(experts: int) -> dict[str, int]:
    found = {"base": _BASE_MACS}
    if experts:
        found |= {"gate": _GATE_MACS} | {expert_name(k): _EXPERT_MACS for k in range(experts)}
    return {part: round(millions * 1e6) for part, millions in found.items()}


def _cost(part: str) -> float:
    return _COSTS[("base", "gate").index(part) if part in ("base", "gate") else 2]


def _whole(costs: dict[str, float], stored: Trace, tau: float, most: int) -> npt.NDArray[np.float64]:
    """[T] what each image costs, from the parts that it runs."""
    routed = stored.at(tau, most)
    experts = routed.active @ np.array([costs[expert_name(k)] for k in range(routed.active.shape[1])])
    found: npt.NDArray[np.float64] = costs["base"] + routed.gate_ran * costs.get("gate", 0.0) + experts
    return found


def _samples(draw: np.random.Generator, costs: npt.NDArray[np.float64], rounds: int) -> Rows:
    """[T] costs -> [R][T] samples: rarely less, sometimes much more, as clocks have it."""
    noise = 1 + draw.gamma(1.5, 0.02, size=(rounds, len(costs)))
    return tuple(tuple(row) for row in (costs * noise).round(4).tolist())


def _artifact(file: str, size: int) -> Artifact:
    return Artifact(file=file, sha256=f"{zlib.crc32(file.encode()):08x}" * 8, bytes=size // 10)


def _peers(
    draw: np.random.Generator,
    sets: Sequence[tuple[str, str]],
    taus: Sequence[float],
    scale: float,
    timed: int,
    rounds: int,
    *,
    plain: bool,
) -> list[tuple[Peer, Rows | None]]:
    backend, recipe = sets[0]
    found: list[tuple[Peer, Rows | None]] = []
    told: list[tuple[str, str, str, str, float | None, float]] = [
        ("base only", backend, recipe, "the base by the backend's own call: no gate, no expert", None, 0.40),
        ("base + its expert, always", backend, recipe, "base, gate and the gate's first choice", None, 0.61),
        ("all experts, always", backend, recipe, "every expert runs for every image", None, 1.3),
    ]
    told += [
        ("one graph with If", "onnx", "int8", "the whole early exit in one ONNX program", tau, 0.61 - 0.2 * tau)
        for tau in taus
    ]
    if plain:
        told = [("base only", backend, recipe, "the network by the backend's own call", None, 0.39)]
    told += [("stock int8, base only", backend, "int8-stock", "as its quantizer makes it by itself", None, 2.1)]
    for name, where, how, about, tau, ms in told:
        rows = _samples(draw, np.full(timed, scale * ms), rounds)
        found.append((Peer(name=name, backend=where, recipe=how, about=about, tau=tau, missing=None), rows))
    missing = "needs the checkpoint; repeat with --checkpoint"
    eager = Peer(name="torch eager", backend="torch", recipe="fp32", about="", tau=None, missing=missing)
    return [*found, (eager, None)]


def _limits(draw: np.random.Generator, rounds: int, speed: float) -> list[tuple[Limit, list[float]]]:
    return [
        (
            Limit(dtype=dtype, library=library, shape=(512, 512, 512)),  # type: ignore[arg-type]
            (ms / speed * draw.uniform(1, 1.1, size=rounds)).round(4).tolist(),
        )
        for dtype, library, ms in (("int8", "litert (XNNPACK)", 0.6), ("fp32", "numpy (OpenBLAS)", 1.5))
    ]
