"""The charts that need no browser: PNG files for a README, an issue or a mail."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_moe.benchmarks.report.charts import Mark, View
from edge_moe.benchmarks.report.sections import Report
from edge_moe.benchmarks.report.words import LIGHT, plural
from edge_moe.text import counted

__all__ = ["draw"]

_DASHES = {"solid": "-", "dash": "--", "dashdot": "-.", "dot": ":"}
_SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^"}
_LONG = 40  # characters of a name in a legend
_HATCHES = {"": "", "/": "//", ".": "..", "x": "xx"}


def draw(report: Report, folder: Path) -> list[str]:
    """Draw every chart that has a picture into `folder`; return the names of the files."""
    file = report.results[0]
    about = f"{file.bundle.architecture}, {counted(file.bundle.experts)}, {file.data} ({plural(file.images, 'image')})"
    caption = _plain(f"{about}, {plural(file.threads, 'thread')}") + f"\n{_plain(file.machine.processor)}"
    caption = caption if len(report.results) == 1 else "\n".join(textwrap.wrap(_plain(report.title), 60))
    pictured = {key: [view for view in one.views if view.pictured] for key, one in report.sections.items()}
    drawn = {f"{key}.png": (report.sections[key].title, views) for key, views in pictured.items() if views}
    for name, (title, views) in drawn.items():
        heading = max((view.pictured for view in views), key=len)
        _picture(views, f"{title}; {heading}\n{caption}", folder / name)
    return list(drawn)


def _picture(views: Sequence[View], title: str, file: Path) -> None:
    """Draw views one above the other: costs in two units share no axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = len(views)
    figure, grid = pyplot.subplots(size, figsize=(8, 5 * size), dpi=150, layout="constrained", squeeze=False)
    try:
        for axes, view in zip(grid[:, 0], views, strict=True):
            few = sum(mark.shape != "front" for mark in view.marks) <= 2  # lines, of which a picture tells everything
            axes.grid(alpha=0.25)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set(xlabel=view.x, ylabel=view.y)
            _rows(axes, view) if view.rows else _lines(axes, view, few)
            if view.untrained:
                style = {"transform": axes.transAxes, "fontsize": 40, "color": "grey", "alpha": 0.3, "ha": "center"}
                axes.text(0.5, 0.5, "UNTRAINED", **style)
        pairs = [pair for axes in grid[:, 0] for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
        named = list({label: (handle, label) for handle, label in pairs}.values())  # what several views show, once
        if named:  # beside the picture, where it hides nothing, unless there is little; below where names are long
            inside, long = few and size == 1, max(len(label) for _, label in named) > _LONG
            outside = "outside lower left" if long else "outside right upper"
            where = {"loc": "best" if inside else outside, "frameon": False, "fontsize": 8}
            (grid[0, 0] if inside else figure).legend(*zip(*named, strict=True), **where)
        grid[0, 0].set_title(title, fontsize=10, loc="left")
        with warnings.catch_warnings():  # names may hold letters that matplotlib's own font does not
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(file)
    finally:
        pyplot.close(figure)


def _lines(axes: Any, view: View, few: bool) -> None:
    for mark in view.marks:
        x, y, low, high = ([getattr(dot, what) for dot in mark.dots] for what in ("x", "y", "low", "high"))
        name, colour = _plain(mark.name + mark.note), LIGHT[mark.look.colour]
        if mark.shape == "front":
            axes.plot(x, y, color="grey", linewidth=7, alpha=0.25, solid_capstyle="round", zorder=1)
            continue
        style = (_SYMBOLS[mark.look.symbol] if mark.shape == "line" else "") + _DASHES[mark.look.dash]
        axes.plot(x, y, style, color=colour, markersize=5, label=f"{name}, mean" if few and view.band else name)
        if view.band and len(x) > 1 and None not in low:
            axes.fill_between(x, low, high, color=colour, linewidth=0, alpha=0.15 if few else 0.06)
            if few:
                axes.plot(x, [dot.median for dot in mark.dots], ":", color=colour, label=f"{name}, median")
        elif ends := _ends(mark, y):
            look = {"color": colour, "capsize": 2, "linewidth": 0.8, "alpha": 0.5 if few else 0.25}
            axes.errorbar(x, y, yerr=ends, fmt="none", **look)
    axes.set(xlim=view.x_range, ylim=view.y_range or (0 if view.band else None, None))
    (left, right), previous = axes.get_xlim(), -float("inf")
    for dot in view.marks[0].dots:  # tags of one line, but those that would lie on each other
        if dot.tag and abs(dot.x - previous) > 0.04 * (right - left):
            tag = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
            axes.annotate(dot.tag, (dot.x, dot.y), (0, 7), color=LIGHT[view.marks[0].look.colour], **tag)
            previous = dot.x


def _rows(axes: Any, view: View) -> None:
    """Bars that lie, in groups with a name each, the first on top."""
    grouped = sum(len(mark.dots) for mark in view.marks) > len(view.rows)
    height, room = 0.8 / len(view.marks) if grouped else 0.6, 0.6 + max(0, 3 - len(view.rows)) / 2
    for number, mark in enumerate(view.marks):
        places = [view.rows.index(dot.y) + (height * (number + 0.5) - 0.4 if grouped else 0) for dot in mark.dots]
        x, name = [dot.x for dot in mark.dots], None if mark.name in view.rows else _plain(mark.name)
        style = {"hatch": _HATCHES[mark.look.hatch], "edgecolor": "white", "linewidth": 0, "xerr": _ends(mark, x)}
        error = {"linewidth": 0.8, "ecolor": "#444", "capsize": 2}
        axes.barh(places, x, 0.9 * height, color=LIGHT[mark.look.colour], error_kw=error, label=name, **style)
    axes.set_yticks(range(len(view.rows)), [_plain(name, 40) for name in view.rows], fontsize=8)
    axes.set_ylim(len(view.rows) - 1 + room, -room)
    axes.grid(visible=False, axis="y")


def _ends(mark: Mark, values: Sequence[float]) -> list[tuple[float, ...]] | None:
    """Return how far whiskers reach below and above `values`, but not less than nothing, as rounding has it."""
    pairs = zip(mark.dots, values, strict=True)
    ends = [
        (max(0.0, at - d.low), max(0.0, d.high - at)) for d, at in pairs if d.low is not None and d.high is not None
    ]
    return list(zip(*ends, strict=True)) if len(ends) == len(values) else None


def _plain(text: str, longest: int = 100) -> str:
    """Return text in which matplotlib sees no formulas, short enough for its place."""
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")
