"""edge-moe train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edge_moe.cli.console import console, say
from edge_moe.cli.network import (
    BaseName,
    Ensemble,
    ExpectAccuracy,
    Experts,
    Force,
    ImageSize,
    Interpolation,
    Mean,
    Out,
    Resize,
    Seed,
    Space,
    Std,
    StemStride,
    architecture,
    checked,
    default_or,
    some_experts,
    wishes,
)
from edge_moe.text import counted

if TYPE_CHECKING:
    from edge_moe.checkpoint import CheckpointConfig
    from edge_moe.training.given import Given
    from edge_moe.training.plan import TrainingPlan

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("train")(train)


def train(
    data: Annotated[
        str, typer.Argument(help="'digits', 'cluttered-digits', or a folder with train/<class>/ and val/<class>/.")
    ],
    output: Out,
    base: BaseName = "mobilenet_v3_small",
    experts: Experts = 4,
    image_size: ImageSize = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    stem_stride: StemStride = None,
    base_weights: Annotated[
        str | None,
        typer.Option(
            help="A state dict, .pth or .safetensors, or torchvision:IMAGENET1K_V1, with torchvision's preprocessing."
        ),
    ] = None,
    expect_accuracy: ExpectAccuracy = None,
    finetune: Annotated[str, typer.Option(help="What of the base learns: all, head (last layer) or none.")] = "all",
    epochs: Annotated[int, typer.Option(help="Of the base.")] = 30,
    expert_epochs: Annotated[int, typer.Option(help="Of each expert, over its own draw of the data.")] = 8,
    batch_size: int = 64,
    learning_rate: Annotated[float, typer.Option(help="Of the base.")] = 0.1,
    expert_learning_rate: float = 0.002,
    weight_decay: float = 5e-4,
    augment: Annotated[
        str | None,
        typer.Option(help="none, crop, crop-flip or resized-crop-flip; crop for embedded images, else crop-flip."),
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Share of the uniform distribution in an expert's draw.")] = 0.3,
    normalization: Annotated[
        str, typer.Option(help="Of the embeddings for k-means: none, l2, standardize.")
    ] = "standardize",
    ensemble: Ensemble = "bagging",
    space: Space = "logit",
    seed: Seed = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Experts that train at once; as many as CPU cores, 1 on a GPU.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=1024, help="Processes that decode images which do not fit in memory.")
    ] = 0,
    leave_out_unreadable: Annotated[
        bool,
        typer.Option(
            "--leave-out-unreadable",
            help="Train without files that cannot be decoded; all are decoded once more, to find them.",
        ),
    ] = False,
    only_expert: Annotated[
        int | None, typer.Option(help="Train this expert of the finished checkpoint again, as it was planned.")
    ] = None,
    force: Force = False,
) -> None:
    """Train base, gate and experts. A run that was stopped goes on where it stood when the command is repeated.

    With --experts 0 it is a plain network.
    """
    from edge_moe.checkpoint import TrainingConfig
    from edge_moe.cli.stopping import stop
    from edge_moe.data import open_data
    from edge_moe.embedded import EMBEDDED
    from edge_moe.ledger import works
    from edge_moe.progress import shown_progress
    from edge_moe.training.given import find_weights
    from edge_moe.training.preflight import check_expectation, check_given_base
    from edge_moe.training.preparation import decide
    from edge_moe.training.run import TrainingPlan, expert_folder, retrain_expert
    from edge_moe.training.run import train as run
    from edge_moe.work import making

    if only_expert is not None:
        with stop.going_on(lambda: bool(works(expert_folder(output, only_expert)))), shown_progress() as progress:
            config = retrain_expert(
                output,
                only_expert,
                data=data,
                workers=workers,
                leave_out_unreadable=leave_out_unreadable,
                progress=progress,
            )
        _report(config, output)
        return
    check_expectation(expect_accuracy)
    wished = wishes(image_size, resize, mean, std, interpolation, stem_stride)
    data = data if data in EMBEDDED else str(Path(data).absolute())  # as the training calls it: a note is told once
    classes = open_data(data, "train", strict=True).classes
    given = find_weights(base_weights, base) if base_weights else None
    prepared = decide(wished, given, 32 if data in EMBEDDED else 224)
    labels = _ordered(classes, given)
    settings = {
        "data": data,
        "seed": seed,
        "batch_size": batch_size,
        "augment": augment or ("crop" if data in EMBEDDED else "crop-flip"),
        "weight_decay": weight_decay,
        "base_weights": str(given.file.absolute()) if given else None,
        "finetune": finetune,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "normalization": normalization,
        "epsilon": epsilon,
        "expert_epochs": expert_epochs,
        "expert_learning_rate": expert_learning_rate,
        "ensemble": ensemble,
        "space": space,
    }
    plan = TrainingPlan(
        architecture=architecture(base, len(labels), prepared),
        experts=some_experts(experts),
        labels=labels,
        preprocessing=prepared.preprocessing,
        config=checked(settings, TrainingConfig),
    )
    with (
        making(output, "train", force=force, reads=(data, base_weights)) as work,
        stop.going_on(lambda: bool(works(work.folder))),
        shown_progress() as progress,
    ):
        say(prepared)
        if given is not None or expect_accuracy is not None or finetune != "all":
            check_given_base(
                plan, expect_accuracy, leave_out_unreadable=leave_out_unreadable, say=say, progress=progress
            )
        say(_planned(plan))
        processes = default_or(jobs, _default_jobs())
        config = run(
            plan,
            output,
            force=force,
            jobs=processes,
            workers=workers,
            leave_out_unreadable=leave_out_unreadable,
            progress=progress,
        )
    _report(config, output)


def _ordered(classes: tuple[str, ...], given: Given | None) -> tuple[str, ...]:
    """Return the data's classes as labels: in the order of the given weights' logits where those are the same."""
    known = given.known.labels if given and given.known else ()
    return known if set(known) == set(classes) and len(known) == len(classes) else classes


def _planned(plan: TrainingPlan) -> str:
    """Say in one line what of the network learns, for how long; what does not learn has neither epochs nor rate."""
    config = plan.config
    start = "from its given weights" if config.base_weights else "from scratch"
    what = {"all": "base", "head": "last layer of the base", "none": "base as given, not trained"}[config.finetune]
    base = f", {_epochs(config.epochs)} at {config.learning_rate:g}, {start}" if config.finetune != "none" else ""
    if not plan.experts:
        return f"training: {what}{base}; no experts"
    each = " each" if plan.experts > 1 else ""
    return (
        f"training: {what}{base}; gate, {_epochs(config.gate_epochs)}; {counted(plan.experts)}, "
        f"{_epochs(config.expert_epochs)}{each} at {config.expert_learning_rate:g}"
    )


def _epochs(count: int | None) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _default_jobs() -> int:
    import torch

    from edge_moe.training.fit import pick_device

    return torch.get_num_threads() if pick_device().type == "cpu" else 1


def _report(config: CheckpointConfig, output: Path) -> None:
    from edge_moe.intervals import over_groups

    m = config.metrics
    table = Table(title=f"validation, {m['validation_images']} images")
    for column in ("", "accuracy", "95% interval"):
        table.add_column(column, justify="left" if not column else "right")
    for name in ("base", "mixture") if config.experts else ("base",):
        low, high = m[f"{name}_accuracy_95"]
        table.add_row(name, f"{m[f'{name}_accuracy']:.2%}", f"{low:.2%} to {high:.2%}")
    if config.experts:
        low, high = m["mixture_minus_base_95"]
        difference = f"{100 * m['mixture_minus_base']:+.2f} points"
        table.add_row("mixture - base", difference, f"{100 * low:+.2f} to {100 * high:+.2f}")
    for index, share in enumerate(m.get("expert_shares", ())):
        table.add_row(f"share of expert {index}", f"{share:.1%}", "")
    console().print(table)
    if "validation_groups" in m:
        say(over_groups(m["validation_groups"], m["validation_images"]))
    say(f"checkpoint: {output}")
