"""The charts that need no browser: PNG files for a README, an issue or a mail."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_moe.benchmarks.report.content import Content
from edge_moe.benchmarks.report.limits import EXPERTS, speeds
from edge_moe.benchmarks.report.plot import TAU_RANGE
from edge_moe.benchmarks.report.series import Point, Series, front
from edge_moe.benchmarks.report.style import look
from edge_moe.benchmarks.report.words import cost_column, plural, scaled, tau
from edge_moe.benchmarks.results import Unit
from edge_moe.text import counted

__all__ = ["draw"]

_FEW = 2  # series, of which a picture tells everything
_LONGEST_NAME = 40  # letters of a set beside its bar


def draw(content: Content, folder: Path) -> list[str]:
    """Draw cost.png, parts.png and, where labels are known, accuracy.png into `folder`; return their names."""
    whiskers = "whiskers from p10 to p90"
    heading = f"Cost of an image; {whiskers}" if content.plain else "Cost against tau; bands from p10 to p90"
    _picture(content, folder / "cost.png", heading, _cost)
    found = ["cost.png"]
    if content.labelled:
        units = {one.unit for one in content.series}
        seen = any(len(_best([one for one in content.series if one.unit == unit])) > 1 for unit in units)
        heading = "Accuracy against cost; bars: 95% intervals" + ("; grey: Pareto front" if seen else "")
        _picture(content, folder / "accuracy.png", heading, _accuracy)
        found.append("accuracy.png")
    heading = f"Cost of the base by itself; {whiskers}" if content.plain else "Cost by part; bars from p10 to p90"
    _picture(content, folder / "parts.png", heading, _parts)
    return [*found, "parts.png"]


def lines(one: Series) -> list[list[Point]]:
    """Return the points of a series in the order of tau, for each max_experts."""
    return [
        sorted((point for point in one.points if point.max_experts == most), key=lambda point: point.tau)
        for most in sorted({point.max_experts for point in one.points})
    ]


def _picture(content: Content, file: Path, heading: str, paint: Callable[[Any, list[Series], Unit], None]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    units = list(dict.fromkeys(one.unit for one in content.series))  # costs in two units share no axis
    figure, all_axes = pyplot.subplots(
        len(units), figsize=(8, 5 * len(units)), dpi=150, layout="constrained", squeeze=False
    )
    try:
        for axes, unit in zip(all_axes[:, 0], units, strict=True):
            series = [one for one in content.series if one.unit == unit]
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            if not any(one.results.bundle.trained for one in series):
                axes.text(
                    0.5, 0.5, "UNTRAINED", transform=axes.transAxes, fontsize=40, color="grey", alpha=0.3, ha="center"
                )
            paint(axes, series, unit)
        handles, names = all_axes[0, 0].get_legend_handles_labels()
        for axes in all_axes[1:, 0]:
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.append(handle)
                names.append(name)
        if not handles:
            pass  # all are named where they stand
        elif len(content.series) <= _FEW and not content.plain:
            all_axes[0, 0].legend(handles, [_plain(name) for name in names], frameon=False, fontsize=8)
        else:  # beside the picture, where it hides nothing
            names = [_plain(name) for name in names]
            figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
        all_axes[0, 0].set_title(f"{heading}\n{_caption(content)}", fontsize=10, loc="left")
        with warnings.catch_warnings():  # names may hold letters that matplotlib's own font does not
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(file)
    finally:
        pyplot.close(figure)


def _cost(axes: Any, series: list[Series], unit: Unit) -> None:
    if all(one.plain for one in series):
        _cost_of_plain(axes, series, unit)
        return
    for one in series:
        style = look(one.place)
        for number, measured in enumerate(lines(one)):
            # A plain network costs as much whatever tau is: a level line, without markers.
            points = measured * 2 if one.plain else measured
            taus = [0.0, 1.0] if one.plain else [point.tau for point in points]
            spreads = [point.spread for point in points if point.spread is not None]
            whole = len(spreads) == len(points)
            if whole and len(points) > 1:
                axes.fill_between(
                    taus,
                    [scaled(s.p10, unit) for s in spreads],
                    [scaled(s.p90, unit) for s in spreads],
                    color=style.colour,
                    linewidth=0,
                    alpha=0.15 if len(series) <= _FEW else 0.06,
                )
            means = [scaled(point.costs.mean, unit) for point in points]
            what = one.label + (", a plain network" if one.plain else "")
            name = None if number else f"{what}, mean" if len(series) <= _FEW else what
            marker = "" if one.plain else style.marker
            axes.plot(taus, means, marker + style.line, color=style.colour, markersize=5, label=name)
            if whole and len(points) == 1:  # neither a band nor a line can be seen
                error = _whiskers(means[0], scaled(spreads[0].p10, unit), scaled(spreads[0].p90, unit))
                axes.errorbar(taus, means, yerr=error, color=style.colour, capsize=2, linewidth=0.8)
            elif len(series) <= _FEW and whole:
                medians = [scaled(s.median, unit) for s in spreads]
                axes.plot(taus, medians, ":", color=style.colour, label=None if number else f"{what}, median")
    axes.set_xlabel("tau (larger: more images exit early)")
    axes.set_ylabel(f"cost of one image, {cost_column(unit)}")
    axes.set_xlim(*TAU_RANGE)
    axes.set_ylim(bottom=0)


def _cost_of_plain(axes: Any, series: list[Series], unit: Unit) -> None:
    """One bar for each plain network, named where it stands."""
    for place, one in enumerate(series):
        (point,) = one.points
        value, s = scaled(point.costs.mean, unit), point.spread
        error = None if s is None else _whiskers(value, scaled(s.p10, unit), scaled(s.p90, unit))
        axes.barh(
            place, value, 0.6, color=look(one.place).colour, xerr=error,
            error_kw={"linewidth": 0.8, "ecolor": "#444", "capsize": 3}, hatch=_hatch(one), edgecolor="white",
            linewidth=0,
        )  # fmt: skip
    axes.set_yticks(range(len(series)), [_plain(one.label, _LONGEST_NAME) for one in series], fontsize=8)
    axes.set_ylim(len(series) - 0.4 + max(0, 3 - len(series)) / 2, -0.6 - max(0, 3 - len(series)) / 2)  # first on top
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel(f"mean cost of one image, {cost_column(unit)}")


def _whiskers(value: float, low: float, high: float) -> list[list[float]]:
    """Return by how much `low` lies below and `high` above `value`, in matplotlib's form."""
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _hatch(one: Series) -> str:
    return ("", "//", "..", "xx")[one.place // 6 % 4]


def _best(series: list[Series]) -> list[Point]:
    """Return the points of the Pareto front, those with the least cost first."""
    known = [p for one in series for p in one.points if p.accuracy is not None]
    return [known[i] for i in front([(p.costs.mean, p.accuracy or 0.0) for p in known])]


def _accuracy(axes: Any, series: list[Series], unit: Unit) -> None:
    best = _best(series)
    axes.plot(
        [scaled(p.costs.mean, unit) for p in best], [100 * (p.accuracy or 0) for p in best], "-", color="grey",
        linewidth=7, alpha=0.25, solid_capstyle="round",
    )  # fmt: skip
    for one in series:
        style = look(one.place)
        for number, all_points in enumerate(lines(one)):
            points = [point for point in all_points if point.accuracy is not None]
            if not points:  # its images have no labels
                continue
            x = [scaled(point.costs.mean, unit) for point in points]
            y = [100 * (point.accuracy or 0) for point in points]
            axes.plot(
                x, y, style.marker + style.line, color=style.colour, markersize=5, label=None if number else one.label
            )
            for point, across, up in zip(points, x, y, strict=True):
                what = point.costs.point
                # The bounds include the point, but not always in the last digit of floating point.
                below, above = up - 100 * (what.accuracy_low or 0), 100 * (what.accuracy_high or 0) - up
                error = [[max(0.0, below)], [max(0.0, above)]]
                axes.errorbar(
                    across, up, yerr=error, color=style.colour, capsize=2, linewidth=0.8,
                    alpha=0.5 if len(series) <= _FEW else 0.25,
                )  # fmt: skip
    if best:
        _name_points(axes, series[0], unit)
    axes.set_xlabel(f"mean cost of one image, {cost_column(unit)}")
    axes.set_ylabel("accuracy, %")


def _name_points(axes: Any, one: Series, unit: Unit) -> None:
    """Write tau beside the points of one series; labels that would lie on each other are left out."""
    points = [] if one.plain else [point for point in lines(one)[0] if point.accuracy is not None]
    left, right = axes.get_xlim()
    previous = None
    for point in points:
        here = scaled(point.costs.mean, unit)
        if previous is None or abs(here - previous) > 0.04 * (right - left):
            axes.annotate(
                tau(point.tau), (here, 100 * (point.accuracy or 0)), xytext=(0, 7),
                textcoords="offset points", ha="center", fontsize=8, color=look(one.place).colour,
            )  # fmt: skip
            previous = here


def _parts(axes: Any, series: list[Series], unit: Unit) -> None:
    """One group of bars for base, gate and an expert: experts are one graph with other weights."""
    names = {"base": "base", "gate": "gate", "expert": "an expert (mean)"}
    kinds = ("base",) if all(one.plain for one in series) else tuple(names)  # a plain network is its base
    width = 0.8 / len(series)
    for number, one in enumerate(series):
        spread = {part.name: part.spread for part in one.parts}
        experts = [part for part in one.parts if part.name not in names]
        cost = {row.name: row.cost for row in speeds(one)}
        for place, kind in enumerate(kinds):
            if (kind == "expert" and not experts) or (kind == "gate" and kind not in spread):  # of a plain network
                continue
            value = cost[kind] if kind != "expert" else cost.get(EXPERTS, experts[0].cost if experts else 0.0)
            low = spread[kind].p10 if kind != "expert" else min(part.spread.p10 for part in experts)
            high = spread[kind].p90 if kind != "expert" else max(part.spread.p90 for part in experts)
            error = _whiskers(scaled(value, unit), scaled(low, unit), scaled(high, unit))
            style = look(one.place)
            axes.bar(
                place - 0.4 + width * (number + 0.5), scaled(value, unit), width * 0.9, color=style.colour, yerr=error,
                error_kw={"linewidth": 0.8, "ecolor": "#444"}, label=None if place else one.label,
                hatch=_hatch(one), edgecolor="white", linewidth=0,
            )  # fmt: skip
    axes.set_xticks(range(len(kinds)), [names[kind] for kind in kinds])
    if len(kinds) == 1:
        axes.set_xlim(-1, 1)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(f"cost of one run, {cost_column(unit)}")


def _caption(content: Content) -> str:
    if len(content.results) > 1:
        return _plain(content.title)
    file = content.results[0]
    about = (
        f"{file.bundle.architecture}, {counted(file.bundle.experts)}, {file.data} ({plural(file.images, 'image')}), "
    )
    return _plain(f"{about}{plural(file.threads, 'thread')}") + f"\n{_plain(file.machine.processor)}"


def _plain(text: str, longest: int = 100) -> str:
    """Return text in which matplotlib sees no formulas, short enough for its place."""
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")
