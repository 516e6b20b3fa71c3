"""edge-moe simulate."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say, say_json
from edge_moe.cli.extras import require
from edge_moe.cli.sets import Backend, Recipe, Set, split

if TYPE_CHECKING:
    from edge_moe.benchmarks.decide.simulation import Comparison, Simulation
    from edge_moe.benchmarks.units import Unit

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("simulate")(simulate)


def simulate(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")],
    profile: Annotated[Path, typer.Option(help="The results.json of this bundle from the device.")],
    data: Annotated[str, typer.Option(help="'digits', 'cluttered-digits', a folder of images, or 'noise'.")],
    tau: Annotated[list[float] | None, typer.Option(help="May be repeated; the profile's operating points.")] = None,
    max_experts: Annotated[list[int] | None, typer.Option(help="May be repeated; the bundle's default.")] = None,
    set_: Set = None,
    backend: Backend = None,
    recipe: Recipe = None,
    validation_images: Annotated[int | None, typer.Option(help="Images to route; all by default.")] = None,
    compare: Annotated[Path | None, typer.Option(help="A results.json to hold the prediction against.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A folder for JSON and CSV.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Predict a device's costs at any tau on any data, from its parts' costs; the routing is decided here."""
    require("bench", "edge-moe simulate", "scipy")

    from edge_moe.benchmarks.decide.simulate import SimulationOptions
    from edge_moe.benchmarks.decide.simulate import simulate as predict
    from edge_moe.benchmarks.decide.simulation import write
    from edge_moe.data import NOISE
    from edge_moe.intervals import over_groups
    from edge_moe.progress import shown_progress
    from edge_moe.sets import patterns
    from edge_moe.work import making

    options = SimulationOptions(
        taus=tuple(tau or ()),
        max_experts=tuple(max_experts or ()),
        wanted=patterns(split(set_), split(backend), split(recipe)),
        validation_images=validation_images,
        seed=seed,
    )
    place = nullcontext() if output is None else making(output, "simulate", force=force, reads=(bundle, data, profile))
    with place:
        with shown_progress() as progress:
            simulation = predict(bundle, profile, data, options, compare=compare, progress=progress)
        files = [] if output is None else write(simulation, output, force=force)
    if data == NOISE and simulation.bundle.trained:
        say("edge-moe: warning: the images are noise: exit rates and costs are those of noise", err=True)
    for doubt in _doubts(simulation):
        say(f"edge-moe: warning: {profile}: {doubt}", err=True)
    for doubt in simulation.comparison.remarks if simulation.comparison else ():
        say(f"edge-moe: warning: {compare}: {doubt}", err=True)
    if json:
        say_json(simulation)
        return
    screen = console()
    screen.print(_points(simulation))
    if simulation.groups is not None:
        say(over_groups(simulation.groups, simulation.images))
    if simulation.comparison is not None:
        if simulation.comparison.points:
            screen.print(_compared(simulation.comparison, simulation.counted_in))
        for line in _verdict(simulation.comparison):
            say(line)
    for file in files:
        say(file)


def _doubts(simulation: Simulation) -> list[str]:
    stopped = [] if simulation.profile.complete else ["it was stopped before its last round"]
    untrained = [] if simulation.bundle.trained else ["the network is UNTRAINED: its answers are noise"]
    where = simulation.profile.provenance
    modelled = [] if where == "measured" else [f"its costs in {simulation.unit} are {where}"]
    return [*stopped, *untrained, *modelled, *simulation.profile.remarks]


def _points(simulation: Simulation) -> Table:
    machine, unit = simulation.profile.machine, simulation.counted_in
    routed = f"{simulation.key}, {simulation.images} images of {simulation.data}"
    device = f"{simulation.profile.target}: {machine.title}, {simulation.profile.threads} thread(s)"
    table = Table(title=f"{routed}; PREDICTED for {device}")
    columns = ("tau", "max experts", "exit rate", "mean MACs (M)", "accuracy", "95%")
    for column in (*columns, *(f"{what} {unit.name}" for what in ("mean", "median", "p10", "p90"))):
        table.add_column(column, justify="right")
    for one in simulation.points:
        p = one.point
        known = p.accuracy is not None
        table.add_row(
            f"{p.tau:.4g}",
            str(p.max_experts),
            f"{p.exit_rate:.1%}",
            f"{p.mean_macs / 1e6:.3f}",
            f"{p.accuracy:.2%}" if known else "",
            f"{p.accuracy_low:.1%} to {p.accuracy_high:.1%}" if known else "",
            *(unit.cell(value) for value in (one.mean, one.median, one.p10, one.p90)),
        )
    return table


def _compared(comparison: Comparison, unit: Unit) -> Table:
    table = Table(title=f"against {comparison.machine.name}, {comparison.data}, {comparison.created}")
    for column in (
        "tau",
        "max experts",
        f"predicted mean {unit.name}",
        f"measured mean {unit.name}",
        "predicted / measured",
    ):
        table.add_column(column, justify="right")
    for one in comparison.points:
        costs = (unit.cell(value) for value in (one.predicted, one.measured))
        table.add_row(f"{one.tau:.4g}", str(one.max_experts), *costs, f"{one.ratio:.3f}")
    return table


def _verdict(comparison: Comparison) -> list[str]:
    lines = [f"not measured there: tau {tau:g}, max_experts {k}" for tau, k in comparison.missing]
    if comparison.same_images:
        lines.append(f"predicted for the {comparison.images} images that were timed")
    else:
        lines.append("other images than those that were timed: the ratios also show how the images differ")
    if comparison.points:
        errors = comparison.errors
        lines.append(f"error of the mean: largest {max(errors):.1%}, mean {sum(errors) / len(errors):.1%}")
    return lines
