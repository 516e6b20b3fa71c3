"""Charts with bars and rows: cost of plain networks, cost by part, the share of each expert, ratios to alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge_moe.benchmarks.report.compare import Beside, peer_name
from edge_moe.benchmarks.report.limits import EXPERTS, Speed, speeds
from edge_moe.benchmarks.report.plot import Json, View, axes, hover, whiskers
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.style import look, pattern
from edge_moe.benchmarks.report.words import cost, cost_column, macs, percent, scaled, tau
from edge_moe.benchmarks.results import Peer, Unit

__all__ = ["images", "parts", "peers", "shares"]

_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)
_MOST_BARS = 48  # in one view of the parts


def images(series: Sequence[Series], unit: Unit) -> View:
    """Return the cost of an image by each plain network, from p10 to p90: nothing in it depends on tau."""
    traces: list[Json] = []
    for one in series:
        (point,) = one.points
        value, s = scaled(point.costs.mean, unit), point.spread
        traces.append(
            {
                "type": "bar", "orientation": "h", "name": escape(one.label), "legendgroup": escape(one.label),
                "meta": {"label": one.label}, "x": [value], "y": [escape(one.label)],
                "marker": {"color": f"@{look(one.place).number}", "pattern": pattern(one.place)},
                **({} if s is None else {"error_x": whiskers([value], [scaled(s.p10, unit)], [scaled(s.p90, unit)])}),
                "text": [hover(one, point)], "textposition": "none", "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    layout = axes(f"cost of one image, {cost_column(unit)}", "")
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout |= {"barmode": "overlay", "bargap": 0.4}
    return View(f"cost, {cost_column(unit)}", traces, layout, rows=2 * len(series) + 2)


def parts(series: Sequence[Series], unit: Unit) -> list[View]:
    """Return one view of all parts of all sets; where these are too many, one for each set and one for all."""
    every = [(one, [row for row in speeds(one) if row.name != EXPERTS]) for one in series]
    if sum(len(rows) for _, rows in every) <= _MOST_BARS:
        return [_bars(every, unit, f"all, {cost_column(unit)}")]
    together = [(one, [row for row in speeds(one) if row.name in ("base", "gate", EXPERTS)]) for one in series]
    shown = "base" if all(one.plain for one in series) else "base, gate and a mean expert"
    return [
        _bars(together, unit, f"{shown} of all sets, {cost_column(unit)}"),
        *(_bars([pair], unit, pair[0].label) for pair in every),
    ]


def _bars(sets: Sequence[tuple[Series, list[Speed]]], unit: Unit, name: str) -> View:
    traces: list[Json] = []
    for one, rows in sets:
        spread = {part.name: part.spread for part in one.parts}
        style = look(one.place)
        costs = [scaled(row.cost, unit) for row in rows]
        lows = [scaled(spread[row.name].p10 if row.name in spread else row.cost, unit) for row in rows]
        highs = [scaled(spread[row.name].p90 if row.name in spread else row.cost, unit) for row in rows]
        traces.append(
            {
                "type": "bar", "orientation": "h", "name": escape(one.label), "legendgroup": escape(one.label),
                "meta": {"label": one.label}, "x": costs, "y": [_part_name(row.name) for row in rows],
                "marker": {"color": f"@{style.number}", "pattern": pattern(one.place)},
                "error_x": whiskers(costs, lows, highs),
                "text": [_part_hover(one, row) for row in rows],
                "textposition": "none", "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    layout = axes(f"cost of one run, {cost_column(unit)}", "")
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout |= {"barmode": "group", "bargap": 0.25}
    return View(name, traces, layout, rows=sum(len(rows) for _, rows in sets) + 2)


def shares(one: Series) -> View:
    """Return, for each operating point, which share of the images exits and which wakes each expert."""
    several = len({point.max_experts for point in one.points}) > 1
    taus = [p.tau for p in one.points]
    # With as many digits as it takes: bars of one name would be stacked on each other.
    plain = len({tau(value) for value in taus}) == len(set(taus))
    x = [
        (tau(p.tau) if plain else f"{p.tau:.6g}") + (f", up to {p.max_experts}" if several else "") for p in one.points
    ]
    exits = [p.costs.point.exit_rate for p in one.points]
    stacks = [("exit", "@exit", 0, exits)]
    for k in range(one.results.bundle.experts):
        stacks.append((f"expert {k}", f"@{look(k).number}", k, [p.expert_shares[k] for p in one.points]))
    traces = [
        {
            "type": "bar", "name": name, "legendgroup": name, "meta": {"label": name}, "x": x,
            "y": [100 * value for value in values],
            "marker": {"color": colour, "line": {"color": "@paper", "width": 1},
                       "pattern": pattern(number)},
            "text": [f"{escape(one.label)}, tau {at}<br>{name}: {percent(value)} of the images<br>"
                     f"gate ran: {percent(point.gate_share)}"
                     for at, value, point in zip(x, values, one.points, strict=True)],
            "textposition": "none", "hovertemplate": "%{text}<extra></extra>",
        }
        for name, colour, number, values in stacks
    ]  # fmt: skip
    layout = axes("tau" + (", and how many experts may run" if several else ""), "images, %")
    layout["xaxis"]["type"] = "category"
    return View(one.label, traces, layout | {"barmode": "stack", "bargap": 0.3})


def peers(one: Series, found: Sequence[Beside]) -> View | None:
    """Return the ratio of every alternative to one of our sets."""
    pairs = [pair for pair in found if pair.series is one]
    if not pairs:
        return None
    traces: list[Json] = []
    # One trace for each verdict: the legend says which is which without colour.
    for verdict, colour, symbol in (
        ("ours wins", "@0", "circle"),
        ("no difference seen", "@muted", "square"),
        ("ours loses", "@1", "diamond"),
    ):
        chosen = [pair for pair in pairs if pair.verdict == verdict]
        if not chosen:
            continue
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": verdict, "legendgroup": verdict,
                "meta": {"label": verdict},
                "x": [pair.ratio for pair in chosen], "y": [_two_lines(pair.peer) for pair in chosen],
                "marker": {"color": colour, "size": 10, "symbol": symbol},
                "error_x": {
                    "type": "data", "symmetric": False, "thickness": 1.4, "width": 4, "color": colour,
                    "array": [(pair.high or pair.ratio) - pair.ratio for pair in chosen],
                    "arrayminus": [pair.ratio - (pair.low or pair.ratio) for pair in chosen],
                },
                "text": [_peer_hover(pair) for pair in chosen], "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    layout = axes("its cost / ours", "")
    layout["xaxis"] |= {"type": "log", "tickvals": list(_RATIOS), "ticktext": [f"{ratio:g}" for ratio in _RATIOS]}
    names = list(dict.fromkeys(_two_lines(pair.peer) for pair in pairs))
    layout["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": names, "autorange": "reversed"}
    layout["shapes"] = [
        {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"color": "@muted", "width": 1.5, "dash": "dot"}}
    ]  # fmt: skip
    return View(one.label, traces, layout, rows=2 * len(names))


def _two_lines(peer: Peer) -> str:
    tau_of = "" if peer.tau is None else f", tau {tau(peer.tau)}"
    return f"{escape(peer.name)}<br>{escape(peer.backend)}/{escape(peer.recipe)}{tau_of}"


def _peer_hover(pair: Beside) -> str:
    unit = pair.series.unit
    where = "" if pair.series.plain else f" at tau {tau(pair.point.tau)}"
    lines = [
        f"<b>{escape(peer_name(pair.peer))}</b>: {cost(pair.cost, unit, named=True)}",
        f"{escape(pair.series.label)}{where}: {cost(pair.point.costs.mean, unit, named=True)}",
        f"ratio {pair.ratio:.3f}"
        + ("" if pair.low is None or pair.high is None else f" (95%: {pair.low:.3f} to {pair.high:.3f})")
        + f": {pair.verdict}",
    ]
    return "<br>".join(lines)


def _part_hover(one: Series, row: Speed) -> str:
    lines = [f"<b>{escape(one.label)}</b>, {_part_name(row.name)}", f"{cost(row.cost, one.unit, named=True)}"]
    lines.append(f"{macs(row.macs)} M MACs" + ("" if row.gmacs is None else f", {row.gmacs:.2f} GMAC/s"))
    lines += [f"{percent(share)} of the best {kind} product" for kind, share in row.of_best.items()]
    if not one.plain:
        lines.append(f"{percent(row.time_share)} of a prediction at tau {tau(one.middle.tau)}")
    return "<br>".join(lines)


def _part_name(name: str) -> str:
    return "an expert (mean)" if name == EXPERTS else escape(name.replace("expert_", "expert "))
