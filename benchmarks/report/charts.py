"""The charts as data: what is drawn where, and what the pointer that rests on it is told. Page and pictures draw it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from edge_moe.benchmarks.measured import PointCosts
from edge_moe.benchmarks.report.compare import Beside, SetsAlike, peer_name
from edge_moe.benchmarks.report.series import EXPERTS, Series, front
from edge_moe.benchmarks.report.tables import alike_cells, part_cells, peer_cells
from edge_moe.benchmarks.report.words import Look, accuracy, interval, look, macs, percent, plural, tau
from edge_moe.benchmarks.units import Unit

__all__ = ["Dot", "Mark", "View", "draw", "lines", "over_tau"]

_TAU, _TAU_RANGE = "tau (larger: more images exit early)", (-0.03, 1.03)
_QUANTILES = [*np.linspace(0, 0.9, 91).tolist(), *np.linspace(0.905, 0.99, 18).tolist(), 0.995, 0.999, 1.0]
_MOST_BARS = 48  # in one view of the parts
_WHISKERS = "whiskers from p10 to p90"
_VERDICTS = {"ours wins": Look("@0"), "no difference seen": Look("@muted", symbol="square"),
             "ours loses": Look("@1", symbol="diamond")}  # fmt: skip


@dataclass(frozen=True)
class Dot:
    """A point, or the end of a bar."""

    x: Any  # a number, or a name where the axis holds names
    y: Any
    told: Sequence[str]  # to the pointer, in lines
    low: float | None = None  # where its whisker ends, or the band of its line
    high: float | None = None
    median: float | None = None  # these two are for pictures, which have no pointer
    tag: str = ""


@dataclass(frozen=True)
class Mark:
    """What one name of a legend stands for."""

    name: str
    look: Look
    dots: Sequence[Dot]
    shape: Literal["line", "level", "points", "bar", "front"] = "line"  # level: a line without markers; front: Pareto's
    note: str = ""  # to its name, in pictures


@dataclass(frozen=True)
class View:
    """One way to look at a chart."""

    name: str
    x: str  # titles of the axes
    y: str
    marks: Sequence[Mark]
    untrained: bool
    pictured: str = ""  # what its ends are, for the heading of its picture; empty: it has none
    rows: Sequence[str] = ()  # the names on y, the first on top; whiskers then lie along x
    stacked: bool = False  # bars on each other, over names
    band: bool = False  # whiskers become a band; y begins at 0
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    ratios: bool = False  # x is logarithmic, with a line at 1


def draw(series: Sequence[Series], agreements: Sequence[SetsAlike], beside: Sequence[Beside]) -> dict[str, list[View]]:
    """Return section -> the views between which its reader can switch; those without anything to show are left out."""
    units = [(u, [one for one in series if one.unit == u]) for u in dict.fromkeys(one.unit for one in series)]
    found: dict[str, Iterable[View]] = {
        "cost": [*(_cost(group, unit) for unit, group in units), *([_beside_base(series)] if len(units) > 1 else [])],
        "accuracy": [*(_accuracy(group, unit) for unit, group in units), _accuracy(series, None)],
        "samples": map(_samples, series),
        "parts": [view for unit, group in units for view in _parts(group, unit)],
        "shares": [_shares(one) for one in series if not one.plain],
        "agreement": [_agreement(series, agreements, what) for what in ("answers", "routing")],
        "peers": [_peers(one, beside) for one in series],
    }
    return {key: kept for key, views in found.items() if (kept := [view for view in views if view.marks])}


def _view(name: str, x: str, y: str, group: Sequence[Series], marks: Iterable[Mark], **more: Any) -> View:
    trained = any(one.results.bundle.trained for one in group)
    return View(name, x, y, [mark for mark in marks if mark.dots], untrained=not trained, **more)


def over_tau(name: str, y: str, group: Sequence[Series], marks: Iterable[Mark], **more: Any) -> View:
    """Return a view against tau; `more`: of its fields."""
    return _view(name, _TAU, y, group, marks, x_range=_TAU_RANGE, **more)


def lines(series: Sequence[Series]) -> Iterable[tuple[Series, list[PointCosts], str, Look]]:
    """Yield series, points in the order of tau, name and look for each max_experts of each series."""
    for one in series:
        for turn, (most, points) in enumerate(one.lines.items()):
            name = one.counted if len(one.lines) == 1 else f"{one.counted}, up to {most}"
            yield one, points, name, replace(look(one.place), symbol=look(one.place + 6 * turn).symbol)


def _cost(group: Sequence[Series], unit: Unit) -> View:
    """Against tau, with bands from p10 to p90; of plain networks alone, a bar for each."""
    name, title = f"cost, {unit.shown}", f"cost of one image, {unit.shown}"

    def dot(one: Series, point: PointCosts, x: float) -> Dot:
        s = point.spread
        ends = () if s is None else map(unit.scaled, (s.p10, s.p90, s.median))
        return Dot(x, unit.scaled(point.mean), _of_point(one, point), *ends)

    if all(one.plain for one in group):
        dots = [(one, dot(one, one.points[0], 0.0)) for one in group]
        marks = [Mark(one.counted, look(one.place), [replace(d, x=d.y, y=one.counted)], "bar") for one, d in dots]
        return _view(name, f"mean {title}", "", group, marks, rows=[m.name for m in marks], pictured=_WHISKERS)
    marks = []
    for one, points, label, style in lines(group):
        if one.plain:  # costs as much whatever tau is
            level = [dot(one, points[0], x) for x in (0.0, 1.0)]
            marks.append(Mark(label, style, level, "level", note=", a plain network"))
        else:
            marks.append(Mark(label, style, [dot(one, point, point.tau) for point in points]))
    return over_tau(name, title, group, marks, band=True, pictured="bands from p10 to p90")


def _beside_base(series: Sequence[Series]) -> View:
    """Against tau, divided by what the set's own base costs by itself: the same for every unit."""
    marks = [
        Mark(label, style, [Dot(p.tau, p.mean / one.base, _of_point(one, p)) for p in points if one.base])
        for one, points, label, style in lines([one for one in series if not one.plain])
    ]
    name = "beside its base"
    return over_tau(name, "cost of one image / its base", series, marks, pictured=name)


