"""The tables of a report, as text in cells: the page, the markdown and the terminal show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.words import (
    accuracy,
    cost,
    cost_column,
    gib,
    interval,
    macs,
    mib,
    percent,
    steadiness,
    tau,
)
from edge_moe.benchmarks.results import PointCosts, Results, Unit, summary
from edge_moe.sizes import size_text
from edge_moe.text import counted

__all__ = ["HEADER", "Table", "header", "measured", "point_row", "points", "shares", "starts", "without_empty"]

HEADER = ("tau", "exit rate", "mean MACs (M)", "accuracy", "median", "p10", "p90", "mean", "mean / predicted")
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Table:
    """Text in cells; the first `words` columns are text, the others are numbers and stand on the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    title: str = ""
    marked: frozenset[int] = frozenset()  # rows that matter most


def without_empty(table: Table) -> Table:
    """Leave away columns in which nothing is known."""
    if not table.rows:
        return table
    kept = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        words=sum(i < table.words for i in kept),
    )


def header(*, several: bool = False) -> tuple[str, ...]:
    """Return the columns of `point_row`; `several`: max_experts is not the same at all points."""
    return (HEADER[0], "max experts", *HEADER[1:]) if several else HEADER


def point_row(timing: PointCosts, unit: Unit, *, several: bool = False) -> tuple[str, ...]:
    """Return the cells of one operating point, in the order of `header`; what is not known is empty."""
    point = timing.point
    s = summary(timing.raw) if timing.raw is not None and any(timing.raw) else None
    return (
        tau(point.tau),
        *([str(point.max_experts)] if several else []),
        percent(point.exit_rate),
        macs(point.mean_macs),
        accuracy(point.accuracy),
        *(["", "", ""] if s is None else [cost(value, unit) for value in (s.median, s.p10, s.p90)]),
        cost(timing.mean, unit),
        f"{timing.mean / timing.predicted:.3f}" if s is not None and timing.predicted else "",
    )


def measured(results: Sequence[Results], names: Sequence[str]) -> Table:
    """Return what was measured on what: a column for each file."""
    facts = [_facts(file) for file in results]
    rows = [(what, *(column.get(what, "") for column in facts)) for what in dict.fromkeys(k for f in facts for k in f)]
    return Table(("", *(f"{name}.json" for name in names)), tuple(rows), words=1 + len(names))


def _facts(file: Results) -> dict[str, str]:
    c, m, b = file.conditions, file.machine, file.bundle
    pinned = "not pinned or not told" if c.cpus is None else ", ".join(map(str, c.cpus))
    return {
        "Target": f"{file.target}, costs in {file.unit}",
        "Machine": f"{m.title}, {m.logical_cpus} logical CPUs, {gib(m.memory_bytes)} GiB, {m.system}",
        "Pinned to CPU": pinned,
        "Threads": str(file.threads),
        "Load before, after": f"{_number(c.load_before)}, {_number(c.load_after)}",
        "Taken by others": _UNKNOWN if c.others_share is None else percent(c.others_share),
        "Steadiness (slowest / fastest round of one computation)": steadiness(file) or _UNKNOWN,
        "Times throttled": _UNKNOWN if c.throttled is None else str(c.throttled),
        "Measured": f"{file.created}, {'1 sitting' if file.sittings == 1 else f'{file.sittings} sittings'}",
        "Rounds": f"{file.rounds} of {file.rounds_asked}" + ("" if file.complete else ", stopped early"),
        "Bundle": f"{b.name}{'' if b.trained else ', UNTRAINED'}: {b.architecture}, {counted(b.experts)}, "
        f"{b.classes} classes, {size_text(b.image_size)} pixels",
        "Answers decided by": f"rule {b.rule_sha256[:12]}{_digests(file)}",
        "Data": f"{file.data}: {file.images:,} images{_originals(file)}, "
        f"{'with' if file.labels is not None else 'without'} labels",
        "Samples": f"{len(file.timed):,} images x {file.rounds} rounds"
        f"{' at each operating point' if b.experts else ''}; seed {file.seed}",
        "Sets": ", ".join(f"{one.label} ({one.backend_version})" for one in file.sets),
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(file.versions.items())),
    }


def _digests(file: Results) -> str:
    """Return the digests of the sets, shortened, which 'edge-moe inspect' prints in full."""
    return "".join(f", {one.label} {one.digest[:12]}" for one in file.sets if one.digest is not None)


def points(one: Series) -> Table:
    """Return the operating points of a set; the accuracy comes with its interval."""
    several = len({point.max_experts for point in one.points}) > 1
    columns = header(several=several)
    place = columns.index("accuracy") + 1
    rows = []
    for point in one.points:
        row = point_row(point.costs, one.unit, several=several)
        what = point.costs.point
        rows.append((*row[:place], interval(what.accuracy_low, what.accuracy_high), *row[place:]))
    if one.plain:  # no tau, no exit rate: what is said of a mixture's settings
        first = columns.index("mean MACs (M)")
        rows, columns, place = [row[first:] for row in rows], ("MACs (M)", *columns[first + 1 :]), place - first
    unit = cost_column(one.unit)
    named = tuple(f"{name}, {unit}" if name in ("median", "p10", "p90", "mean") else name for name in columns)
    return without_empty(Table((*named[:place], "95% interval", *named[place:]), tuple(rows), words=0, title=one.label))


def shares(one: Series) -> Table:
    """Return which share of the validation images exits, runs the gate, and wakes each expert."""
    several = len({point.max_experts for point in one.points}) > 1
    rows = [
        (
            tau(point.tau),
            *([str(point.max_experts)] if several else []),
            percent(point.costs.point.exit_rate),
            percent(point.gate_share),
            *(percent(share) for share in point.expert_shares),
        )
        for point in one.points
    ]
    experts = tuple(f"expert {k}" for k in range(one.results.bundle.experts))
    columns = ("tau", *(("max experts",) if several else ()), "exits", "gate ran", *experts)
    return Table(columns, tuple(rows), words=0, title=one.label)


def starts(series: Sequence[Series]) -> Table:
    """Return size, cold start and peak memory of each set."""
    clocked = any(one.unit == "ms" for one in series)  # elsewhere a clock tells nothing about the target
    rows = []
    for one in series:
        size = sum(artifact.bytes for artifact in one.one.artifacts.values())
        ms, rss = one.one.cold_start_ms if one.unit == "ms" else (), one.one.peak_rss_bytes
        cold = f"{np.median(ms):.0f} ({min(ms):.0f} to {max(ms):.0f})" if ms else ""
        memory = f"{mib(float(np.median(rss)))} ({mib(min(rss))} to {mib(max(rss))})" if rss else ""
        rows.append((one.label, mib(size), *([cold] if clocked else []), memory, str(max(len(ms), len(rss)))))
    cold_column = ("cold start, ms, median (range)",) if clocked else ()
    columns = ("set", "artifacts, MiB", *cold_column, "peak memory, MiB, median (range)", "processes")
    return without_empty(Table(columns, tuple(rows)))


def _originals(file: Results) -> str:
    return "" if file.groups is None else f" (versions of {len(set(file.groups)):,} originals)"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}"
