"""How images are prepared for a network, and the stride of its first convolution: as asked, as known, or assumed.

Both belong to trained weights, and neither can be seen in them. So each choice says where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edge_moe.bundle import Preprocessing
from edge_moe.errors import UsageError
from edge_moe.sizes import (
    LARGEST,
    LARGEST_RESIZED,
    SMALLEST,
    Size,
    height_width,
    resize_problem,
    short_size_text,
    size_text,
)
from edge_moe.training.given import Given

__all__ = ["Preparation", "Wishes", "decide"]

_SMALL = 128  # pixels; below, an image is not cropped, and from scratch the first convolution keeps its size
_SMALLEST_STD = 1e-6  # what is divided by less than a grey value's 1/255 was never measured on images
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What somebody asks for; None: nothing."""

    image_size: Size | None = None
    resize: Size | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str | None = None
    stem_stride: int | None = None


@dataclass(frozen=True)
class Preparation:
    """What was decided; `str` says it in one line, with where each came from."""

    preprocessing: Preprocessing
    stem_stride: int
    sources: dict[str, str]  # field -> where it came from

    def __str__(self) -> str:
        spec = self.preprocessing
        one_number = isinstance(spec.resize, int)
        resize = f"shorter side to {spec.resize}" if one_number else f"resized to {size_text(spec.resize)}"
        texts = {
            "resize": resize,
            "interpolation": spec.interpolation,
            "image_size": f"cut to {size_text(spec.image_size)}",
            "mean": f"mean {_numbers(spec.mean)}",
            "std": f"std {_numbers(spec.std)}",
            "stem_stride": f"stem stride {self.stem_stride}",
        }
        groups: list[tuple[list[str], str]] = []
        for name, text in texts.items():
            if groups and groups[-1][1] == self.sources[name]:
                groups[-1][0].append(text)
            else:
                groups.append(([text], self.sources[name]))
        return "images: " + "; ".join(f"{', '.join(parts)} ({source})" for parts, source in groups)


def decide(wishes: Wishes, given: Given | None, default_size: Size) -> Preparation:
    """Take each choice from `wishes`, else from what is known of the `given` weights, else a usual value.

    Without weights the usual stride of the first convolution keeps small images from vanishing; weights are taken to
    be of torchvision's stock network, whose stride is 2 at any size.

    Raises:
        UsageError: a wish that cannot be.
    """
    known = given.known if given else None
    usual = "assumed" if given else "default"
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def choose(name: str, wish: Any, known_value: Any, otherwise: Any, why: str = usual) -> Any:
        if wish is not None:
            found[name], sources[name] = wish, "given"
        elif known is not None and known_value is not None:
            found[name], sources[name] = known_value, known.where
        else:
            found[name], sources[name] = otherwise, why
        return found[name]

    spec = known.preprocessing if known else None
    size: Size = choose("image_size", wishes.image_size, spec and spec.image_size, default_size)
    same = spec is not None and spec.size == height_width(size)
    choose("resize", wishes.resize, spec.resize if spec and same else None, _usual_resize(size))
    choose("mean", wishes.mean, spec and spec.mean, _MEAN, f"{usual}: ImageNet's")
    choose("std", wishes.std, spec and spec.std, _STD, f"{usual}: ImageNet's")
    choose("interpolation", wishes.interpolation, spec and spec.interpolation, "bilinear")
    if given is not None:
        stride, why = 2, "assumed: torchvision's"
    else:
        stride, why = (1 if min(height_width(size)) < _SMALL else 2), usual
    stride = choose("stem_stride", wishes.stem_stride, known and known.stem_stride, stride, why)
    _check(found)
    del found["stem_stride"]
    return Preparation(msgspec.convert(found, Preprocessing), stride, sources)


def _usual_resize(size: Size) -> Size:
    """Return 8/7 of the crop for the shorter side, a small crop whole; where the crop is no square, exactly that."""
    height, width = height_width(size)
    if height != width:
        return height, width
    return height if height < _SMALL else round(height * 256 / 224)


def _check(found: dict[str, Any]) -> None:
    """Raise UsageError for what the records of the formats do not rule out, or not in words that help."""
    for name, largest in (("image_size", LARGEST), ("resize", LARGEST_RESIZED)):
        sides = height_width(found[name])
        if min(sides) < SMALLEST or max(sides) > largest:
            expected = f"expected at least {SMALLEST} pixels, and at most {largest}"
            raise UsageError(f"{name} is {short_size_text(found[name])}; {expected}")
    if problem := resize_problem(found["resize"], found["image_size"]):
        raise UsageError(f"{problem}; give --resize or --image-size")
    scale = "pixels are taken from 0 to 1, so divide what is meant for 0 to 255 by 255"
    if not all(0 <= value <= 1 for value in found["mean"]):
        raise UsageError(f"mean is {_numbers(found['mean'])}; expected numbers from 0 to 1: {scale}")
    if not all(_SMALLEST_STD <= value <= 1 for value in found["std"]):
        expected = f"expected numbers above 0 (at least {_SMALLEST_STD:g}), at most 1"
        raise UsageError(f"std is {_numbers(found['std'])}; {expected}: {scale}")
    allowed = msgspec.json.schema(Preprocessing)["$defs"]["Preprocessing"]["properties"]["interpolation"]["enum"]
    if found["interpolation"] not in allowed:
        raise UsageError(f"interpolation is {found['interpolation']!r}; expected one of {', '.join(allowed)}")


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
