"""edge-moe serve."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from edge_moe.cli.console import say
from edge_moe.cli.extras import require

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("serve")(serve)


def serve(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert', with artifacts of LiteRT.")],
    lan: Annotated[
        bool, typer.Option("--lan", help="On the local network, for phones, under an address with a random token.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write the page as a folder for any web server, and serve nothing.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --export: replace what is there.")] = False,
) -> None:
    """Show a bundle in a browser: an image in, its class, its way and what it costs out, and tau to be moved."""
    require("web", "edge-moe serve", "starlette", "uvicorn", "segno")
    from edge_moe.benchmarks.browser.export import export as write
    from edge_moe.benchmarks.browser.libraries import Libraries
    from edge_moe.benchmarks.browser.server import Server
    from edge_moe.benchmarks.browser.site import runs_in_browser, site_files
    from edge_moe.benchmarks.job import bundle_files
    from edge_moe.bundle import Bundle
    from edge_moe.errors import StoppedError, UsageError

    if export is not None and (lan or port):
        raise UsageError("--export writes a folder and serves nothing; leave --lan and --port out")
    if force and export is None:
        raise UsageError("--force is for --export, which writes something; leave it out")
    opened, libraries = Bundle(bundle), Libraries()
    runs_in_browser(opened)
    if export is not None:
        count = write(opened, libraries, export, force=force)
        say(f"{export}: {count / (1 << 20):.1f} MiB, for any web server; open its index.html there")
        return
    with Server(site_files(libraries) | bundle_files(opened), lan=lan, port=port) as server:
        say(server.url)
        if lan:
            import segno

            segno.make(server.url).terminal(compact=True)
            say("whoever has this address may look, until the command is stopped")
        say("Ctrl-C ends it")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            raise StoppedError("stopped; the page is gone") from None
