"""Options that say which network, and how its images are prepared; shared by train, import, init and macs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edge_moe.errors import UsageError
from edge_moe.sizes import Size, parse_size

if TYPE_CHECKING:
    from edge_moe.nn import Architecture
    from edge_moe.training.preparation import Preparation, Wishes

__all__ = [
    "BaseName",
    "Ensemble",
    "ExpectAccuracy",
    "Experts",
    "Force",
    "ImageSize",
    "Interpolation",
    "Mean",
    "Out",
    "Resize",
    "Seed",
    "Space",
    "Std",
    "StemStride",
    "architecture",
    "checked",
    "default_or",
    "one_of",
    "some_experts",
    "wishes",
]

T = TypeVar("T")

BaseName = Annotated[
    str,
    typer.Option(
        "--base",
        help="mobilenet_v3_small, mobilenet_v3_large, resnet18, or MODULE:FUNCTION of a network of your own.",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        help="Pixels, or HxW. As known of given weights; else 32 for embedded images, else 224.", metavar="SIZE"
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Before the centre is cut out: of the shorter side, 256, or to exactly HxW, 256x256, whatever the "
        "proportions. Usually 8/7 of the image size; small images and HxW whole.",
        metavar="SIZE",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(help="Of pixels from 0 to 1: one number, or R,G,B. Usually ImageNet's.", metavar="NUMBERS"),
]
Std = Annotated[
    str | None,
    typer.Option(help="Of pixels from 0 to 1: one number, or R,G,B. Usually ImageNet's.", metavar="NUMBERS"),
]
Interpolation = Annotated[str | None, typer.Option(help="bilinear (usual), bicubic or nearest.")]
StemStride = Annotated[
    int | None,
    typer.Option(
        help="Of the first convolution. With given weights 2, as torchvision's; from scratch 1 for images under "
        "128 pixels, else 2."
    ),
]
ExpectAccuracy = Annotated[
    float | None,
    typer.Option(help="In per cent: refuse to start if in fp32 more than one point is missing.", metavar="PERCENT"),
]
Ensemble = Annotated[str, typer.Option(help="bagging (base and expert together) or expert (alone).")]
Space = Annotated[str, typer.Option(help="Where base and expert are summed: logit or probability.")]
Experts = Annotated[int, typer.Option("--experts", "-k", help="K, the number of experts; 0 for a plain network.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]  # what numpy and torch both take
Out = Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def wishes(
    image_size: str | None,
    resize: str | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
    stem_stride: int | None,
) -> Wishes:
    """Read the options of the same names; raise UsageError for one that is no size or no number."""
    from edge_moe.training.preparation import Wishes

    return Wishes(
        image_size=None if image_size is None else _square(parse_size(image_size, "image_size")),
        resize=None if resize is None else parse_size(resize, "resize"),
        mean=None if mean is None else _channels(mean, "mean"),
        std=None if std is None else _channels(std, "std"),
        interpolation=interpolation,
        stem_stride=stem_stride,
    )


def architecture(base: str, classes: int, prepared: Preparation, option: str = "base") -> Architecture:
    """Return the architecture of `base`, which `option` named; raise UsageError where it cannot be."""
    from edge_moe.nn import ARCHITECTURES, Architecture

    if ":" not in base:  # which names a network of one's own
        one_of(option, base, (*ARCHITECTURES, "MODULE:FUNCTION"))
    fields = {
        "base": base,
        "classes": classes,
        "image_size": prepared.preprocessing.image_size,
        "stem_stride": prepared.stem_stride,
    }
    return checked(fields, Architecture)


def checked(fields: dict[str, Any], kind: type[T]) -> T:
    """Return `fields` as a `kind`; raise UsageError that names the field and its value where one is out of range."""
    import msgspec

    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`").partition("[")[0]
        if name not in fields:
            raise UsageError(str(error)) from None
        schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][name]
        allowed = next((one["enum"] for one in schema.get("anyOf", [schema]) if "enum" in one), None)
        expected = f"expected one of {', '.join(map(str, allowed))}" if allowed else problem.lower().replace("`", "")
        raise UsageError(f"{name} is {fields[name]!r}; {expected}") from None


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> Any:
    """Return `value`; raise UsageError unless it is one of `allowed`."""
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
    return value


def some_experts(experts: int) -> int:
    """Return `experts`; raise UsageError for less than none, or more than a checkpoint may have."""
    from edge_moe.checkpoint import MOST_EXPERTS

    if not 0 <= experts <= MOST_EXPERTS:
        raise UsageError(
            f"--experts is {experts}; expected at least 1, or 0 for a plain network, and at most {MOST_EXPERTS:,}"
        )
    return experts


def default_or(value: T | None, default: T) -> T:
    """Return `value`, or `default` where it is None."""
    return default if value is None else value


def _square(size: Size) -> Size:
    """Return 224x224 as 224: for an image the two are one."""
    return size if isinstance(size, int) or size[0] != size[1] else size[0]


def _channels(text: str, name: str) -> tuple[float, float, float]:
    """Read "0.5" or "0.485,0.456,0.406"."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise UsageError(f"{name} is {text!r}; expected one number, as 0.5, or three, as 0.485,0.456,0.406")
    return values[0], values[1], values[2]
