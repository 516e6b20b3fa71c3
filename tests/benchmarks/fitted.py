"""Made-up results that are of a given bundle, and a small set worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edge_moe.benchmarks.results import PartCosts, PointCosts, Results, StoredTrace, bundle_info, typical
from edge_moe.bundle import Bundle, OperatingPoint
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
        sets=tuple(
            replace(one, artifacts={name: part.plain for name, part in s.parts.items()})
            for one, s in zip(made.sets, manifest.sets, strict=True)
        ),
    )


def save(results: Results, file: Path) -> Path:
    file.write_bytes(msgspec.json.encode(results))
    return file


def edited(results: Results, **changes: Any) -> Results:
    """The results with changes to their first set."""
    return replace(results, sets=(replace(results.sets[0], **changes), *results.sets[1:]))


def part_costs(**raw: float | tuple[float, ...]) -> tuple[PartCosts, ...]:
    """Parts with these samples, one round."""
    return tuple(
        PartCosts(part=part, macs=0, raw=((value,) if isinstance(value, float) else value,))
        for part, value in raw.items()
    )


def point(tau: float, max_experts: int, raw: Any = None, mean: float = 0.0) -> PointCosts:
    """A point whose figures over all images nobody should use."""
    nonsense = OperatingPoint(
        tau=tau,
        max_experts=max_experts,
        samples=1,
        exit_rate=0.123,
        mean_macs=1.0,
        accuracy=0.123,
        accuracy_low=0.1,
        accuracy_high=0.2,
    )
    return PointCosts(point=nonsense, raw=raw, mean=mean if raw is None else typical(raw), predicted=mean)


def worked(bundle: Path, **changes: Any) -> Results:
    """Six images, two experts; the first three are half A.

    alpha_0 is .075, .375, .6, alpha_1 is .025, .125, .2 in either half. Four images are timed, two of each half, in
    three rounds; the parts cost as RATES has it.
    """
    # What each of the timed images 1, 2, 4, 5 takes, as the median of three rounds.
    rounds = ((9.0, 1.0, 8.0, 2.0), (2.0, 4.0, 3.0, 5.0), (1.0, 7.0, 2.0, 9.0))  # 2, 4, 3, 5
    faster = tuple(tuple(value / 2 for value in row) for row in rounds)
    results = fitted(bundle, images=6, timed=4, rounds=3)
    results = edited(
        results,
        trace=StoredTrace(
            max_phi=(0.9, 0.5, 0.2, 0.9, 0.5, 0.2),
            gate=((0.75, 0.25),) * 6,
            answers=((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0)),
        ),
        parts=part_costs(**RATES),
        points=(
            point(0.0, 1, rounds),
            point(0.3, 1, rounds),
            point(0.5, 1, rounds),
            point(1.0, 1, faster),
            point(0.0, 2, tuple(tuple(2 * value for value in row) for row in rounds)),
        ),
    )
    return replace(results, labels=(0,) * 6, timed=(1, 2, 4, 5), **changes)
