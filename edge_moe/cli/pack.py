"""edge-moe pack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say
from edge_moe.cli.sets import Sets, split
from edge_moe.errors import UsageError

if TYPE_CHECKING:
    from edge_moe.play import Pack

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("pack")(pack)


def pack(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    play: Annotated[bool, typer.Option("--play", help="As asset packs of Google Play.")] = False,
    sets: Sets = None,
    name: Annotated[
        str, typer.Option(help="Of the pack of the install; with several bundles in one app, each needs its own.")
    ] = "bundle",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Lay a bundle out for a store: what an app is installed with, and each expert for when it is first needed.

    The bundle's default set goes along and no other, unless --set names them; the first of those is then the default.
    """
    from edge_moe.bundle import Bundle
    from edge_moe.play import lay_out
    from edge_moe.sets import in_turn, patterns

    if not play:
        raise UsageError("a bundle is packed for a store, and Google Play is the one there is; add --play")
    opened = Bundle(bundle)
    there = {one.key: one for one in opened.manifest.sets}
    wanted = patterns(split(sets))
    chosen = [there[key] for key in in_turn(there, wanted)] if wanted else []
    packs = lay_out(opened, output, chosen, name=name, force=force)
    console().print(_table(packs))
    names = ", ".join(str(one.key) for one in chosen or opened.manifest.sets[:1])
    say(f"{output}: {names}; {output / 'README.txt'} says what to do with it")


def _table(packs: list[Pack]) -> Table:
    table = Table()
    table.add_column("pack")
    table.add_column("delivered")
    table.add_column("files", justify="right")
    table.add_column("KiB", justify="right")
    for one in packs:
        table.add_row(one.name, one.delivery, str(len(one.files)), f"{one.bytes / 1024:,.1f}")
    later = packs[1:]
    if len(later) > 1:
        size = sum(one.bytes for one in later) / 1024
        table.add_row("all experts", "on-demand", str(sum(len(one.files) for one in later)), f"{size:,.1f}")
    return table
