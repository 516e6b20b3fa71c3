"""points.csv, parts.csv and peers.csv: every figure at full precision, one row a thing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from edge_moe.benchmarks.report.content import Content
from edge_moe.benchmarks.report.limits import EXPERTS, speeds
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.results import Summary
from edge_moe.bundle import expert_name

__all__ = ["files"]

_SPREAD = ("median", "p10", "p90")


def files(content: Content) -> dict[str, str]:
    """Return name -> text of every CSV of a report; peers.csv only if there are peers."""
    found = {"points.csv": _text(_points(content)), "parts.csv": _text(_parts(content))}
    if content.about_peers:
        found["peers.csv"] = _text(_peers(content))
    return found


def _points(content: Content) -> Iterable[dict[str, Any]]:
    experts = max(one.results.bundle.experts for one in content.series)
    for one in content.series:
        for point in one.points:
            what = point.costs.point
            shares = dict(zip(map(expert_name, range(experts)), point.expert_shares, strict=False))
            yield {
                **_whose(content, one),
                "tau": point.tau,
                "max_experts": point.max_experts,
                "samples": what.samples,
                "exit_rate": what.exit_rate,
                "gate_share": point.gate_share,
                "mean_macs": what.mean_macs,
                "accuracy": what.accuracy,
                "accuracy_low": what.accuracy_low,
                "accuracy_high": what.accuracy_high,
                **_spread(point.spread),
                "mean": point.costs.mean,
                "predicted": point.costs.predicted,
                **{f"share_{expert_name(k)}": shares.get(expert_name(k)) for k in range(experts)},
            }


def _parts(content: Content) -> Iterable[dict[str, Any]]:
    for one in content.series:
        spread = {part.name: part.spread for part in one.parts}
        for row in speeds(one):
            if row.name == EXPERTS:
                continue
            artifact = one.one.artifacts.get(row.name)
            yield {
                **_whose(content, one),
                "part": row.name,
                "bytes": None if artifact is None else artifact.bytes,
                "macs": row.macs,
                **_spread(spread[row.name]),
                "cost": row.cost,
                "gmacs_per_s": row.gmacs,
                "of_best_int8_product": row.of_best.get("int8"),
                "of_best_fp32_product": row.of_best.get("fp32"),
                "middle_tau": one.middle.tau,
                "share_at_middle_tau": row.time_share,
                "to_gain": row.gain,
            }


def _peers(content: Content) -> Iterable[dict[str, Any]]:
    for number, file in enumerate(content.results):
        for peer in file.peers:
            pairs = [pair for pair in content.beside if pair.series.file == number and pair.peer is peer]
            for pair in pairs or (None,):
                ours = pair and pair.series
                yield {
                    "file": content.names[number],
                    "peer": peer.name,
                    "backend": peer.backend,
                    "recipe": peer.recipe,
                    "tau": peer.tau,
                    "about": peer.about,
                    "missing": peer.missing,
                    "unit": file.unit,
                    **_spread(None if pair is None else pair.spread),
                    "cost": pair and pair.cost,
                    "our_set": ours and ours.label,
                    "our_tau": pair and pair.point.tau,
                    "our_cost": pair and pair.point.costs.mean,
                    "ratio": pair and pair.ratio,
                    "ratio_low": pair and pair.low,
                    "ratio_high": pair and pair.high,
                    "verdict": pair and pair.verdict,
                }


def _whose(content: Content, one: Series) -> dict[str, Any]:
    file = one.results
    return {
        "file": content.names[one.file],
        "set": one.label,
        "backend": one.one.backend,
        "recipe": one.one.recipe,
        "bundle": file.bundle.name,
        "target": file.target,
        "machine": file.machine.name,
        "threads": file.threads,
        "unit": file.unit,
    }


def _spread(spread: Summary | None) -> dict[str, float | None]:
    return {name: None if spread is None else getattr(spread, name) for name in _SPREAD}


def _text(rows: Iterable[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)  # None becomes empty
    return stream.getvalue()
