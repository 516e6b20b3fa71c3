"""Image sizes: 224 is 224 x 224; (224, 320) is 224 high and 320 wide, in JSON [224, 320], as an option 224x320."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from edge_moe.errors import UsageError

__all__ = [
    "LARGEST",
    "LARGEST_RESIZED",
    "SMALLEST",
    "Size",
    "StoredSize",
    "height_width",
    "parse_size",
    "resize_problem",
    "short_size_text",
    "size_text",
]

Size: TypeAlias = int | tuple[int, ...]  # of a square, or (H, W)

SMALLEST, LARGEST = 8, 8192  # pixels a side that a network takes
LARGEST_RESIZED = 8 * LARGEST  # of what is cut to it

# The same in a file. Not tuple[int, int]: msgspec 0.22 crashes on a union of that and a number with a bound.
_Side = Annotated[int, msgspec.Meta(ge=1)]
StoredSize = _Side | Annotated[tuple[_Side, ...], msgspec.Meta(min_length=2, max_length=2)]


def height_width(size: Size) -> tuple[int, int]:
    """Return (height, width) in pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def size_text(size: Size) -> str:
    """Return "224 x 320", height first."""
    height, width = height_width(size)
    return f"{height} x {width}"


def short_size_text(size: Size) -> str:
    """Return "224" for a square, else "224 x 320"."""
    height, width = height_width(size)
    return str(height) if height == width else size_text(size)


def resize_problem(resize: Size, crop: Size) -> str | None:
    """Say why a picture, of whatever proportions, cannot be cropped once it was resized; None where it can."""
    height, width = height_width(crop)
    if isinstance(resize, int):
        side = "" if height == width else "the longer side of "
        small = resize < max(height, width)
    else:
        side = ""
        small = resize[0] < height or resize[1] < width
    found = resize if isinstance(resize, int) else size_text(resize)
    expected = f"expected at least {side}image_size, which is {short_size_text(crop)}"
    return f"resize is {found}; {expected}" if small else None


def parse_size(text: str, name: str) -> Size:
    """Read "224", or "224x320" as (224, 320); `name` is what the error calls it.

    Raises:
        UsageError: it is neither. Whether the numbers make sense is for who uses them.
    """
    sides = text.lower().replace(" ", "").split("x")
    try:
        numbers = [int(side) for side in sides]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise UsageError(f"{name} is {text!r}; expected pixels, as 224, or height and width, as 224x320")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
