"""edge-moe bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say
from edge_moe.cli.extras import require
from edge_moe.cli.sets import Backends, Recipes, Sets, split

if TYPE_CHECKING:
    from edge_moe.benchmarks.results import Results

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("bench")(bench)


def bench(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")],
    data: Annotated[str, typer.Option(help="'digits', 'cluttered-digits', a folder of images, or 'noise'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for results and report.")],
    device: Annotated[str, typer.Option(help="Where to measure; see 'edge-moe devices'.")] = "host",
    sets: Sets = None,
    backend: Backends = None,
    recipe: Recipes = None,
    tau: Annotated[list[float] | None, typer.Option(help="May be repeated, with 0 and 1 always; the bundle's.")] = None,
    max_experts: Annotated[
        list[int] | None, typer.Option(help="May be repeated; 1, 2 and the bundle's default.")
    ] = None,
    routing: Annotated[
        str | None, typer.Option(help="A set whose decisions all are costed with, instead of each with its own.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also what one would do otherwise: base only, all experts, one graph...")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="What the bundle was made from, for the peers stock int8 and torch eager.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of the backend.")] = 1,
    images: Annotated[int, typer.Option(help="Images to time.")] = 100,
    validation_images: Annotated[
        int | None, typer.Option(help="Images to measure accuracy on; all by default.")
    ] = None,
    checked_images: Annotated[
        int, typer.Option(help="Images that a device which hands out what parts compute answers itself.")
    ] = 200,
    rounds: Annotated[
        int | None, typer.Option(help="Interleaved repetitions: 5, or 1 where a device counts alike in every one.")
    ] = None,
    five_runs: Annotated[
        bool, typer.Option("--five-runs", help="Say whether the rounds, five at least, lie at most 5% apart.")
    ] = False,
    sustained: Annotated[
        float | None,
        typer.Option(
            metavar="MIN",
            help="After the rounds, each set without a pause for so many minutes, from however warm it is then.",
        ),
    ] = None,
    cold_starts: Annotated[int, typer.Option(help="Processes to start for each set of artifacts, one a round.")] = 3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Measure cost, MACs and accuracy of every operating point; Ctrl-C keeps what it has, repeating goes on with it."""
    require("bench", "edge-moe bench", "scipy", "matplotlib", "psutil", "threadpoolctl", "plotly", "jinja2")
    if peers:
        require("convert", "edge-moe bench --peers", "onnx", "onnxruntime")
    if checkpoint is not None:
        require("train", "edge-moe bench --checkpoint", "torch", "torchvision", "safetensors")

    from edge_moe.benchmarks.journal import journal, journal_path
    from edge_moe.benchmarks.options import BenchOptions
    from edge_moe.benchmarks.report import write_report
    from edge_moe.benchmarks.request import check
    from edge_moe.benchmarks.sweep import sweep
    from edge_moe.cli.stopping import stop
    from edge_moe.errors import StoppedError, UsageError
    from edge_moe.ledger import works
    from edge_moe.progress import shown_progress

    if checkpoint is not None and not peers:
        raise UsageError("--checkpoint is for the peers; add --peers")
    if sustained == 0:
        raise UsageError("sustained is 0; expected minutes, more than 0, or no --sustained")
    options = BenchOptions(
        device=device,
        sets=split(sets),
        backends=split(backend),
        recipes=split(recipe),
        taus=tuple(sorted(set(tau))) if tau else None,
        max_experts=tuple(sorted(set(max_experts))) if max_experts else None,
        routing=routing,
        threads=threads,
        timed_images=images,
        validation_images=validation_images,
        checked_images=checked_images,
        rounds=rounds,
        cold_starts=cold_starts,
        peers=peers,
        checkpoint=None if checkpoint is None else str(checkpoint),
        seed=seed,
        sustained_minutes=sustained or 0.0,
        five_runs=five_runs,
    )
    request = check(bundle, data, options)  # before anything is made
    begun = bool(output.name) and journal_path(output).exists()
    replaces = force or (begun and _is_partial(output))
    with journal(output, request.key(), force=replaces, reads=(bundle, data, checkpoint)) as kept:
        with stop.going_on(lambda: bool(works(kept.folder))), shown_progress() as progress:
            results = sweep(request, journal=kept, progress=progress)
            files = write_report([results], output, force=True)
        if results.whole:
            kept.drop()
    _print(results)
    say("\n".join(str(file) for file in files))
    for line in _said(results):
        say(line)
    if results.peers:
        say("what one would do otherwise stands in report.html, results.md and peers.csv")
    for remark in results.conditions.remarks:
        say(f"edge-moe: warning: {remark}", err=True)
    if not results.complete:
        raise StoppedError(
            f"stopped after {results.rounds} of {results.rounds_asked} rounds; {output} has these, marked partial; "
            "repeat the command to go on"
        )
    if not results.whole:
        raise StoppedError(
            f"stopped after the rounds; {output} has these, and not what sets cost without a pause; "
            "repeat the command to go on"
        )


def _is_partial(output: Path) -> bool:
    """Return whether `output` holds the results of a run that was stopped, and that the same command goes on with."""
    from edge_moe.benchmarks.results import load
    from edge_moe.errors import DataError

    try:
        return not load(output / "results.json").whole
    except DataError:
        return False


def _said(results: Results) -> list[str]:
    """Return what the default set's experts do for accuracy, over what, and what an answer takes from the file on.

    And whether five runs agree, and what predictions without a pause cost, where these were asked for.
    """
    from edge_moe.benchmarks import five_runs
    from edge_moe.benchmarks.report import series, story, sustained

    mended = story.mended(series.build([results])[0])
    waits = results.preprocessing
    said = [mended, *story.over([results])] if mended else []
    if waits is not None:
        said.append(f"from the image file to the input tensor it takes {results.unit.text(waits)} more, in every row")
    if agree := five_runs.told(results.rounds_apart):
        said.append(f"five runs: {agree}")
    return [*said, *sustained.lines(results)]


def _print(results: Results) -> None:
    from edge_moe.benchmarks.report import header, point_row

    unit = results.unit
    several = len({point.point.max_experts for one in results.sets for point in one.points}) > 1
    for one in reversed(results.sets):  # the default last, where eyes rest
        untrained = "" if results.bundle.trained else ", UNTRAINED network"
        partial = "" if results.complete else f", PARTIAL: {results.rounds} of {results.rounds_asked} rounds"
        counted = f"{unit.shown}, {results.obtained()}{one.whose_answers}"
        what = f"{one.label}, {results.images} images, {results.threads} thread(s), {counted}"
        table = Table(title=f"{what}{untrained}{partial}")
        for column in header(several=several):
            table.add_column(column, justify="right")
        for point in one.points:
            table.add_row(*point_row(point, unit, several=several))
        console().print(table)
