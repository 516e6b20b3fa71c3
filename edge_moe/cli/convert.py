"""edge-moe convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge_moe.cli.console import console
from edge_moe.cli.extras import require

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("convert")(convert)


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="Made by 'edge-moe train', 'import' or 'init'.")],
    data: Annotated[
        str, typer.Option(help="'digits', a folder of images, or 'noise' for a network that is not trained.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="int8, int8-dynamic, int8-all or fp32; may be repeated. Default: the first that meets the bars."
        ),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32/--no-fp32", help="Ship the fp32 artifacts too.")] = True,
    calibration_images: Annotated[int, typer.Option(help="Training images from which ranges are taken.")] = 128,
    validation_images: Annotated[int | None, typer.Option(help="Images to measure on; all by default.")] = None,
    min_agreement: Annotated[float, typer.Option(help="Least share of images on which int8 and fp32 agree.")] = 0.95,
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
    require("convert", "edge-moe convert", "torch", "litert_torch", "ai_edge_quantizer")
    import os

    from edge_moe.converters.convert import Options
    from edge_moe.converters.convert import convert as run
    from edge_moe.progress import bars

    options = Options(
        recipes=tuple(recipe) if recipe else None,
        ship_float=fp32,
        calibration_images=calibration_images,
        validation_images=validation_images,
        min_agreement=min_agreement,
        keep_going=keep_going,
        tau=tau,
        max_experts=max_experts,
    )
    with bars() as progress:
        processes = min(os.cpu_count() or 1, 4) if jobs is None else jobs
        report = run(checkpoint, data, output, options, force=force, jobs=processes, progress=progress)
    _show(report, output)


def _show(report: dict[str, Any], output: Path) -> None:
    screen = console()
    table = Table(title=f"int8 against fp32, {report['images']} images")
    for column in ("recipe", "part", "KiB", "partitions", "agreement", "cosine", "SQNR dB"):
        table.add_column(column, justify="left" if column in ("recipe", "part") else "right")
    for recipe, rows in report["recipes"].items():
        for row in rows:
            same = row.against_fp32
            compared = (
                ("", "", "")
                if recipe == report["reference"]
                else (f"{same.top1:.2%}", f"{same.cosine:.4f}", f"{same.sqnr_db:.1f}")
            )
            split = f"{row.delegates}" + (f" + {row.outside} nodes" if row.outside else "")
            table.add_row(recipe, row.part, f"{row.bytes / 1024:.0f}", split, *compared)
    screen.print(table)
    for recipe, problems in report["missed_bars"].items():
        fate = "shipped all the same" if recipe in report["shipped"] else "left out"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        for problem in problems[:1]:
            screen.print(f"{recipe} is {fate}: {problem}{more}")
    if report["accuracy"]:
        table = Table(title=f"accuracy, {report['accuracy']['images']} validation images")
        for column in ("", "accuracy", "95% interval"):
            table.add_column(column, justify="left" if not column else "right")
        for row in report["accuracy"]["rows"]:
            table.add_row(row.what, f"{row.accuracy:.2%}", f"{row.low:.2%} to {row.high:.2%}")
        screen.print(table)
    if not report["trained"]:
        screen.print("UNTRAINED network: for latency only, its answers are noise")
    typer.echo(f"bundle: {output}  (parity report: {output / 'parity.md'})")
