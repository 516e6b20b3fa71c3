"""Predictions without a pause: the chart of them against time, their table, their rows, and a line for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_moe.benchmarks import sustained
from edge_moe.benchmarks.report.charts import Dot, Mark, View
from edge_moe.benchmarks.report.rows import Row, whose
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.tables import Table, table_of
from edge_moe.benchmarks.report.words import look, tau
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.wire import Sustained, Window

__all__ = ["csv_rows", "lines", "table", "views"]

_MARKED = 40  # windows; the points of more would hide their line


def views(series: Sequence[Series]) -> list[View]:
    """Return a chart for each unit: the median of every window against when it began."""
    found = []
    for unit in dict.fromkeys(one.unit for one, _ in _of(series)):
        pairs = [(one, ran) for one, ran in _of(series) if one.unit == unit]
        marks = [
            Mark(
                one.counted,
                look(one.place),
                [_dot(one, ran, window) for window in ran.windows],
                "line" if len(ran.windows) <= _MARKED else "level",
            )
            for one, ran in pairs
        ]
        top = max(dot.y for mark in marks for dot in mark.dots)
        found.append(
            View(
                f"cost, {unit.shown}",
                "seconds without a pause",
                f"median cost of one image, {unit.shown}",
                marks,
                untrained=not any(one.results.bundle.trained for one, _ in pairs),
                pictured=f"medians of {_window()}",
                y_range=(0.0, 1.15 * top or 1.0),
            )
        )
    return found


def table(series: Sequence[Series]) -> Table:
    """Return for each set what it cost at first, at last and at worst."""
    cells = []
    for one, ran in _of(series):
        first, last, slowest = (one.unit.digits(median) for median in _ends(ran, one))
        shown = one.unit.shown
        cells.append(
            {
                "set": one.counted,
                "tau": "" if one.plain else tau(ran.setting.tau),
                f"first {_window()}, {shown}": first,
                f"last {_window()}, {shown}": last,
                f"slowest {_window()}, {shown}": slowest,
                "last / first": _times(ran),
            }
        )
    return table_of(cells)


def lines(results: Results) -> list[str]:
    """Return in a line for each set what it cost at first and at last."""
    found = []
    for ran in results.sustained:
        first, last = ran.windows[0].median, ran.windows[-1].median
        told = f"{ran.set} {results.unit.text(first)} in the first {_window()}, {results.unit.digits(last)} in the last"
        times = _times(ran)
        found.append(f"sustained for {results.sustained_s / 60:.3g} min: {told}{f' ({times} times)' if times else ''}")
    return found


def csv_rows(names: Sequence[str], series: Sequence[Series]) -> list[Row]:
    """Return a row for each window."""
    return [
        whose(one, names)
        | {"tau": ran.setting.tau, "max_experts": ran.setting.max_experts}
        | {"start_s": window.start_s, "median": window.median, "count": window.count}
        | window.facts
        for one, ran in _of(series)
        for window in ran.windows
    ]


def _window() -> str:
    return f"{sustained.WINDOW_S:g} s"


def _of(series: Sequence[Series]) -> list[tuple[Series, Sustained]]:
    """Return the series that ran without a pause, with what that cost."""
    return [(one, ran) for one in series for ran in one.results.sustained if ran.set == one.one.label]


def _ends(ran: Sustained, one: Series) -> tuple[float, float, float]:
    medians = [window.median for window in ran.windows]
    return medians[0], medians[-1], max(medians) if one.unit.less_is_better else min(medians)


def _times(ran: Sustained) -> str:
    first, last = ran.windows[0].median, ran.windows[-1].median
    return f"{last / first:.2f}" if first else ""


def _dot(one: Series, ran: Sustained, window: Window) -> Dot:
    at = "" if one.plain else f"tau {tau(ran.setting.tau)}, "
    told: list[Any] = [
        one.counted,
        f"{at}from {window.start_s:g} s on",
        f"median {one.unit.text(window.median)} of {window.count:,} predictions",
        *(f"{name}: {fact}" for name, fact in window.facts.items()),
    ]
    return Dot(window.start_s, one.unit.scaled(window.median), told)
