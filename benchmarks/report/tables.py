"""The tables of a report: of each row, heading -> text, the same on the page, in markdown and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_moe.benchmarks import five_runs
from edge_moe.benchmarks.measured import PointCosts
from edge_moe.benchmarks.report.compare import Beside, SetsAlike, peer_name
from edge_moe.benchmarks.report.series import Part, Series, best_products, native_dtype
from edge_moe.benchmarks.report.words import accuracy, interval, listed, macs, percent, plural, sentence, tau
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.samples import typical
from edge_moe.benchmarks.units import Unit
from edge_moe.sizes import size_text
from edge_moe.text import counted

__all__ = ["HEADER", "Table", "about_peers", "alike_cells", "header", "limits", "measured", "of_set",
           "part_cells", "peer_cells", "point_row", "starts", "table_of", "wins"]  # fmt: skip

HEADER = ("tau", "exit rate", "mean MACs (M)", "accuracy", "median", "p10", "p90", "mean", "mean / predicted")
_WORDS = frozenset({"", "set", "part", "file", "dtype", "library", "matrix product", "alternative", "verdict",
                    "backend", "wins", "on", "in", "way"})  # fmt: skip
_OF_MIXTURES, _OF_PLAIN = ("tau", "max experts", "exit rate"), {"mean MACs (M)": "MACs (M)"}
_NO_KERNEL = 10.0  # times slower than the best
_VARY = frozenset({"max experts", "our tau"})  # only told where they are not the same in every row

Cells = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Text in cells; the first `words` columns are text, the others are numbers and stand on the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    title: str = ""
    marked: frozenset[int] = frozenset()  # rows that matter most


def table_of(cells: Iterable[Mapping[str, str]], title: str = "", marked: Iterable[bool] = ()) -> Table:
    """Return a table of the columns of which anything is known."""
    rows = list(cells)
    found = {name: [row.get(name, "") for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    kept = {name: texts for name, texts in found.items() if any(texts) and len(set(texts)) > (name in _VARY)}
    bold = frozenset(number for number, mark in enumerate(marked) if mark)
    return Table(
        tuple(kept), tuple(zip(*kept.values(), strict=True)), sum(name in _WORDS for name in kept), title, bold
    )


def _spread(unit: Unit, *values: float | None) -> Cells:
    """Return median, p10, p90 and, if it is given, p99; none where one is not known."""
    texts = ["" if None in values or value is None else unit.digits(value) for value in values]
    return {f"{name}, {unit.shown}": text for name, text in zip(("median", "p10", "p90", "p99"), texts, strict=False)}


def _point_cells(point: PointCosts, unit: Unit) -> Cells:
    what, s, mean, predicted = point.point, point.spread, point.mean, point.predicted
    return {
        # What is looked for first: a phone shows no more than the first columns.
        "tau": tau(what.tau), "max experts": str(what.max_experts), f"mean, {unit.shown}": unit.digits(mean),
        "accuracy": "" if what.accuracy is None else accuracy(what.accuracy), "exit rate": percent(what.exit_rate),
        "mean MACs (M)": macs(what.mean_macs), "95% interval": interval(what.accuracy_low, what.accuracy_high),
        **_spread(unit, *((s.median, s.p10, s.p90, s.p99) if s else (None,) * 4)),
        "mean / predicted": f"{mean / predicted:.3f}" if s and predicted else "",
    }  # fmt: skip


def header(*, several: bool = False) -> tuple[str, ...]:
    """Return the columns of `point_row`; `several`: max_experts is not the same at all points."""
    return (HEADER[0], "max experts", *HEADER[1:]) if several else HEADER


def point_row(timing: PointCosts, unit: Unit, *, several: bool = False) -> tuple[str, ...]:
    """Return the cells of one operating point, in the order of `header`; what is not known is empty."""
    cells = {name.split(",")[0]: text for name, text in _point_cells(timing, unit).items()}
    return tuple(cells[name] for name in header(several=several))


def part_cells(one: Series, part: Part) -> Cells:
    """Return what a part costs, how far it is from the machine's limits, and what can be gained."""
    unit, kinds = one.unit, sorted(part.of_best, key=lambda kind: kind != native_dtype(one.one.recipe))
    share = f"share of {'time' if unit.is_time else 'cost'} at tau {tau(one.middle.tau)}"
    return {
        "part": part.name, "MACs (M)": macs(part.macs), **_spread(unit, part.median, part.low, part.high),
        f"cost, {unit.shown}": unit.digits(part.cost), **_more_cells(one, part.name),
        "GMAC/s": "" if part.gmacs is None else f"{part.gmacs:.2f}",
        **{f"of best {kind} product": percent(part.of_best[kind]) for kind in kinds},
        share: "" if one.plain else percent(part.time_share),
        "to gain": "" if part.gain is None else percent(part.gain) + (" (most)" if part.most else ""),
    }  # fmt: skip


