"""edge-moe report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_moe.cli.console import say
from edge_moe.cli.extras import require

__all__ = ["register"]

_RESULTS = "results.json"


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("report")(report)


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files of 'edge-moe bench', or folders that hold one.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for page, tables, pictures and data.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make one page of one or several measurements, to read without a network."""
    require("bench", "edge-moe report", "scipy", "plotly", "jinja2", "matplotlib")
    from edge_moe.benchmarks.report import write_report
    from edge_moe.benchmarks.results import load
    from edge_moe.work import making

    with making(output, "report", force=force):
        files = [path / _RESULTS if path.is_dir() else path for path in results]
        loaded = [load(file) for file in files]
        written = write_report(loaded, output, names=[_name(file) for file in files], force=force)
    for file in written:
        say(str(file))


def _name(file: Path) -> str:
    """Return what tells a results file from others: most are called results.json, in a folder of their own."""
    return file.resolve().parent.name if file.name == _RESULTS else file.stem
