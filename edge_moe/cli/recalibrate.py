"""edge-moe recalibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_moe.cli.console import say
from edge_moe.cli.devices import Device, backend_on
from edge_moe.cli.sets import Backend, Recipe, Set, split

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("recalibrate")(recalibrate)


def recalibrate(
    bundle: Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")],
    data: Annotated[str, typer.Argument(help="A folder of the device's own images, with classes or without.")],
    promise: Annotated[
        str, typer.Option(help="Of all images that could come, at most so many get another answer than at tau 0.")
    ] = "changed<=1%",
    confidence: Annotated[float, typer.Option(help="1 - delta.")] = 0.95,
    max_experts: Annotated[int | None, typer.Option(help="The bundle's default.")] = None,
    set_: Set = None,
    backend: Backend = None,
    recipe: Recipe = None,
    device: Device = "host",
    threads: Annotated[int, typer.Option(help="Of the backend.")] = 1,
    write: Annotated[bool, typer.Option("--write", help="Make it the bundle's default, with its certificate.")] = False,
) -> None:
    """Find the largest tau that keeps a promise on a device's own images, which need no labels."""
    from edge_moe.bundle import Bundle
    from edge_moe.certificates import in_words
    from edge_moe.data import open_data
    from edge_moe.defaults import write_defaults
    from edge_moe.here import pick
    from edge_moe.progress import shown_progress, track
    from edge_moe.runtime import Runtime
    from edge_moe.sets import Pattern, patterns

    opened, images = Bundle(bundle), open_data(data, "val")
    key = pick(opened.manifest, patterns(split(set_), split(backend), split(recipe))).key
    engine = key.backend if device == "host" else backend_on(device, opened, key.backend)
    with (
        Runtime(opened, max_experts=max_experts, backend=engine, recipe=key.recipe, threads=threads) as model,
        shown_progress() as progress,
    ):
        found = model.recalibrate(
            track(images.sources, f"answering by {key}", len(images), progress),
            promise,
            confidence=confidence,
            groups=None if images.groups is None else images.groups.tolist(),
        )
    setting = f"tau {found.tau:.10g}, max_experts {found.max_experts}"
    say(f"{setting} of {key} promises {in_words(found.certificate)}")
    say(f"it is promised for images drawn as these were, one by one, answered by this set on {device}; others void it")
    now = opened.operating(key)
    before = f"tau {now.default_tau:.10g}, max_experts {now.default_max_experts}"
    if not write:
        say(f"the default of {key} stays {before}; --write changes it")
        return
    pattern, command = Pattern((key.backend,), key.recipe), "edge-moe recalibrate"
    write_defaults(bundle, pattern, found.tau, found.max_experts, certificate=found.certificate, command=command)
    say(f"{bundle}: the default of {key} is now {setting}; it was {before}")