def _more_cells(one: Series, name: str) -> Cells:
    """Return a part's costs in the target's other units, between which its estimate lies, and what waking it takes."""
    unit, found = one.unit, {part.part: part for part in one.one.parts}.get(name)
    others = [] if found is None else [(each, found.others.get(each.name)) for each in one.results.opening.units[1:]]
    cells = {each.shown: each.digits(typical(raw)) for each, raw in others if raw}
    if found is not None and found.bounds is not None:
        cells["between"] = " and ".join(map(unit.digits, found.bounds))
    if found is not None and found.waking:
        waking = float(np.median(found.waking))
        cells |= {
            f"waking, {unit.shown}": unit.digits(waking),
            "waking / cost": f"{waking / found.cost:.1f}" if found.cost else "",
        }
    return cells


def _file_cells(one: Series, point: PointCosts) -> Cells:
    """Return what an answer costs from the tensor on and from the file on, each beside always an expert."""
    unit, mean, always = one.unit, point.mean, one.lines[point.point.max_experts][0].mean
    before = one.results.preprocessing or 0.0
    texts = {since: unit.digits(cost) for since, cost in (("tensor", mean), ("file", before + mean))}
    less = {"tensor": 1 - mean / always, "file": 1 - (before + mean) / (before + always)} if always else {}
    setting = {} if one.plain else {"tau": tau(point.tau), "max experts": str(point.point.max_experts)}
    return {
        **setting, **{f"from the {since}, {unit.shown}": text for since, text in texts.items()},
        **{f"saved from the {since}": "" if one.plain else percent(share) for since, share in less.items()},
    }  # fmt: skip


def alike_cells(found: SetsAlike) -> Cells:
    """Return how alike two sets answer and route."""
    what, answers = found.point.point, {"answers alike": accuracy(found.answers)}
    setting = {"tau": tau(what.tau), "max experts": str(what.max_experts), "base answers alike": accuracy(found.base)}
    return answers if found.series.plain else {**setting, **answers, "routed alike": accuracy(found.routing)}


def peer_cells(pair: Beside) -> Cells:
    """Return an alternative beside one of our sets."""
    unit, line = pair.series.unit, pair.series.line
    return {
        "alternative": peer_name(pair.peer), "verdict": pair.verdict,
        "our tau": "" if pair.series.plain else tau(pair.point.tau),
        f"our cost, {unit.shown}": unit.digits(pair.point.mean),
        f"its cost, {unit.shown}": unit.digits(pair.cost), "its cost / ours": f"{pair.ratio:.3f}",
        "95% over rounds": "" if pair.low is None or pair.high is None else f"{pair.low:.3f} to {pair.high:.3f}",
        f"at tau {tau(line[0].tau)}, {tau(line[-1].tau)}":
            "" if pair.ends is None else f"{pair.ends[0]:.3f}, {pair.ends[1]:.3f}",
    }  # fmt: skip


def of_set(one: Series, alike: Sequence[SetsAlike], beside: Sequence[Beside]) -> dict[str, Table]:
    """Return by section what is told of one set; without a row where it was not compared."""
    points = [_point_cells(point, one.unit) for point in one.points]
    if one.plain:  # neither tau nor exit rate
        points = [{_OF_PLAIN.get(name, name): row[name] for name in row if name not in _OF_MIXTURES} for row in points]
    shares = [
        {"tau": tau(p.tau), "max experts": str(p.point.max_experts), "exits": percent(p.point.exit_rate),
         "gate ran": percent(ran.gate_share), **{f"expert {k}": percent(s) for k, s in enumerate(ran.expert_shares)}}
        for p in one.points for ran in [p.decided] if not one.plain
    ]  # fmt: skip
    references = [f" beside {pair.reference.label}" for pair in alike if pair.series is one][:1]
    pairs = [pair for pair in beside if pair.series is one]
    taus = {tau(pair.point.tau) for pair in pairs}
    where = f" at tau {taus.pop()}" if len(taus) == 1 and not one.plain else ""
    return {
        "points": table_of(points, one.counted),
        "file": table_of(
            [_file_cells(one, point) for point in one.points if one.results.preprocessing is not None], one.counted
        ),
        "limits": table_of(
            [part_cells(one, part) for part in one.parts], one.counted, (part.most for part in one.parts)
        ),
        "shares": table_of(shares, one.label),
        "agreement": table_of(
            [alike_cells(pair) for pair in alike if pair.series is one], "".join([one.label, *references])
        ),
        "peers": table_of(
            map(peer_cells, pairs), f"Beside {one.label}{where}", (p.verdict == "ours loses" for p in pairs)
        ),
    }


