"""Image sets that need no file: scikit-learn's handwritten digits, the same made hard, and noise.

`cluttered-digits` is made of `digits` as Cluttered MNIST is of MNIST (Mnih et al., 2014, "Recurrent Models of Visual
Attention"): each digit several times, scaled, turned, slanted, shifted and coloured, before a mottled ground and among
fragments of other digits, under noise. The digits are split first, so that the versions of one, and what their clutter
is cut from, lie on one side of the split.

All of it is integer arithmetic on integers drawn under a seed: the same images on every processor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_moe.errors import MissingExtraError
from edge_moe.labelled import LabelledImages, Split

__all__ = ["CLUTTERED", "DIGITS", "EMBEDDED", "NOISE"]

DIGITS = "digits"
CLUTTERED = "cluttered-digits"
NOISE = "noise"

Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]

# One digit in five is kept for validation; the seed is part of the data set's definition.
_DIGITS_VAL_SHARE, _DIGITS_SEED = 5, 0
_NOISE_IMAGES, _NOISE_SEED = 256, 0

# Of `cluttered-digits`; ranges are [from, to).
_VERSIONS = 10
_SEED = 1
_SIDE = 32
_FRAGMENTS = 2
_HALF_TURN = 1024  # tan(angle / 2) is drawn in parts of this


def _digits(split: Split) -> LabelledImages:
    levels, targets, chosen = _stored(split)
    # Grey levels 0..16 become 0..255.
    images = np.clip(levels * 16, 0, 255).astype(np.uint8)
    return LabelledImages(DIGITS, tuple("0123456789"), list(images), targets[chosen])


def _stored(split: Split) -> tuple[Ints, Indices, Indices]:
    """Return one side of the split: grey levels 0 to 16 [N, 8, 8], the classes of all [1797], and their index [N]."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtraError("scikit-learn", "train", "the embedded digits") from None
    stored: Any = load_digits()
    order = np.random.default_rng(_DIGITS_SEED).permutation(len(stored.images))
    in_val = np.arange(len(order)) % _DIGITS_VAL_SHARE == 0
    chosen = np.sort(order[in_val if split == "val" else ~in_val])
    return stored.images[chosen].astype(np.int32), stored.target.astype(np.int64), chosen


@cache
def _cluttered(split: Split) -> LabelledImages:
    levels, targets, chosen = _stored(split)
    versions = [_version(levels, np.random.default_rng([_SEED, split == "val", number])) for number in range(_VERSIONS)]
    images = np.stack(versions, axis=1).reshape(-1, _SIDE, _SIDE, 3)  # the versions of a digit side by side
    groups = np.repeat(chosen, len(versions))
    return LabelledImages(CLUTTERED, tuple("0123456789"), list(images), targets[groups], groups)


