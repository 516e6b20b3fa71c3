"""edge-moe convert, recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say
from edge_moe.cli.extras import require
from edge_moe.cli.network import ExpectAccuracy
from edge_moe.cli.sets import Backends, Recipes, split

if TYPE_CHECKING:
    from edge_moe.benchmarks.target import Target
    from edge_moe.converters.ranking import Ranker
    from edge_moe.converters.report import Report

__all__ = ["register"]

_WORST_LAYERS = 5


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("convert")(convert)
    app.command("recipes")(show_recipes)


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="Made by 'edge-moe train', 'import' or 'init'.")],
    data: Annotated[
        str,
        typer.Option(
            help="'digits', 'cluttered-digits', a folder of images, or 'noise' for a network that is not trained."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Sets to make: litert/int8, or litert for the first of its recipes that meets the bars; several with "
            "commas, the default first. By default litert, or the backend that the device of --for takes alone.",
        ),
    ] = None,
    backend: Backends = None,
    recipe: Recipes = None,
    target: Annotated[
        str,
        typer.Option(
            "--for",
            help="The device for which the best recipe is found where none is named: host, or another of "
            "'edge-moe devices'.",
        ),
    ] = "host",
    measure: Annotated[
        bool,
        typer.Option("--measure/--no-measure", help="Measure what recipes cost there, or take the order of the table."),
    ] = True,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(help="A torch module, such as features.9.block.2, whose layers stay in float; may be repeated."),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32/--no-fp32", help="Ship the fp32 artifacts too.")] = True,
    calibration_images: Annotated[int, typer.Option(help="Training images from which ranges are taken.")] = 128,
    validation_images: Annotated[int | None, typer.Option(help="Images to measure on; all by default.")] = None,
    expect_accuracy: ExpectAccuracy = None,
    min_agreement: Annotated[float, typer.Option(help="Least share of images that int8 answers as fp32.")] = 0.985,
    min_routing: Annotated[float, typer.Option(help="Least share of images that int8 routes as fp32.")] = 0.97,
    debug_parity: Annotated[
        bool, typer.Option("--debug-parity", help="Rank the layers of every part: table and picture.")
    ] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="An earlier bundle, whose parts are taken over where nothing changed; may be repeated."),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Write the bundle even if a part misses a bar.")
    ] = False,
    tau: Annotated[
        float | None, typer.Option(help="The bundle's default; chosen from the measurements if not given.")
    ] = None,
    max_experts: Annotated[int, typer.Option(help="The bundle's default.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(help="Parts that convert at once; as many as CPU cores, at most 4.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Quantize every part, measure the artifacts, and package them as a bundle."""
    import os

    from edge_moe.benchmarks import targets
    from edge_moe.cli.extras import require_conversion
    from edge_moe.cli.stopping import stop
    from edge_moe.errors import LeftOutError

    device = targets.get(target)
    named = _named(device, split(sets), split(backend), split(recipe))
    require_conversion("edge-moe convert", **named)

    from edge_moe.converters.convert import ConversionOptions
    from edge_moe.converters.convert import convert as run
    from edge_moe.ledger import works
    from edge_moe.output import partial_path
    from edge_moe.progress import shown_progress

    options = ConversionOptions(
        **named,
        keep_float=tuple(keep_float or ()),
        ship_float=fp32,
        calibration_images=calibration_images,
        validation_images=validation_images,
        expect_accuracy=expect_accuracy,
        min_agreement=min_agreement,
        min_routing=min_routing,
        keep_going=keep_going,
        debug_parity=debug_parity,
        reuse=tuple(reuse or ()),
        tau=tau,
        max_experts=max_experts,
    )
    ranker = _ranker(device, measure=measure and not all(options.wanted().values()))
    left_out = None
    try:
        with stop.going_on(lambda: bool(works(partial_path(output)))), shown_progress() as progress:
            processes = min(os.cpu_count() or 1, 4) if jobs is None else jobs
            report = run(
                checkpoint,
                data,
                output,
                options,
                force=force,
                jobs=processes,
                progress=progress,
                say=say,
                ranker=ranker,
            )
    except LeftOutError as error:
        say(str(error))  # before anything that looks like success
        report, left_out = error.report, error
    _show(report, output)
    if left_out is not None:
        raise LeftOutError(
            f"{output} was written without {', '.join(report.left_out)}; why stands above the tables, and in "
            f"{output / 'parity.md'}"
        )