def limits(results: Sequence[Results], names: Sequence[str]) -> Table:
    """Return the large matrix products: what the machine reaches where nothing but arithmetic counts.

    A library that takes ten times as long as another has no kernel for it, and says nothing of the machine.
    """
    return table_of([{
        "file": name if len(results) > 1 else "", "dtype": limit.dtype, "library": limit.library,
        "matrix product": " x ".join(map(str, limit.shape)), "median, ms": f"{limit.median_ms:.3f}",
        "GMAC/s": f"{limit.gmacs:.1f}",
    } for file, name in zip(results, names, strict=True) for limit in file.limits
      if limit.gmacs * _NO_KERNEL >= best_products(file).get(limit.dtype, math.inf)])  # fmt: skip


def wins(series: Sequence[Series], names: Sequence[str]) -> Table:
    """Return which recipe of each backend is the cheapest in each file, and how many times that the others cost."""
    found: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        found.setdefault((names[one.file], one.one.backend), []).append(one)
    cells = []
    for (file, backend), sets in found.items():
        first, *others = sorted(sets, key=lambda one: one.awake)
        beside = ", ".join(f"{one.one.recipe} {one.awake / first.awake:.2f}" for one in others if first.awake)
        cells.append({
            "file": file, "backend": backend, "wins": first.one.recipe, "it costs": first.unit.text(first.awake),
            "of that, the base": "" if first.plain else percent(first.base / first.awake),
            "the others, times that": beside,
        })  # fmt: skip
    return table_of(cells if len(set(names)) > 1 else [])


def starts(series: Sequence[Series]) -> Table:
    """Return size, cold start and peak memory of each set."""

    def told(values: Sequence[float], digits: int) -> str:
        middle, low, high = (f"{value:.{digits}f}" for value in (np.median(values), min(values), max(values)))
        return f"{middle} ({low} to {high})"

    # Where costs are no times, a clock tells nothing about the target.
    known = [(one, one.one.cold_start_ms if one.unit.is_time else (), one.one.peak_rss_bytes) for one in series]
    return table_of([{
        "set": one.label, "artifacts, MiB": f"{sum(each.bytes for each in one.one.artifacts.values()) / (1 << 20):.1f}",
        "cold start, ms, median (range)": told(cold, 0) if cold else "",
        "peak memory, MiB, median (range)": told([size / (1 << 20) for size in rss], 1) if rss else "",
        "processes": str(max(len(cold), len(rss))),
    } for one, cold, rss in known])  # fmt: skip


def about_peers(results: Sequence[Results]) -> list[tuple[str, str]]:
    """Return what each alternative is, and why it was not measured if it was not; those that share both, together."""
    whose: dict[tuple[str, str], list[str]] = {}
    for peer in (peer for file in results for peer in file.peers):
        missing = "" if peer.raw is not None else f"not measured: {peer.missing or 'no reason given'}"
        about = " ".join(sentence(text) for text in (peer.about, missing) if text)
        whose.setdefault((peer.name, about), []).append(str(peer.key))
    return [(f"{name} ({', '.join(dict.fromkeys(sets))})", about) for (name, about), sets in whose.items()]


def measured(results: Sequence[Results], names: Sequence[str]) -> Table:
    """Return what was measured on what: a column for each file."""
    facts = [_facts(file) for file in results]
    names_of = dict.fromkeys(what for column in facts for what in column)
    rows = tuple((what, *(column.get(what, "") for column in facts)) for what in names_of)
    return Table(("", *(f"{name}.json" for name in names)), rows, words=1 + len(names))