def _version(levels: Ints, draw: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Grey levels 0 to 16 [N, 8, 8] -> one image of each, uint8 [N, 32, 32, 3]."""
    n = len(levels)
    light = draw.integers(2, size=(n, 1)) == 0  # ink on a dark ground
    dark, bright = _drawn(draw, 0, 110, n, 3), _drawn(draw, 145, 256, n, 3)
    ink, ground = np.where(light, bright, dark), np.where(light, dark, bright)

    image = _mottled(ground, draw)
    for _ in range(_FRAGMENTS):
        tint = np.clip(ink + _drawn(draw, -60, 61, n, 3), 0, 255)
        image = _paint(image, _fragments(levels, draw), _placed(n, (13, 20), 600, 15, draw), tint, draw)
    image = _paint(image, levels, _placed(n, (22, 32), 160, 2, draw), ink, draw)
    grain = draw.integers(4, 20, (n, 1, 1, 1), dtype=np.int16)
    noise = draw.integers(-128, 128, (2, *image.shape), dtype=np.int16).sum(axis=0, dtype=np.int16) * grain >> 7
    pixels: npt.NDArray[np.uint8] = np.clip(image + noise, 0, 255).astype(np.uint8)
    return pixels


def _drawn(draw: np.random.Generator, low: int, high: int, *shape: int) -> Ints:
    """Return integers from `low` to under `high`."""
    return draw.integers(low, high, shape, dtype=np.int32)


def _mottled(ground: Ints, draw: np.random.Generator) -> Ints:
    """[N, 3] colours -> [N, 32, 32, 3] grounds that vary smoothly about them."""
    n, knots = len(ground), 6
    coarse = _drawn(draw, -256, 256, n, knots, knots, 3) * _drawn(draw, 10, 60, n, 1, 1, 1) >> 8
    # What each knot adds to each pixel of a line, in 256ths.
    step = (np.arange(_SIDE, dtype=np.int32) * (knots - 1) << 8) // _SIDE
    weights = np.maximum(256 - np.abs(step[:, np.newaxis] - (np.arange(knots, dtype=np.int32) << 8)), 0)
    fine = np.einsum("yi,nijc->nyjc", weights, coarse) >> 8
    mottled: Ints = ground[:, np.newaxis, np.newaxis] + (np.einsum("xj,nyjc->nyxc", weights, fine) >> 8)
    return mottled


def _fragments(levels: Ints, draw: np.random.Generator) -> Ints:
    """[N, 8, 8] -> a quarter of some digit each, blank elsewhere: [N, 8, 8]."""
    n = len(levels)
    pixel = np.arange(8)
    down, across = (_drawn(draw, 1, 4, n, 1) for _ in range(2))
    rows, columns = ((pixel >= first) & (pixel < first + 4) for first in (down, across))
    return levels[draw.integers(n, size=n)] * (rows[:, :, np.newaxis] & columns[:, np.newaxis, :])


def _placed(n: int, sizes: tuple[int, int], turn: int, shift: int, draw: np.random.Generator) -> tuple[Ints, Ints]:
    """Return where pixel (x, y) of N images lies in the 8 x 8 of a digit, in 256ths of its pixels: [N, 32, 32] twice.

    Args:
        n: N.
        sizes: of the digit's square, in pixels, [from, to).
        turn: tan(angle / 2) is drawn from +-turn / 1024.
        shift: its centre is drawn from +-shift pixels about the middle.
        draw: the generator.
    """
    size = _drawn(draw, sizes[0] << 4, sizes[1] << 4, n, 1, 1).astype(np.int64)  # in 16ths of a pixel
    half = _drawn(draw, -turn, turn + 1, n, 1, 1).astype(np.int64)
    slant = _drawn(draw, -80, 81, n, 1, 1)  # in 256ths
    centre_x, centre_y = _drawn(draw, -(shift << 4), (shift << 4) + 1, 2, n, 1, 1)
    # cos = (1 - t^2) / (1 + t^2) and sin = 2 t / (1 + t^2), t = tan(angle / 2): no function that libraries round apart.
    whole = (_HALF_TURN**2 + half**2) * size
    cos, sin = (
        ((8 * 16 << 12) * part // whole).astype(np.int32)  # times 8 / size, in 4096ths
        for part in (_HALF_TURN**2 - half**2, 2 * _HALF_TURN * half)
    )
    pixel = (np.arange(_SIDE, dtype=np.int32) << 4) + 8 - (_SIDE << 3)  # of its centre, from the middle, in 16ths
    x, y = pixel - centre_x, pixel[:, np.newaxis] - centre_y
    across, down = (cos * x + sin * y) >> 8, (cos * y - sin * x) >> 8
    middle = (4 << 8) - 128
    return across + (slant * down >> 8) + middle, down + middle


def _paint(image: Ints, shapes: Ints, place: tuple[Ints, Ints], ink: Ints, draw: np.random.Generator) -> Ints:
    """Lay `shapes` [N, 8, 8], grey levels 0 to 16, in the colours `ink` [N, 3] over `image` [N, 32, 32, 3]."""
    n, side = len(shapes), 10
    padded = np.pad(shapes, ((0, 0), (1, 1), (1, 1))).ravel()  # blank all around
    x, y = (np.clip(at + 256, 0, ((side - 1) << 8) - 1) for at in place)
    right, below = x & 255, y & 255
    corner = np.arange(n, dtype=np.int32)[:, np.newaxis, np.newaxis] * side**2 + (y >> 8) * side + (x >> 8)
    upper = padded[corner] * (256 - right) + padded[corner + 1] * right
    lower = padded[corner + side] * (256 - right) + padded[corner + side + 1] * right
    level = (upper * (256 - below) + lower * below) >> 12  # bilinear, 0 to 256
    cover = (level * _drawn(draw, 160, 257, n, 1, 1) >> 8)[..., np.newaxis]
    painted: Ints = image + (cover * (ink[:, np.newaxis, np.newaxis] - image) >> 8)
    return painted


def _noise(split: Split) -> LabelledImages:
    # Coarse noise of varying contrast, enlarged: images that differ in more than their finest detail.
    draw = np.random.default_rng(_NOISE_SEED + (split == "val"))
    images = []
    for _ in range(_NOISE_IMAGES):
        coarse = draw.normal(128, draw.uniform(5, 120), size=(8, 8, 3))
        images.append(np.clip(coarse, 0, 255).astype(np.uint8))
    return LabelledImages(NOISE, (), images, np.zeros(len(images), dtype=np.int64))


# Name -> what makes a split of it.
EMBEDDED: dict[str, Callable[[Split], LabelledImages]] = {
    DIGITS: _digits,
    CLUTTERED: _cluttered,
    NOISE: _noise,
}