def _named(
    device: Target, sets: tuple[str, ...], backends: tuple[str, ...], recipes: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Return what was named, as options; where no backend was, that of the artifacts which the device takes alone."""
    if device.own_backend is not None and not sets and not backends and not any("/" in one for one in recipes):
        backends = (device.own_backend,)
    return {"sets": sets, "backends": backends, "recipes": recipes}


def _ranker(target: Target, *, measure: bool) -> Ranker:
    """Return what ranks recipes for a device; unless `measure`, by the committed order of its row.

    Raises:
        UsageError: it cannot rank.
        MissingExtraError: what measures is not installed.
    """
    from edge_moe.benchmarks.ranking import TargetRanker, target_row
    from edge_moe.converters.ranking import Committed

    if not measure:
        return Committed(target_row(target))
    require("bench", "measuring what recipes cost ('edge-moe convert --no-measure' does without)", "psutil")
    return TargetRanker(target)


def show_recipes() -> None:
    """List the recipes of every backend: what is int8, what stays in float, why, and when to use which."""
    from edge_moe.backends import names
    from edge_moe.converters.recipes import book

    screen = console()
    for backend in names():
        found = book(backend)
        table = Table(title=backend, title_justify="left", show_lines=True)
        for column in ("recipe", "int8", "float", "why", "use it"):
            table.add_column(column, overflow="fold")
        for name, one in found.recipes.items():
            table.add_row(name, one.int8, one.floats, one.why, one.when)
        screen.print(table)
        for row, order in found.orders.items():
            say(f"{row}: {', '.join(order)}")
    say(
        "where none is named, 'edge-moe convert' measures those that meet the bars on the device that it is --for; the "
        "order above holds unless another is surely cheaper"
    )
    say("choose with 'edge-moe convert --recipe NAME', or for one backend with --recipe BACKEND/NAME")


def _show(report: Report, output: Path) -> None:
    from edge_moe.bundle import Bundle
    from edge_moe.converters.noise import db
    from edge_moe.gains import nothing_gained
    from edge_moe.intervals import over_groups

    screen = console()
    table = Table(title=f"int8 against the fp32 of its backend, {report.images} images")
    for column in ("set", "part", "KiB", "partitions", "agreement", "cosine", "SQNR dB"):
        table.add_column(column, justify="left" if column in ("set", "part") else "right")
    for name, rows in report.sets.items():
        for row in rows:
            same = row.against_fp32
            reference = name.endswith("/fp32")
            compared = ("", "", "") if reference else (f"{same.top1:.2%}", f"{same.cosine:.4f}", db(same.sqnr_db))
            split = ""
            if row.structure is not None:
                split = f"{row.structure.delegates}" + (
                    f" + {row.structure.outside} nodes" * bool(row.structure.outside)
                )
            table.add_row(name, row.part, f"{row.bytes / 1024:.0f}", split, *compared)
        table.add_section()
    screen.print(table)
    for name, problems in report.missed_bars.items():
        fate = "shipped all the same" if name in report.shipped else "left out"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        for missed in problems[:1]:
            screen.print(f"{name} is {fate}: {missed.problem}{more}")
    for name, why in report.unmade.items():
        if name not in report.left_out:
            screen.print(f"{name} cannot be made: {why}")
    for backend, ranked in report.ranked.items():
        if ranked.costs:
            table = Table(title=f"what an image costs {ranked.where}, {ranked.unit}")
            for column in ("set", "median", "p10 to p90", "bars"):
                table.add_column(column, justify="left" if column in ("set", "bars") else "right")
            for name, median, spread, misses in report.compared(backend):
                table.add_row(name, median, spread, f"{misses} missed" if misses else "met")
            screen.print(table)
        say(f"{backend}: {ranked.why}")
    for flips in report.flips:
        say(flips.words)
    if report.accuracy:
        table = Table(title=f"accuracy, {report.accuracy.images} validation images")
        for column in ("", "accuracy", "95% interval"):
            table.add_column(column, justify="left" if not column else "right")
        for found in report.accuracy.rows:
            table.add_row(found.what, f"{found.accuracy:.2%}", f"{found.low:.2%} to {found.high:.2%}")
        screen.print(table)
        if report.accuracy.groups is not None:
            say(over_groups(report.accuracy.groups, report.accuracy.images))
    for name, layers in report.layers.items():
        screen.print(f"layers of {name}, the noisiest first, SQNR in dB:")
        table = Table()
        for column in ("layer", "adds itself", "in", "out"):
            table.add_column(column, justify="left" if column == "layer" else "right")
        for one in layers[:_WORST_LAYERS]:
            table.add_row(one.layer, db(one.own_sqnr_db), db(one.input_sqnr_db), db(one.sqnr_db))
        screen.print(table)
        kernels = report.kernels.get(name)
        if kernels is not None and kernels.is_suspect:
            say(
                f"a kernel of this processor is the suspect, not the layers: without the backend's kernels {name} "
                f"follows fp32 at {db(kernels.graph_sqnr_db, ' dB')}, and with them that at "
                f"{db(kernels.kernel_sqnr_db, ' dB')}"
            )
    if report.layers:
        say(f"layers: {output / 'layers.png'}")
    for line in (*report.at_default, *report.made_anew, *nothing_gained(Bundle(output).operating_sets)):
        say(line)
    if not report.trained:
        screen.print("UNTRAINED network: for latency only, its answers are noise")
    say(f"bundle: {output}  (parity report: {output / 'parity.md'})")
