"""edge-moe choose."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from edge_moe.cli.console import console, say, say_json
from edge_moe.cli.extras import require
from edge_moe.cli.promising import default_of, promised, write_choice
from edge_moe.cli.sets import Backend, Recipe, Set, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_moe.benchmarks.decide.choose import Choice, Wish
    from edge_moe.benchmarks.decide.matching import Match
    from edge_moe.benchmarks.decide.operating_points import Candidate, Figures, Quantity, Statistic

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("choose")(choose)


def choose(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")],
    results: Annotated[Path, typer.Option(help="The results.json of 'edge-moe bench' for this bundle.")],
    max_latency_ms: Annotated[float | None, typer.Option(help="Of one image, see --statistic.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="The same in the unit of the results, such as cycles.")] = None,
    max_macs: Annotated[
        float | None, typer.Option(help="Multiply-accumulates of the mean image, in full: 24e6.")
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            help="A wish: percentage points against tau = 0 with the fewest experts measured, as seen on half of the "
            "images. What is to hold for others has to be promised: --promise."
        ),
    ] = None,
    exit_rate: Annotated[float | None, typer.Option(help="Share of the images that exits, at least; 0 to 1.")] = None,
    promise: Annotated[
        str | None,
        typer.Option(
            help="What tau has to keep for all images that could come, with --confidence: 'changed<=1%' (answered "
            "otherwise than at tau 0), 'lost<=0.5%' (wrong, where tau 0 is right), 'drop<=0.5%' (net, of accuracy). "
            "The largest such tau is the answer."
        ),
    ] = None,
    confidence: Annotated[float | None, typer.Option(help="Of --promise: 1 - delta; 0.95.")] = None,
    max_experts: Annotated[
        list[int] | None,
        typer.Option(help="With --promise: which to compare; may be repeated, the default of each set."),
    ] = None,
    set_: Set = None,
    backend: Backend = None,
    recipe: Recipe = None,
    all_sets: Annotated[
        bool, typer.Option("--all-sets", help="Pick the set as well, of all that were measured.")
    ] = False,
    statistic: Annotated[
        Literal["mean", "median", "p90"] | None,
        typer.Option(
            help="Of the cost, mean by default: the mean over images of each one's median over rounds; "
            "median or p90 of all predictions, each round of each image."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the halves and the intervals; 0.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Make the choice the bundle's default.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Pick tau and max_experts: by a promise that holds for images to come, or by wishes, on half of those measured."""
    require("bench", "edge-moe choose", "scipy")

    from edge_moe.benchmarks.decide.choose import Wish
    from edge_moe.benchmarks.decide.choose import choose as pick
    from edge_moe.benchmarks.decide.matching import match, match_all
    from edge_moe.benchmarks.decide.promising import refuse_others_answers
    from edge_moe.bundle import Bundle
    from edge_moe.errors import DataError, UsageError
    from edge_moe.intervals import over_groups
    from edge_moe.sets import patterns

    wish = Wish(
        max_cost=max_cost,
        max_latency_ms=max_latency_ms,
        max_macs=max_macs,
        max_accuracy_drop=max_accuracy_drop,
        exit_rate=exit_rate,
    )
    wanted = patterns(split(set_), split(backend), split(recipe))
    if all_sets and wanted:
        raise UsageError("--all-sets is given with --set, --backend or --recipe; expected one of them")
    if promise is not None:
        if wish != Wish():
            raise UsageError(
                "--promise is given with a wish; expected one or the other: a promise alone says what tau is"
            )
        if statistic is not None or seed is not None:
            raise UsageError("--statistic and --seed are of wishes; leave them away with --promise")
        opened = Bundle(bundle)
        matches = match_all(opened, results) if all_sets else [match(opened, results, *wanted)]
        promised(
            matches,
            promise,
            0.95 if confidence is None else confidence,
            tuple(max_experts or ()),
            write=write,
            all_sets=all_sets,
            json=json,
        )
        return
    if max_experts is not None or confidence is not None:
        raise UsageError("--max-experts and --confidence are of --promise; wishes choose among all that were measured")
    statistic, seed = statistic or "mean", seed or 0
    if all_sets:
        found, choice = _of_all(match_all(Bundle(bundle), results), wish, statistic, seed, shown=not json)
    else:
        found = match(Bundle(bundle), results, *wanted)
        choice = None
    if write:
        refuse_others_answers(found)
    if choice is None:
        choice = pick(found, wish, statistic=statistic, seed=seed)
    for doubt in found.doubts:
        say(f"edge-moe: warning: {doubt}", err=True)
    chosen = choice.chosen
    if json:
        say_json(_as_dict(found, choice, written=write and chosen is not None))
    else:
        console().print(_all(choice, f"{found.label}, {found.results.images} images of {found.results.data}"))
    if chosen is None:
        raise DataError(choice.reason)
    whose = f"the default of {found.label}" if all_sets else "the bundle's default"
    after = [f"{whose} stays {default_of(found)}; --write changes it"]
    if write:
        after = write_choice(found, chosen.tau, chosen.max_experts, all_sets=all_sets)
    if json:
        return
    setting = f"tau {chosen.tau:g}, max_experts {chosen.max_experts}"
    console().print(_promise(choice, chosen, setting))
    told = [f"{setting}: {choice.reason}", *choice.notes]
    if max_accuracy_drop is not None:
        told.append("a wish, as seen on these images: what is to hold for others is promised, with --promise")
    if found.results.groups is not None:
        told.append(over_groups(len(set(found.results.groups)), found.results.images, "Halves and intervals"))
    for line in (*told, *after):
        say(line)