def _accuracy(group: Sequence[Series], unit: Unit | None) -> View:
    """Against measured cost in `unit`, or against MACs where it is None."""

    def dot(one: Series, point: PointCosts) -> Dot:
        what = point.point
        x = what.mean_macs / 1e6 if unit is None else unit.scaled(point.mean)
        y, low, high = (100 * (share or 0.0) for share in (what.accuracy, what.accuracy_low, what.accuracy_high))
        return Dot(x, y, _of_point(one, point), low, high, tag="" if one.plain else tau(point.tau))

    marks = []
    for one, points, label, style in lines(group):
        marks.append(Mark(label, style, [dot(one, p) for p in points if p.point.accuracy is not None]))
    every = [(d.x, d.y) for mark in marks for d in mark.dots]
    best = [Dot(*every[i], ()) for i in front(every)]
    marks.append(Mark("Pareto front", Look("@muted", symbol="circle-open"), best, "front"))
    name, what, pictured = "MACs", "MACs of one image, millions", ""
    if unit is not None:
        name, what = f"cost, {unit.shown}", f"cost of one image, {unit.shown}"
        pictured = "bars: 95% intervals" + ("; grey: Pareto front" if len(best) > 1 else "")
    return _view(name, f"mean {what}", "accuracy, %", group, marks, pictured=pictured)


def _samples(one: Series) -> View:
    """All samples of the two ends and the middle, as the share that cost at most so much."""
    unit, raw = one.unit, {p: np.ravel(p.raw) for p in one.line if p.raw is not None}
    chosen = dict.fromkeys([one.line[0], one.middle, one.line[-1]] if len(raw) == len(one.line) else [])
    marks, of_plain = [], one.counted if one.plain else ""
    for place, point in enumerate(chosen):
        name, costs = of_plain or f"tau {tau(point.tau)}", np.quantile(raw[point], _QUANTILES).tolist()
        told = [(name, f"{share:.1%} of predictions", f"took at most {unit.text(cost)}")
                for share, cost in zip(_QUANTILES, costs, strict=True)]  # fmt: skip
        xy = zip(map(unit.scaled, costs), (100 * share for share in _QUANTILES), told, strict=True)
        marks.append(Mark(name, look(place), [Dot(*each) for each in xy], "level"))
    # The slowest few would press all others against the axis; they are there when the reader zooms out.
    every = np.concatenate([*raw.values(), []]) if marks else np.ones(1)
    low, high = map(unit.scaled, np.quantile(every, [0, 0.99]).tolist())
    ranges = {"x_range": (max(0.0, low - 0.1 * (high - low)), high + 0.15 * (high - low)), "y_range": (0.0, 100.0)}
    x, y = f"cost of one prediction, {unit.shown}", "predictions, % that took at most this"
    return _view(one.counted, x, y, [one], marks, **ranges)


