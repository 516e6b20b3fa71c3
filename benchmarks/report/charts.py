"""The charts of the page, as plotly's own JSON: traces and layout in plain dicts, drawn by plotly.js in the browser.

Size, margins, fonts and legend are the page's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge_moe.benchmarks.report import bar_charts, curves
from edge_moe.benchmarks.report.content import Content
from edge_moe.benchmarks.report.plot import View

__all__ = ["Chart", "draw"]


@dataclass(frozen=True)
class Chart:
    """A chart, and the views between which its reader can switch."""

    key: str
    about: str  # for those who cannot see it
    switch: str  # what the views are
    views: tuple[View, ...]


def draw(content: Content) -> dict[str, Chart]:
    """Return key -> chart; charts without anything to show are left out."""
    series = content.series
    by_unit = {unit: [one for one in series if one.unit == unit] for unit in dict.fromkeys(one.unit for one in series)}
    charts: dict[str, Chart] = {}

    def add(key: str, switch: str, about: str, views: Iterable[View | None]) -> None:
        drawn = tuple(view for view in views if view is not None and view.traces)
        if drawn:
            charts[key] = Chart(key, about, switch, drawn)

    add(
        "cost",
        "Unit",
        "Mean cost of one image by each set, from p10 to p90."
        if content.plain
        else "Mean cost of one image against tau, for each set, with bands from p10 to p90.",
        [
            bar_charts.images(group, unit) if all(one.plain for one in group) else curves.cost_against_tau(group, unit)
            for unit, group in by_unit.items()
        ],
    )
    if content.labelled:
        add(
            "accuracy",
            "Against",
            "Accuracy against mean cost of one image, for each set, with 95% intervals and the Pareto front.",
            [
                *(curves.accuracy_against_cost(group, unit) for unit, group in by_unit.items()),
                curves.accuracy_against_cost(series, None),
            ],
        )
    add("samples", "Set", "Share of predictions that cost at most so much.", map(curves.samples, series))
    add(
        "parts",
        "Show",
        "Cost of one run of each part, from p10 to p90.",
        [view for unit, group in by_unit.items() for view in bar_charts.parts(group, unit)],
    )
    mixtures = [one for one in series if not one.plain]
    add(
        "shares",
        "Set",
        "Share of images that exit and that wake each expert, against tau.",
        map(bar_charts.shares, mixtures),
    )
    add(
        "agreement",
        "Of",
        "Share of images that a quantized set and fp32 answer and route alike, against tau.",
        [curves.agreement(content, what) for what in ("answers", "routing")],
    )
    add(
        "peers",
        "Beside",
        "Cost of each alternative divided by ours.",
        [bar_charts.peers(one, content.beside) for one in series],
    )
    return charts
