"""edge-moe import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_moe.cli.console import say
from edge_moe.cli.network import (
    ExpectAccuracy,
    Force,
    ImageSize,
    Interpolation,
    Mean,
    Out,
    Resize,
    Std,
    StemStride,
    architecture,
    default_or,
    one_of,
    wishes,
)
from edge_moe.errors import UsageError
from edge_moe.text import counted

if TYPE_CHECKING:
    from edge_moe.data import LabelledImages
    from edge_moe.training.given import Given

__all__ = ["register"]

_SIZE = 224


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("import")(import_)


def import_(
    base: Annotated[
        str,
        typer.Option(
            help="The base: a state dict, .pth or .safetensors, or torchvision:IMAGENET1K_V1 "
            "(which weights and preprocessing are then torchvision's)."
        ),
    ],
    output: Out,
    gate: Annotated[
        Path | None, typer.Option(help="The gate: weight [K, E] and bias [K] of a linear layer. None: a plain network.")
    ] = None,
    experts: Annotated[
        list[Path] | None,
        typer.Option(help="One file an expert: what follows the branch point. None: a plain network."),
    ] = None,
    architecture_: Annotated[
        str,
        typer.Option(
            "--architecture",
            help="mobilenet_v3_small, mobilenet_v3_large, resnet18, or MODULE:FUNCTION of a network of your own.",
        ),
    ] = "mobilenet_v3_small",
    more_experts: Annotated[list[Path] | None, typer.Argument(help="More experts.", metavar="[EXPERT]...")] = None,
    labels: Annotated[Path | None, typer.Option(help="A text file in UTF-8 with one label a line.")] = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    stem_stride: StemStride = None,
    data: Annotated[
        str | None, typer.Option(help="Labelled images, such as DATA/val/<class>/: the accuracy is printed.")
    ] = None,
    expect_accuracy: ExpectAccuracy = None,
    ensemble: Annotated[
        str | None, typer.Option(help="bagging (base and expert together, usual) or expert (alone).")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Where base and expert are summed: logit (usual) or probability.")
    ] = None,
    force: Force = False,
) -> None:
    """Make a checkpoint of parts that were trained elsewhere: --base b.pth --gate g.pth --experts e0.pth e1.pth ...

    With --base alone it is a plain network.
    """
    from edge_moe.data import open_data
    from edge_moe.nn import build_base
    from edge_moe.output import check_target
    from edge_moe.progress import shown_progress
    from edge_moe.training.checkpoint import from_state_dicts, load_state, read_weights, save_checkpoint
    from edge_moe.training.given import class_count, find_weights
    from edge_moe.training.preflight import check_expectation, check_mixture
    from edge_moe.training.preparation import decide
    from edge_moe.work import making

    files = [*(experts or []), *(more_experts or [])]
    _check_parts(gate, files, ensemble or space)
    reads = (base, gate, *files)
    check_target(output, force=force, reads=reads)
    check_expectation(expect_accuracy)
    if expect_accuracy is not None and data is None:
        raise UsageError("--expect-accuracy needs images to measure on; give --data as well")
    wished = wishes(image_size, resize, mean, std, interpolation, stem_stride)
    given = find_weights(base, architecture_)
    states = [(str(file), read_weights(file)) for file in (given.file, *([gate] if gate else []), *files)]
    prepared = decide(wished, given, _SIZE)
    two_classes = architecture(architecture_, 2, prepared, "architecture")
    classes = class_count(two_classes, states[0][1])
    if classes is None and labels is None:
        load_state(build_base(two_classes), states[0][1], states[0][0])  # says what is missing besides
    images = open_data(data, "val") if data is not None else None
    names, source = _labels(labels, given, classes, images)
    known = given.known
    together = known if known and files and files[0].parent == given.file.parent else None
    checkpoint = from_state_dicts(
        architecture(architecture_, len(names), prepared, "architecture"),
        states[0],
        states[1] if gate else None,
        states[2:],
        labels=names,
        preprocessing=prepared.preprocessing,
        ensemble=one_of(
            "ensemble", default_or(ensemble, (together and together.ensemble) or "bagging"), ("bagging", "expert")
        ),
        space=one_of("space", default_or(space, (together and together.space) or "logit"), ("logit", "probability")),
    )
    rule = f"; {checkpoint.config.ensemble} in {checkpoint.config.space} space" if files else ""
    say(f"{prepared}; labels {source}{rule}")
    with making(output, "import", force=force, reads=reads):
        if images is not None:
            with shown_progress() as progress:
                found = check_mixture(
                    checkpoint, images.with_classes(names), expect_accuracy, say=say, progress=progress
                )
            if found is None:
                say(f"{images.name} has no labels: the accuracy is not known")
        save_checkpoint(output, checkpoint, force=force)
    say(f"{output}: {architecture_}, {counted(len(files))}, {len(names)} classes, imported")


def _check_parts(gate: Path | None, experts: Sequence[Path], rule: str | None) -> None:
    """Raise UsageError unless there are a gate and experts, or neither and no `rule` of how they would be combined."""
    if experts and gate is None:
        raise UsageError(f"{experts[0]} is an expert without a gate; give --gate, or leave --experts out")
    if gate is not None and not experts:
        raise UsageError(f"{gate} is a gate without experts; give --experts, or leave --gate out for a plain network")
    if rule and not experts:
        raise UsageError(f"{rule} says how base and experts are combined, and a plain network has none; leave it out")


def _labels(
    file: Path | None, given: Given, classes: int | None, images: LabelledImages | None
) -> tuple[tuple[str, ...], str]:
    """Return one label a class and where they came from: `file`, what is known, the data's classes, or numbers."""
    from edge_moe.training.labels import check_labels, read_labels

    if file is not None:
        names = read_labels(file)
        if classes is not None:
            check_labels(names, str(file), classes, str(given.file))
        return names, f"from {file}"
    if given.known and classes in (None, len(given.known.labels)):
        return given.known.labels, f"from {given.known.where}"
    if classes is None:
        raise UsageError(f"{given.file} has no linear layer, so the number of classes is unknown; give --labels")
    if images is not None and len(images.classes) == classes:
        return images.classes, f"assumed: the classes of {images.name}, sorted"
    return tuple(f"class {i}" for i in range(classes)), "numbered, for none are given"
