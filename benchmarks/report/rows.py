"""The rows of a report's CSV files: every figure at full precision, one row a thing; None: not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_moe.benchmarks.report.compare import Beside
from edge_moe.benchmarks.report.series import EXPERTS, Series
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.samples import Summary, typical
from edge_moe.bundle import expert_name

__all__ = ["Row", "csv_rows", "whose"]

Row = dict[str, Any]  # column -> figure


def csv_rows(
    results: Sequence[Results], names: Sequence[str], series: Sequence[Series], beside: Sequence[Beside]
) -> dict[str, list[Row]]:
    """Return points, parts and peers."""

    def spread(s: Summary | None, *more: str) -> Row:
        return {name: None if s is None else getattr(s, name) for name in ("median", "p10", "p90", *more)}

    experts = range(max(file.bundle.experts for file in results))
    points = [
        whose(one, names) | {
            "tau": what.tau, "max_experts": what.max_experts, "samples": what.samples, "exit_rate": what.exit_rate,
            "gate_share": point.decided.gate_share, "mean_macs": what.mean_macs, "accuracy": what.accuracy,
            "accuracy_low": what.accuracy_low, "accuracy_high": what.accuracy_high, **spread(point.spread, "p99"),
            "mean": point.mean, "predicted": point.predicted,
            "from_file": None if one.results.preprocessing is None else one.results.preprocessing + point.mean,
            **{f"share_{expert_name(k)}": dict(enumerate(point.decided.expert_shares)).get(k) for k in experts},
        }
        for one in series for point in one.points for what in [point.point]
    ]  # fmt: skip
    parts = [
        whose(one, names) | {
            "part": part.name, "bytes": one.one.artifacts[part.name].bytes, "macs": part.macs, "median": part.median,
            "p10": part.low, "p90": part.high, "cost": part.cost, "gmacs_per_s": part.gmacs,
            **{f"of_best_{kind}_product": part.of_best.get(kind) for kind in ("int8", "fp32")},
            "middle_tau": one.middle.tau, "share_at_middle_tau": part.time_share, "to_gain": part.gain,
            "waking": float(np.median(costs.waking)) if costs.waking else None,
            **dict(zip(("bound_low", "bound_high"), costs.bounds or (None, None), strict=True)),
            **{f"cost_{unit}": typical(raw) for unit, raw in costs.others.items()},
        }
        for one in series for part in one.parts if part.name != EXPERTS
        for costs in one.one.parts if costs.part == part.name
    ]  # fmt: skip
    met = [
        (pair.series.file, pair.peer, {
            **spread(pair.spread), "cost": pair.cost, "our_set": pair.series.label, "our_tau": pair.point.tau,
            "our_cost": pair.point.mean, "ratio": pair.ratio, "ratio_low": pair.low, "ratio_high": pair.high,
            "verdict": pair.verdict,
        })
        for pair in beside
    ]  # fmt: skip
    peers = [
        {"file": names[number], "peer": peer.name, "backend": peer.backend, "recipe": peer.recipe, "tau": peer.tau,
         "about": peer.about, "missing": peer.missing, "unit": file.unit.name, **row}
        for number, file in enumerate(results) for peer in file.peers
        for row in [row for where, other, row in met if where == number and other is peer] or [{}]
    ]  # fmt: skip
    return {"points": points, "parts": parts, "peers": peers}


def whose(one: Series, names: Sequence[str]) -> Row:
    """Return what every row of a series begins with: where its figures are from. `names`: of the files."""
    f, s = one.results, one.one
    return {"file": names[one.file], "set": one.label, "backend": s.backend, "recipe": s.recipe,
            "bundle": f.bundle.name, "target": f.target, "machine": f.machine.name, "threads": f.threads,
            "unit": one.unit.name, "provenance": f.provenance()}  # fmt: skip
