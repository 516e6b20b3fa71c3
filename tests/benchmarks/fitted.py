"""Made-up results that are of a given bundle, and a small set worked by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from edge_moe.benchmarks.recorded import StoredTrace, bundle_info
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.wire import PointRound, Setting
from edge_moe.bundle import Bundle
from edge_moe.digest import answers_digest
from tests.benchmarks.made import make

replace = msgspec.structs.replace

RATES = {"base": 4.0, "gate": 0.5, "expert_00": 2.0, "expert_01": 3.0}


def fitted(bundle: Path, **options: Any) -> Results:
    """Results of `make(**options)` whose sets are those of the bundle."""
    opened = Bundle(bundle)
    manifest = opened.manifest
    sets = [(one.backend, one.recipe.name) for one in manifest.sets]
    made = make(sets=sets, experts=manifest.experts, classes=len(manifest.labels), **options)
    return replace(
        made,
        bundle=bundle_info(bundle.name, manifest),
        recorded=tuple(
            replace(
                one,
                artifacts={name: part.plain for name, part in s.parts.items()},
                macs=manifest.macs,
                digest=answers_digest(manifest, s),
            )
            for one, s in zip(made.recorded, manifest.sets, strict=True)
        ),
    )


def save(results: Results, file: Path) -> Path:
    file.write_bytes(msgspec.json.encode(results))
    return file


def edited(results: Results, parts: Any = None, points: Any = None, **changes: Any) -> Results:
    """The results with changes to what is recorded of their first set, and to its costs.

    Args:
        results: to change.
        parts: part -> the samples of the one round, or of every round [R][samples].
        points: (tau, max_experts, raw [R][T] or None) of each, all None or none.
        changes: fields of the recorded set.
    """
    unit, lines = results.unit.name, list(results.lines)
    if points is not None:
        changes["settings"] = tuple(Setting(tau=tau, max_experts=most) for tau, most, _ in points)
    for r, line in enumerate(lines):
        first = line.sets[0]
        if parts is not None:
            first = replace(first, parts={name: {unit: tuple(raw)} for name, raw in parts.items()})
        if points is not None:
            given = [(raw, (None,) * len(results.timed)) for _, _, raw in points if raw is not None]
            first = replace(first, points=tuple(PointRound(costs={unit: raw[r]}, ran=ran) for raw, ran in given))
        lines[r] = replace(line, sets=(first, *line.sets[1:]))
    recorded = (replace(results.recorded[0], **changes), *results.recorded[1:])
    return replace(results, recorded=recorded, lines=tuple(lines))


def with_peers(results: Results, peers: Any) -> Results:
    """The results with these alternatives: `Peer` and its raw [R][T], None: not measured."""
    unit, peers = results.unit.name, list(peers)
    lines = tuple(
        replace(line, peers=tuple(None if raw is None else {unit: tuple(raw[r])} for _, raw in peers))
        for r, line in enumerate(results.lines)
    )
    return replace(results, opening=replace(results.opening, peers=tuple(one for one, _ in peers)), lines=lines)


def with_limits(results: Results, limits: Any) -> Results:
    """The results with these products: `Limit` and the milliseconds of the first round; the others have none more."""
    limits = list(limits)
    lines = tuple(replace(line, limits_ms=tuple(tuple(ms) for _, ms in limits)) for line in results.lines)
    return replace(results, opening=replace(results.opening, limits=tuple(one for one, _ in limits)), lines=lines)


def with_recorded(results: Results, **changes: Any) -> Results:
    """The results with changes to what is recorded of every set; a list has one for each."""
    recorded = [
        replace(one, **{name: value[i] if isinstance(value, list) else value for name, value in changes.items()})
        for i, one in enumerate(results.recorded)
    ]
    return replace(results, recorded=tuple(recorded))


def with_accuracies(results: Results, shares: Any) -> Results:
    """The results, whose first set is said to be right on these shares of the images, one a point."""
    one = results.sets[0]
    vars(one)["points"] = tuple(  # in place of what is computed
        dataclasses.replace(point, point=replace(point.point, accuracy=share))
        for point, share in zip(one.points, shares, strict=True)
    )
    return results


def stored(max_phi: Any, gate: Any, answers: Any) -> StoredTrace:
    """A trace of what decides alone."""
    n, single = len(max_phi), tuple(row[1:] for row in answers)
    nothing = {name: (0.0,) * n for name in ("second_phi", "entropy", "log_sum_exp")}
    return StoredTrace(max_phi=max_phi, gate=gate, answers=answers, single=single, **nothing)


def cheaper(results: Results, place: int, factor: float) -> Results:
    """The results in which whole predictions of one set cost so much of what they did."""

    def scaled(point: PointRound) -> PointRound:
        return replace(point, costs={unit: tuple(factor * x for x in raw) for unit, raw in point.costs.items()})

    lines = []
    for line in results.lines:
        sets = list(line.sets)
        sets[place] = replace(sets[place], points=tuple(map(scaled, sets[place].points)))
        lines.append(replace(line, sets=tuple(sets)))
    return replace(results, lines=tuple(lines))


def only(results: Results, place: int) -> Results:
    """The results with one of their sets."""
    lines = tuple(replace(line, sets=line.sets[place : place + 1]) for line in results.lines)
    return replace(results, recorded=results.recorded[place : place + 1], lines=lines)


def worked(bundle: Path, unit: str = "ms", **changes: Any) -> Results:
    """Six images, two experts; the first three are half A.

    alpha_0 is .075, .375, .6, alpha_1 is .025, .125, .2 in either half. Four images are timed, two of each half, in
    three rounds; the parts cost as RATES has it.
    """
    # What each of the timed images 1, 2, 4, 5 takes, as the median of three rounds.
    rounds = ((9.0, 1.0, 8.0, 2.0), (2.0, 4.0, 3.0, 5.0), (1.0, 7.0, 2.0, 9.0))  # 2, 4, 3, 5
    faster = tuple(tuple(value / 2 for value in row) for row in rounds)
    results = fitted(bundle, images=6, timed=4, rounds=3, unit=unit)
    results = edited(
        results,
        trace=stored(
            max_phi=(0.9, 0.5, 0.2, 0.9, 0.5, 0.2),
            gate=((0.75, 0.25),) * 6,
            answers=((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0)),
        ),
        parts={part: (rate,) for part, rate in RATES.items()},
        points=(
            (0.0, 1, rounds),
            (0.3, 1, rounds),
            (0.5, 1, rounds),
            (1.0, 1, faster),
            (0.0, 2, tuple(tuple(2 * value for value in row) for row in rounds)),
        ),
    )
    return replace(results, labels=(0,) * 6, timed=(1, 2, 4, 5), **changes)