def _as_dict(found: Match, choice: Choice, *, written: bool) -> dict[str, Any]:
    """Return what was chosen, and from what, for JSON."""
    return {
        "set": str(found.artifacts.key),
        "unit": choice.unit.name,
        "statistic": choice.statistic,
        "wishes": [asdict(one) for one in choice.bounds],
        "chosen": None if choice.chosen is None else asdict(choice.chosen),
        "reason": choice.reason,
        "notes": choice.notes,
        "candidates": [asdict(one) for one in choice.candidates],
        "written": written,
    }


def _of_all(
    matches: Sequence[Match], wish: Wish, statistic: Statistic, seed: int, *, shown: bool
) -> tuple[Match, Choice]:
    """Show the best of every set, and return the best of these.

    Raises:
        DataError: no set satisfies the wish; says for each what comes closest.
    """
    from edge_moe.benchmarks.decide.choose import choose_set
    from edge_moe.errors import DataError

    index, choices = choose_set(matches, wish, statistic=statistic, seed=seed)
    table = Table(title="the best of every set: half A / half B (* chosen on half A)")
    known = [q for q in _quantities() if any(q in one.a for choice in choices for one in choice.candidates)]
    for column in ("set", "tau", "max experts", *(_head(choices[0], quantity) for quantity in known)):
        table.add_column(column, justify="left" if column == "set" else "right")
    for number, (one, choice) in enumerate(zip(matches, choices, strict=True)):
        best = choice.chosen
        if best is None:
            table.add_row(one.label, "none", "")
            continue
        cells = [f"{_cell(choice, best.a, quantity)} / {_cell(choice, best.b, quantity)}" for quantity in known]
        star = "* " if number == index else ""
        table.add_row(f"{star}{one.label}", f"{best.tau:.4g}", str(best.max_experts), *cells)
    if shown:
        console().print(table)
    if index is None:
        reasons = (f"{one.label}: {choice.reason}" for one, choice in zip(matches, choices, strict=True))
        raise DataError("; ".join(reasons))
    return matches[index], choices[index]


def _all(choice: Choice, title: str) -> Table:
    """Return every candidate, on half A / on half B."""
    table = Table(title=f"{title}: half A / half B{'' if choice.chosen is None else ' (* chosen on half A)'}")
    shown = [q for q in _quantities() if any(q in one.a for one in choice.candidates)]
    for column in ("tau", "max experts", *(_head(choice, quantity) for quantity in shown)):
        table.add_column(column, justify="right")
    for one in choice.candidates:
        cells = [f"{_cell(choice, one.a, quantity)} / {_cell(choice, one.b, quantity)}" for quantity in shown]
        table.add_row(f"{'* ' if one == choice.chosen else ''}{one.tau:.4g}", str(one.max_experts), *cells)
    return table


def _promise(choice: Choice, chosen: Candidate, setting: str) -> Table:
    """Return what the chosen one does on half B, which had no say."""
    table = Table(title=f"{setting} on half B")
    for column in ("", "value", "95% interval", "wish"):
        table.add_column(column, justify="right" if column else "left")
    wishes = {one.quantity: one for one in choice.bounds}
    for quantity in _quantities():
        figure, wish = chosen.b.get(quantity), wishes.get(quantity)
        if figure is not None:
            value, low, high = (choice.text(quantity, x) for x in (figure.value, figure.low, figure.high))
            wished = "" if wish is None else f"{'>=' if wish.at_least else '<='} {choice.text(quantity, wish.value)}"
            predicted = ", predicted, not measured" if quantity == "cost" and not chosen.measured else ""
            table.add_row(choice.name(quantity) + predicted, value, f"{low} to {high}", wished)
    return table


def _quantities() -> tuple[Quantity, ...]:
    return ("exit_rate", "macs", "accuracy", "drop", "cost")


def _head(choice: Choice, quantity: Quantity) -> str:
    if quantity == "cost":
        measured = all(one.measured for one in choice.candidates)
        return f"{choice.statistic} {choice.unit.name}{'' if measured else chr(10) + '(predicted, not measured)'}"
    units: dict[Quantity, str] = {"macs": "mean MACs (M)", "drop": "drop (points)"}
    return units.get(quantity, choice.name(quantity))


def _cell(choice: Choice, figures: Figures, quantity: Quantity) -> str:
    if quantity not in figures:
        return "n/a"
    value = figures[quantity].value
    if quantity == "cost":
        return choice.unit.cell(value)
    return {"macs": f"{value / 1e6:.3f}", "drop": f"{value:+.2f}", "accuracy": f"{value:.2%}"}.get(
        quantity, f"{value:.1%}"
    )