def _parts(group: Sequence[Series], unit: Unit) -> list[View]:
    """Return all parts of all sets; and base, gate and a mean expert, which come first where the parts are too many."""

    def bars(name: str, sets: Sequence[Series], *, mean: bool) -> View:
        marks, rows = [], {"base": 0, "gate": 1}
        for one in sets:
            dots = {}
            for part in one.parts if mean else (part for part in one.parts if part.name != EXPERTS):
                row = "an expert (mean)" if mean and part.name not in rows else part.name.replace("_", " ")
                cost, low, high = map(unit.scaled, (part.cost, part.low, part.high))
                dots[row] = Dot(cost, row, _told(one.counted, part_cells(one, part)), low, high)
            marks.append(Mark(one.counted, look(one.place), list(dots.values()), "bar"))
        names = sorted({dot.y for mark in marks for dot in mark.dots}, key=lambda row: (rows.get(row, 2), row))
        pictured = _WHISKERS if mean else ""
        return _view(name, f"cost of one run, {unit.shown}", "", sets, marks, rows=names, pictured=pictured)

    plain, whole = all(one.plain for one in group), bars(f"all, {unit.shown}", group, mean=False)
    together = bars(f"base{'' if plain else ', gate and a mean expert'} of all sets, {unit.shown}", group, mean=True)
    if sum(len(mark.dots) for mark in whole.marks) > _MOST_BARS:
        return [together, *(bars(one.counted, [one], mean=False) for one in group)]
    return [together] if plain else [whole, together]


def _shares(one: Series) -> View:
    """For each operating point, which share of the images exits and which wakes each expert."""
    several, taus = len(one.lines) > 1, [tau(p.tau) for p in one.points]
    if len(set(taus)) < len({p.tau for p in one.points}):  # bars of one name would be stacked on each other
        taus = [f"{p.tau:.6g}" for p in one.points]
    names = [f"{at}, up to {p.point.max_experts}" if several else at for at, p in zip(taus, one.points, strict=True)]
    gates = [f"gate ran: {percent(p.decided.gate_share)}" for p in one.points]

    def stack(name: str, style: Look, shares: Iterable[float]) -> Mark:
        dots = [Dot(x, 100 * share, (f"{one.counted}, tau {x}", f"{name}: {percent(share)} of the images", gate))
                for x, share, gate in zip(names, shares, gates, strict=True)]  # fmt: skip
        return Mark(name, style, dots, "bar")

    marks = [stack("exit", Look("@exit"), [p.point.exit_rate for p in one.points])]
    for k in range(one.results.bundle.experts):
        marks.append(stack(f"expert {k}", look(k), [p.decided.expert_shares[k] for p in one.points]))
    title = "tau, and how many experts may run" if several else "tau"
    return _view(one.counted, title, "images, %", [one], marks, stacked=True)


def _agreement(series: Sequence[Series], found: Sequence[SetsAlike], what: Literal["answers", "routing"]) -> View:
    """How alike quantized sets and fp32 answer, or route, against tau; of a plain network the table tells."""
    dots = {}
    for a in (a for a in found if not a.series.plain):
        told = _told(f"{a.series.label} and {a.reference.label}", alike_cells(a))
        dots[a.point] = Dot(a.point.tau, 100 * (a.answers if what == "answers" else a.routing), told)
    marks = [Mark(name, style, [dots[p] for p in points if p in dots]) for _, points, name, style in lines(series)]
    y = f"images {'answered' if what == 'answers' else 'routed'} alike, %"
    return over_tau(what, y, series, marks)


def _peers(one: Series, found: Sequence[Beside]) -> View:
    """Ratios of the alternatives to one of our sets, marked by verdict."""
    marks, pairs = [], [pair for pair in found if pair.series is one]
    for verdict, style in _VERDICTS.items():
        dots = [
            Dot(p.ratio, peer_name(p.peer, lines=True), _told(one.label, peer_cells(p)), p.low, p.high)
            for p in pairs if p.verdict == verdict
        ]  # fmt: skip
        marks.append(Mark(verdict, style, dots, "points"))
    rows = list(dict.fromkeys(peer_name(pair.peer, lines=True) for pair in pairs))
    return _view(one.label, "its cost / ours", "", [one], marks, rows=rows, ratios=True)


def _told(head: str, cells: Mapping[str, str]) -> list[str]:
    return [head, *(f"{name}: {text}" for name, text in cells.items() if text)]


def _of_point(one: Series, point: PointCosts) -> list[str]:
    what, s, unit = point.point, point.spread, one.unit
    found = [one.counted]
    if one.plain:
        found.append(f"a plain network, {macs(what.mean_macs)} M MACs")
    else:
        found.append(f"tau {tau(what.tau)}, at most {plural(what.max_experts, 'expert')}")
        found.append(f"exit rate {percent(what.exit_rate)}, {macs(what.mean_macs)} M MACs")
    if what.accuracy is not None:
        found.append(f"accuracy {accuracy(what.accuracy)} ({interval(what.accuracy_low, what.accuracy_high)})")
    found.append(f"mean {unit.text(point.mean)}" + ("" if s else ", predicted from its parts"))
    if s is not None:
        spread = {"median": s.median, "p10": s.p10, "p90": s.p90, "p99": s.p99}
        found.append(", ".join(f"{name} {unit.digits(value)}" for name, value in spread.items()))
    return found
