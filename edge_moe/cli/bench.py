"""edge-moe bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console
from edge_moe.cli.extras import require

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("bench")(bench)


def bench(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")],
    data: Annotated[str, typer.Option(help="'digits', a folder of images, or 'noise'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for results, table and pictures.")],
    tau: Annotated[list[float] | None, typer.Option(help="May be repeated; the bundle's operating points.")] = None,
    max_experts: Annotated[int | None, typer.Option(help="The bundle's default.")] = None,
    backend: Annotated[str | None, typer.Option(help="Only this backend.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Only this recipe.")] = None,
    threads: Annotated[int, typer.Option(help="Of the backend.")] = 1,
    images: Annotated[int, typer.Option(help="Images to time.")] = 100,
    validation_images: Annotated[
        int | None, typer.Option(help="Images to measure accuracy on; all by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved repetitions.")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Measure latency, MACs and accuracy against tau on this host."""
    require("bench", "edge-moe bench", "matplotlib", "psutil")
    from edge_moe.benchmarks.report import HEADER, point_row, write_report
    from edge_moe.benchmarks.sweep import Options, sweep
    from edge_moe.output import check_target
    from edge_moe.progress import bars

    check_target(output, force=force)
    options = Options(
        taus=tuple(sorted(set(tau))) if tau else None,
        max_experts=max_experts,
        backend=backend,
        recipe=recipe,
        threads=threads,
        timed_images=images,
        validation_images=validation_images,
        rounds=rounds,
        seed=seed,
    )
    with bars() as progress:
        results = sweep(bundle, data, options, progress=progress)
    files = write_report(results, output, force=force)
    for one in reversed(results.sets):  # the default last, where eyes rest
        untrained = "" if results.trained else ", UNTRAINED network"
        table = Table(title=f"{one.backend}/{one.recipe}, {results.images} images, {threads} thread(s){untrained}")
        for column in HEADER:
            table.add_column(column, justify="right")
        for timing in one.points:
            table.add_row(*point_row(timing))
        console().print(table)
    typer.echo("\n".join(str(file) for file in files))
