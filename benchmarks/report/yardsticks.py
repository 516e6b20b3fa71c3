"""The tables that set figures beside a yardstick: the machine's best, fp32, and what one would do otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_moe.benchmarks.report.compare import Beside, SetsAlike, peer_name
from edge_moe.benchmarks.report.limits import best_products, native_dtype, speeds
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.tables import Table, without_empty
from edge_moe.benchmarks.report.words import cost, cost_column, macs, percent, sentence, tau
from edge_moe.benchmarks.results import Results

__all__ = ["about_peers", "agreement", "parts", "peers", "products"]


def parts(one: Series) -> Table:
    """Return what each part costs, how far it is from the machine's limits, and which has most to gain."""
    best = best_products(one.results)
    unit = cost_column(one.unit)
    order = sorted(best, key=lambda kind: kind != native_dtype(one.one.recipe))
    spread = {part.name: part.spread for part in one.parts}
    timed = one.unit == "ms"
    rows, marked = [], set()
    for number, row in enumerate(speeds(one)):
        s = spread.get(row.name)
        gain = "" if row.gain is None else percent(row.gain)
        rows.append(
            (
                row.name if s is not None else "experts together",
                macs(row.macs),
                *([cost(value, one.unit) for value in (s.median, s.p10, s.p90)] if s is not None else ["", "", ""]),
                cost(row.cost, one.unit),
                *([f"{row.gmacs:.2f}" if row.gmacs is not None else ""] if timed else []),
                *(percent(row.of_best[kind]) if kind in row.of_best else "" for kind in order),
                *([] if one.plain else [percent(row.time_share)]),
                *([gain + (" (most)" if row.most else "")] if best else []),
            )
        )
        if row.most:
            marked.add(number)
    columns = ("part", "MACs (M)", f"median, {unit}", f"p10, {unit}", f"p90, {unit}", f"cost, {unit}")
    columns += (
        *(("GMAC/s",) if timed else ()),
        *(f"of best {kind} product" for kind in order),
        *(() if one.plain else (f"share of {'time' if timed else 'cost'} at tau {tau(one.middle.tau)}",)),
        *(("to gain",) if best else ()),
    )
    return Table(columns, tuple(rows), title=one.label, marked=frozenset(marked))


def products(results: Sequence[Results], names: Sequence[str]) -> Table:
    """Return the large matrix products: what the machine reaches where nothing but arithmetic counts."""
    several = len(results) > 1
    rows = []
    for file, name in zip(results, names, strict=True):
        for limit in file.limits if file.unit == "ms" else ():
            median = float(np.median(limit.raw)) if limit.raw else 0.0
            if median > 0:
                shape = " x ".join(map(str, limit.shape))
                speed = (f"{median:.3f}", f"{limit.macs / median / 1e6:.1f}")
                rows.append((*([name] if several else []), limit.dtype, limit.library, shape, *speed))
    columns = ("dtype", "library", "matrix product", "median, ms", "GMAC/s")
    return Table((*(("file",) if several else ()), *columns), tuple(rows), words=3 + several)


def agreement(one: Series, found: Sequence[SetsAlike]) -> Table | None:
    """Return how alike a quantized set and fp32 of its backend answer and route; None: it was not compared."""
    pairs = [pair for pair in found if pair.series is one]
    if not pairs:
        return None
    title = f"{one.label} beside {pairs[0].reference.label}"
    if one.plain:
        return Table(("answers alike",), tuple((f"{a.answers:.2%}",) for a in pairs), words=0, title=title)
    several = len({pair.max_experts for pair in pairs}) > 1
    rows = tuple(
        (
            tau(a.tau),
            *([str(a.max_experts)] if several else []),
            f"{a.base:.2%}",
            f"{a.answers:.2%}",
            f"{a.routing:.2%}",
        )
        for a in pairs
    )
    columns = ("tau", *(("max experts",) if several else ()), "base answers alike", "answers alike", "routed alike")
    return Table(columns, rows, words=0, title=title)


def peers(one: Series, found: Sequence[Beside]) -> Table | None:
    """Return one of our sets beside the alternatives; None: it was compared with none."""
    pairs = [pair for pair in found if pair.series is one]
    unit = one.unit
    several = len({pair.point.tau for pair in pairs}) > 1
    rows = [
        (
            peer_name(pair.peer),
            pair.verdict,
            *([tau(pair.point.tau)] if several else []),
            cost(pair.point.costs.mean, unit),
            cost(pair.cost, unit),
            f"{pair.ratio:.3f}",
            "" if pair.low is None or pair.high is None else f"{pair.low:.3f} to {pair.high:.3f}",
            "" if pair.ends is None else f"{pair.ends[0]:.3f}, {pair.ends[1]:.3f}",
        )
        for pair in pairs
    ]
    if not rows:
        return None
    points = sorted(point.tau for point in one.points if point.max_experts == one.middle.max_experts)
    name, ends = cost_column(unit), f"at tau {tau(points[0])}, {tau(points[-1])}"
    columns = ("alternative", "verdict", *(("our tau",) if several else ()), f"our cost, {name}", f"its cost, {name}")
    columns += ("its cost / ours", "95% over rounds", ends)
    where = "" if several or one.plain else f" at tau {tau(pairs[0].point.tau)}"
    marked = frozenset(number for number, pair in enumerate(pairs) if pair.verdict == "ours loses")
    return without_empty(Table(columns, tuple(rows), words=2, title=f"Beside {one.label}{where}", marked=marked))


def about_peers(results: Sequence[Results]) -> tuple[tuple[str, str], ...]:
    """Return what each alternative is, and why it was not measured if it was not; those that share both, together."""
    whose: dict[tuple[str, str], list[str]] = {}
    for file in results:
        for peer in file.peers:
            missing = "" if peer.raw is not None else f"not measured: {peer.missing or 'no reason given'}"
            about = ". ".join(sentence(text).rstrip(".") for text in (peer.about, missing) if text)
            whose.setdefault((peer.name, about + "."), []).append(str(peer.key))
    return tuple((f"{name} ({', '.join(dict.fromkeys(sets))})", about) for (name, about), sets in whose.items())
