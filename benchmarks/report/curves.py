"""Charts with lines: cost and accuracy of operating points, every sample, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np

from edge_moe.benchmarks.report.content import Content
from edge_moe.benchmarks.report.plot import TAU_RANGE, Json, View, axes, curve, hover, lines, whiskers
from edge_moe.benchmarks.report.series import Point, Series, front
from edge_moe.benchmarks.report.style import look
from edge_moe.benchmarks.report.words import cost, cost_column, scaled, tau
from edge_moe.benchmarks.results import Unit

__all__ = ["accuracy_against_cost", "agreement", "cost_against_tau", "samples"]

_QUANTILES = np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.905, 0.99, 18), [0.995, 0.999, 1.0]])


def cost_against_tau(series: Sequence[Series], unit: Unit) -> View:
    """Return mean lines with bands from p10 to p90; those of plain networks are level, whatever tau is."""
    traces: list[Json] = []
    for one, found, name, style in lines(series):
        x = [0.0, 1.0] if one.plain else [point.tau for point in found]
        points = found * 2 if one.plain else found
        spreads = [point.spread for point in points if point.spread is not None]
        if len(spreads) == len(points):
            edge = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            traces += [
                {**edge, "type": "scatter", "y": [scaled(s.p10, unit) for s in spreads], "legendgroup": name},
                {**edge, "type": "scatter", "y": [scaled(s.p90, unit) for s in spreads], "legendgroup": name,
                 "fill": "tonexty", "fillcolor": f"@{style.number}-pale"},
            ]  # fmt: skip
        means = [scaled(point.costs.mean, unit) for point in points]
        line = curve(name, style, x, means, [hover(one, point) for point in points])
        if one.plain:
            line["mode"] = "lines"
        elif len(points) == 1 and spreads:  # a band has no width here
            s = spreads[0]
            line["error_y"] = whiskers(means, [scaled(s.p10, unit)], [scaled(s.p90, unit)])
        traces.append(line)
    layout = axes("tau (larger: more images exit early)", f"cost of one image, {cost_column(unit)}")
    layout["yaxis"]["rangemode"] = "tozero"
    layout["xaxis"]["range"] = TAU_RANGE
    return View(f"cost, {cost_column(unit)}", traces, layout)


def accuracy_against_cost(series: Sequence[Series], unit: Unit | None) -> View:
    """Against measured cost in `unit`, or against MACs where it is None."""

    def across(point: Point) -> float:
        return point.costs.point.mean_macs / 1e6 if unit is None else scaled(point.costs.mean, unit)

    known = [p for one in series for p in one.points if p.accuracy is not None]
    best = [known[i] for i in front([(across(p), p.accuracy or 0.0) for p in known])]
    x, y = [across(p) for p in best], [100 * (p.accuracy or 0) for p in best]
    bare: Json = {"type": "scatter", "x": x, "y": y, "hoverinfo": "skip", "legendgroup": "Pareto front"}
    traces: list[Json] = [{**bare, "mode": "lines", "line": {"color": "@grid", "width": 10}, "showlegend": False}]
    for one, all_points, name, style in lines(series):
        points = [point for point in all_points if point.accuracy is not None]
        if not points:
            continue
        heights = [100 * (point.accuracy or 0) for point in points]
        line = curve(name, style, [across(p) for p in points], heights, [hover(one, p) for p in points])
        bounds = [(100 * (p.costs.point.accuracy_low or 0), 100 * (p.costs.point.accuracy_high or 0)) for p in points]
        line["error_y"] = {
            "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": f"@{style.number}-thin",
            "array": [max(0.0, high - h) for (_, high), h in zip(bounds, heights, strict=True)],
            "arrayminus": [max(0.0, h - low) for (low, _), h in zip(bounds, heights, strict=True)],
        }  # fmt: skip
        traces.append(line)
    ring = {"symbol": "circle-open", "size": 15, "color": "@front", "line": {"width": 1.6}}
    meta = {"label": "Pareto front"}
    traces.append({**bare, "mode": "markers", "name": "Pareto front", "meta": meta, "marker": ring})
    title = "mean MACs of one image, millions" if unit is None else f"mean cost of one image, {cost_column(unit)}"
    return View("MACs" if unit is None else f"cost, {cost_column(unit)}", traces, axes(title, "accuracy, %"))


def samples(one: Series) -> View | None:
    """All samples of the two ends and the middle, as the share that cost at most so much."""
    points = sorted((p for p in one.points if p.max_experts == one.middle.max_experts), key=lambda p: p.tau)
    if any(point.costs.raw is None for point in points):
        return None
    traces: list[Json] = []
    for point in dict.fromkeys([points[0], one.middle, points[-1]]):
        if point.costs.raw is None:
            continue
        flat = np.concatenate([np.asarray(row) for row in point.costs.raw])
        x = [scaled(float(value), one.unit) for value in np.quantile(flat, _QUANTILES)]
        name = one.label if one.plain else f"tau {tau(point.tau)}"
        head = escape(name) if one.plain else f"{escape(one.label)}, {name}"
        style = look(len(traces))
        hover = [
            f"{head}<br>{share:.1%} of predictions<br>took at most {cost(q, one.unit, named=True)}"
            for share, q in zip(_QUANTILES, np.quantile(flat, _QUANTILES).tolist(), strict=True)
        ]
        trace = curve(name, style, x, [100 * float(share) for share in _QUANTILES], hover)
        trace["mode"] = "lines"
        traces.append(trace)
    layout = axes(f"cost of one prediction, {cost_column(one.unit)}", "predictions, % that took at most this")
    layout["yaxis"]["range"] = [0, 101]
    # The slowest few would press all others against the axis; they are there when the reader zooms out.
    all_samples = np.concatenate([np.ravel(p.costs.raw) for p in points if p.costs.raw is not None])
    low, high = (scaled(float(value), one.unit) for value in np.quantile(all_samples, [0.0, 0.99]))
    layout["xaxis"]["range"] = [max(0.0, low - 0.1 * (high - low)), high + 0.15 * (high - low)]
    return View(one.label, traces, layout)


def agreement(content: Content, what: Literal["answers", "routing"]) -> View:
    """Return how alike quantized sets and fp32 answer, or route, against tau; of a plain network the table tells."""
    traces: list[Json] = []
    for one, points, name, style in lines([one for one in content.series if not one.plain]):
        pairs = {(a.tau, a.max_experts): a for a in content.agreements if a.series is one}
        found = [pairs[p.tau, p.max_experts] for p in points if (p.tau, p.max_experts) in pairs]
        if not found:
            continue
        text = [
            f"<b>{escape(one.label)}</b> and {escape(a.reference.label)}<br>tau {tau(a.tau)}, at most {a.max_experts}"
            f"<br>base answers alike: {a.base:.2%}<br>answers alike: {a.answers:.2%}<br>routed alike: {a.routing:.2%}"
            for a in found
        ]
        values = [100 * float(getattr(a, what)) for a in found]
        traces.append(curve(name, style, [a.tau for a in found], values, text))
    verb = "answered" if what == "answers" else "routed"
    layout = axes("tau (larger: more images exit early)", f"images {verb} alike, %")
    layout["xaxis"]["range"] = TAU_RANGE
    return View(what, traces, layout)