def _facts(file: Results) -> Cells:
    c, m, b, unknown = file.conditions, file.machine, file.bundle, "unknown"
    loads = (unknown if load is None else f"{load:.2f}" for load in (c.load_before, c.load_after))
    steady = f"{max(c.probe) / min(c.probe):.3f}" if c.probe and min(c.probe) > 0 else unknown
    digests = (f", {one.label} {one.digest[:12]}" for one in file.sets)
    originals = "" if file.groups is None else f" (versions of {len(set(file.groups)):,} originals)"
    cpus = "" if m.logical_cpus is None else f"{m.logical_cpus} logical CPUs"
    memory = "" if m.memory_bytes is None else f"{m.memory_bytes / (1 << 30):.1f} GiB"
    each, size = " at each operating point" * bool(b.experts), f"{b.classes} classes, {size_text(b.image_size)} pixels"
    return {
        "Target": f"{file.target}, costs in {_obtained(file)}",
        "Machine": ", ".join(filter(None, (m.title, cpus, memory, m.system))),
        "Pinned to CPU": "not pinned or not told" if c.cpus is None else ", ".join(map(str, c.cpus)),
        "Threads": str(file.threads), "Load before, after": ", ".join(loads),
        "Taken by others": unknown if c.others_share is None else percent(c.others_share),
        "Steadiness (slowest / fastest round of one computation)": steady,
        "Times throttled": unknown if c.throttled is None else str(c.throttled),
        "Measured": f"{file.created}, {plural(file.sittings, 'sitting')}",
        "Rounds": f"{file.rounds} of {file.rounds_asked}{'' if file.complete else ', stopped early'}",
        **({"Five runs": told} if (told := five_runs.told(file.rounds_apart)) else {}),
        "Bundle": f"{b.name}{'' if b.trained else ', UNTRAINED'}: {b.architecture}, {counted(b.experts)}, {size}",
        "Answers decided by": f"rule {b.rule_sha256[:12]}{''.join(digests)}",  # 'edge-moe inspect' has them in full
        "Data": f"{file.data}: {file.images:,} images{originals}, with{'out' if file.labels is None else ''} labels",
        "Samples": f"{len(file.timed):,} images x {file.rounds} rounds{each}; seed {file.seed}",
        "Sets": ", ".join(f"{one.label} ({one.backend_version})" for one in file.sets),
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(file.versions.items())),
        **_told(file), **{f"{name} (told)": str(fact) for name, fact in (m.facts | file.opening.facts).items()},
        **_by_round(file),
    }  # fmt: skip


def _by_round(file: Results) -> Cells:
    """Return what was seen in every round: between which numbers it was, or all that it was."""
    seen: dict[str, list[Any]] = {}
    for line in file.lines:
        for name, fact in ({} if line.seen is None else line.seen.facts).items():
            seen.setdefault(name, []).append(fact)
    found = {}
    for name, facts in seen.items():
        numbers = [fact for fact in facts if isinstance(fact, int | float) and not isinstance(fact, bool)]
        ends = sorted(numbers)[:: max(1, len(numbers) - 1)] if len(numbers) == len(facts) else facts
        words = "to" if len(numbers) == len(facts) else "and"
        found[f"{name} (told, by round)"] = f" {words} ".join(dict.fromkeys(map(str, ends)))
    return found


def _obtained(file: Results) -> str:
    """Return its units, and where their figures are from, once where it is the same for several."""
    found: dict[str, list[str]] = {}
    for unit in file.opening.units:
        found.setdefault(file.obtained(unit.name), []).append(unit.name)
    return ", ".join(f"{listed(units)} ({how})" for how, units in found.items())


def _told(file: Results) -> Cells:
    """Return what not every target tells, and whose decisions are costed where they are another's."""
    others = [f"{one.label}: {one.decided_by} on {one.recorded.routing.where}" for one in file.sets if one.decided_by]
    tools = {f"{one.tool} {one.version}" for parts in file.opening.compiled.values() for one in parts.values()}
    there = [(one.label, one.recorded.there, one.agreement_there) for one in file.sets]
    alike = [point.routed_alike for one in file.sets for point in one.points if point.routed_alike is not None]
    found = {
        "Decided by": ", ".join(others), "Compiled by": ", ".join(sorted(tools)),
        "Answered there as here": ", ".join(
            f"{label} {accuracy(same[0])} and routed {accuracy(same[1])} of {len(asked.images)} images"
            for label, asked, same in there if asked and same
        ),
        "Predictions that ran what the decisions say": accuracy(min(alike)) if alike else "",
    }  # fmt: skip
    return {name: text for name, text in found.items() if text}
