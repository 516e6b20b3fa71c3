"""edge-moe init, macs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say, say_json
from edge_moe.cli.network import (
    BaseName,
    Experts,
    Force,
    ImageSize,
    Interpolation,
    Mean,
    Out,
    Resize,
    Seed,
    Std,
    StemStride,
    architecture,
    some_experts,
    wishes,
)

__all__ = ["register"]

_SIZE = 224


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("init")(init)
    app.command("macs")(macs)


def init(
    output: Out,
    base: BaseName = "mobilenet_v3_small",
    experts: Experts = 4,
    classes: int = 1000,
    image_size: ImageSize = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    stem_stride: StemStride = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Make an UNTRAINED checkpoint with random weights. Its latency is real, its answers are noise."""
    from edge_moe.text import counted
    from edge_moe.training.checkpoint import save_checkpoint
    from edge_moe.training.preparation import decide
    from edge_moe.training.untrained import new_untrained
    from edge_moe.work import making

    with making(output, "init", force=force):
        prepared = decide(wishes(image_size, resize, mean, std, interpolation, stem_stride), None, _SIZE)
        network = architecture(base, classes, prepared)
        checkpoint = new_untrained(network, some_experts(experts), prepared.preprocessing, seed=seed)
        save_checkpoint(output, checkpoint, force=force)
    say(prepared)
    say(f"{output}: {base}, {counted(experts)}, {classes} classes, UNTRAINED (for latency only)")


def macs(
    base: BaseName = "mobilenet_v3_small",
    classes: int = 1000,
    image_size: ImageSize = None,
    experts: Experts = 4,
    stem_stride: StemStride = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count multiply-accumulates (convolutions and linear layers) and parameters of each part, for one image."""
    import msgspec

    from edge_moe.nn.macs import mixture_cost
    from edge_moe.sizes import size_text
    from edge_moe.text import counted
    from edge_moe.training.preparation import decide

    prepared = decide(wishes(image_size, None, None, None, None, stem_stride), None, _SIZE)
    network = architecture(base, classes, prepared)
    cost = mixture_cost(network, some_experts(experts))
    rows = {name: part for name, part in msgspec.structs.asdict(cost).items() if part is not None}
    if json:
        say_json(rows)
        return
    table = Table(title=f"{base}, {classes} classes, {size_text(network.image_size)}, {counted(experts)}")
    table.add_column("part")
    table.add_column("MACs (M)", justify="right")
    table.add_column("parameters", justify="right")
    for name, part in rows.items():
        table.add_row(name.replace("_and_", " + one "), f"{part.macs / 1e6:,.3f}", f"{part.parameters:,}")
    console().print(table)
