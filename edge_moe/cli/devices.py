"""edge-moe devices: where bundles can be measured, and what has to be set up for that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say
from edge_moe.cli.extras import require

if TYPE_CHECKING:
    from edge_moe.backends import Backend
    from edge_moe.benchmarks.set_up import Licence, SetUp
    from edge_moe.bundle import Bundle
    from edge_moe.verify import Tolerance

__all__ = ["Device", "backend_on", "register", "tolerance_on"]

Device = Annotated[str, typer.Option("--device", help="Where to run it; see 'edge-moe devices'.")]

_group = typer.Typer(help="List where bundles can be measured, and what to do where one cannot be used.")


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.add_typer(_group, name="devices")


@_group.callback(invoke_without_command=True)
def devices(context: typer.Context) -> None:
    """List where bundles can be measured, whether each can be used here, and what to do if not."""
    if context.invoked_subcommand is not None:
        return
    require("bench", "edge-moe devices", "psutil")
    from edge_moe.benchmarks import targets
    from edge_moe.errors import EdgeMoeError

    table = Table()
    for column in ("device", "usable", "version, or what to do"):
        table.add_column(column, overflow="fold")
    for name in targets.kinds():
        try:
            for one in targets.get(name).available():
                table.add_row(one.what, "yes" if one.usable else "NO", one.detail)
        except EdgeMoeError as error:  # a kind that has to be told which one, or that lacks a package
            table.add_row(name, "NO", str(error))
    console().print(table)


@_group.command()
def setup(
    device: Annotated[str, typer.Argument(help="A device of 'edge-moe devices'.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove what was set up.")] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the vendor's licence, and agree to it.")
    ] = False,
) -> None:
    """Bring what a device needs on this machine into a cache folder, checked; may be stopped and repeated."""
    from edge_moe.benchmarks import targets
    from edge_moe.cli.stopping import stop
    from edge_moe.errors import UsageError
    from edge_moe.progress import shown_progress

    needed = targets.get(device).set_up()
    if needed is None:
        say(f"{device} needs no set-up")
        return
    if remove:
        needed.remove()
        say(f"{needed.where} is removed")
        return
    if needed.complete:
        _done(needed, device)
        return
    licence = needed.licence
    if licence is not None and not accept_licence and not sys.stdin.isatty():
        raise UsageError(
            f"{device} is under a licence that has to be agreed to: {licence.words}; repeat the command in a "
            "terminal, which shows it and asks, or with --accept-licence"
        )
    names = ", ".join(f"{one.name} {one.version}" for one in needed.items)
    say(f"{device} needs {names}; to fetch: at most {_size(needed.bytes)}, into {needed.where}")
    if licence is not None:
        _agree(needed, licence, accept_licence)
    with stop.going_on(lambda: any(map(needed.is_there, needed.items))), shown_progress() as progress:
        needed.install(progress)
    _done(needed, device)


def _done(needed: SetUp, device: str) -> None:
    kept = _size(needed.kept_bytes)
    say(f"{device} is set up, {kept}; 'edge-moe devices setup {device} --remove' takes it away")


def _agree(needed: SetUp, licence: Licence, accepted: bool) -> None:
    """Show the licence, and ask for agreement unless that was given.

    Raises:
        BackendError: it was refused; nothing is left.
    """
    from edge_moe.errors import BackendError
    from edge_moe.progress import shown_progress

    with shown_progress() as progress:
        needed.bring_licence(progress)
    say(f"{licence.words}.\nIts text: {needed.folder / licence.item / licence.file}")
    if not accepted and not typer.confirm("Do you agree to it?"):
        needed.remove()
        raise BackendError("the licence was not agreed to, so nothing is set up")


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"


def backend_on(device: str, bundle: Bundle, name: str) -> Backend:
    """Return what runs the artifacts of one backend on a device.

    Raises:
        UsageError: there is no such device, or it does not hand out what parts compute.
    """
    from edge_moe.benchmarks import targets

    return targets.get(device).backend(bundle, name)


def tolerance_on(device: str) -> Tolerance:
    """Return how far right answers of a device may be off, where it rounds elsewhere: see `Target.tolerance`.

    Raises:
        UsageError: there is no such device.
    """
    from edge_moe.benchmarks import targets

    return targets.get(device).tolerance
