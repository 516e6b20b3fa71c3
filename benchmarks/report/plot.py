"""What all charts have in common: how a series is named and drawn, and what the pointer that rests on it is told.

Colours are names from style.py, which the page turns into those of its light or dark look. Text that plotly would read
as HTML is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from edge_moe.benchmarks.report.series import Point, Series
from edge_moe.benchmarks.report.style import Look, look
from edge_moe.benchmarks.report.words import accuracy, cost, interval, macs, percent, tau

__all__ = ["TAU_RANGE", "Json", "View", "axes", "curve", "hover", "lines", "whiskers"]

Json = dict[str, Any]
TAU_RANGE = [-0.03, 1.03]


@dataclass(frozen=True)
class View:
    """One way to look at a chart."""

    name: str
    traces: list[Json]
    layout: Json
    rows: int = 0  # of horizontal bars: the page makes room for them; 0: the usual height


def lines(series: Sequence[Series]) -> Iterable[tuple[Series, list[Point], str, Look]]:
    """Yield series, points in the order of tau, name and look for each max_experts of each series."""
    for one in series:
        counts = sorted({point.max_experts for point in one.points})
        for turn, most in enumerate(counts):
            name = one.label if len(counts) == 1 else f"{one.label}, up to {most}"
            points = sorted((p for p in one.points if p.max_experts == most), key=lambda p: p.tau)
            style = look(one.place)
            yield one, points, name, style if not turn else replace(style, symbol=look(6 * turn).symbol)


def curve(name: str, style: Look, x: Sequence[float], y: Sequence[float], text: Sequence[str]) -> Json:
    """Return a trace of points joined by a line; `text` is HTML."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(name),
        "legendgroup": name,
        "meta": {"label": name},
        "x": list(x),
        "y": list(y),
        "text": list(text),
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": f"@{style.number}", "width": 2, "dash": style.dash},
        "marker": {"color": f"@{style.number}", "size": 7, "symbol": style.symbol},
    }


def axes(x: str, y: str) -> Json:
    """Return a layout with titles."""
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}


def whiskers(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> Json:
    """Return error bars from `lows` to `highs` around `values`, or none where rounding turned them over."""
    return {
        "type": "data",
        "symmetric": False,
        "thickness": 1,
        "width": 2,
        "color": "@ink",
        "array": [max(0.0, high - value) for high, value in zip(highs, values, strict=True)],
        "arrayminus": [max(0.0, value - low) for low, value in zip(lows, values, strict=True)],
    }


def hover(one: Series, point: Point) -> str:
    """Return the operating point in words, for the pointer that rests on it."""
    what, s, unit = point.costs.point, point.spread, one.unit
    lines = [f"<b>{escape(one.label)}</b>"]
    if one.plain:
        lines.append(f"a plain network, {macs(what.mean_macs)} M MACs")
    else:
        lines += [
            f"tau {tau(what.tau)}, at most {what.max_experts} expert{'' if what.max_experts == 1 else 's'}",
            f"exit rate {percent(what.exit_rate)}, {macs(what.mean_macs)} M MACs",
        ]
    if what.accuracy is not None:
        lines.append(f"accuracy {accuracy(what.accuracy)} ({interval(what.accuracy_low, what.accuracy_high)})")
    lines.append(f"mean {cost(point.costs.mean, unit, named=True)}" + ("" if s else ", predicted from its parts"))
    if s is not None:
        lines.append(f"median {cost(s.median, unit)}, p10 {cost(s.p10, unit)}, p90 {cost(s.p90, unit)}")
    return "<br>".join(lines)
