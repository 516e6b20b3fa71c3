"""edge-moe upgrade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_moe.cli.console import say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("upgrade")(upgrade)


def upgrade(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert' of the release before.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new folder to write; in place by default.")
    ] = None,
) -> None:
    """Rewrite a bundle of schema 2 to the schema of today; its artifacts stay as they are."""
    from edge_moe.upgrade import upgrade as run

    found = run(bundle, output)
    say(f"{found.path}: {found.remark}" if found.changed else found.remark)
