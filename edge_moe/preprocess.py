"""RGB image -> input tensor. Training, calibration and the runtime all use these functions.

Axis letters: B batch, H W height and width. Pixels are uint8 RGB, tensors float32 NHWC.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import Preprocessing
from edge_moe.decode import Source, to_rgb
from edge_moe.errors import UsageError
from edge_moe.sizes import resize_problem

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["normalize", "prepare", "resize_crop"]


def resize_crop(image: Image.Image, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize to `spec.resize` with antialiasing, cut out the centre -> uint8 [H, W, 3].

    One number is the new length of the shorter side; two are height and width, and proportions are not kept. The
    sizes are rounded as torchvision's Resize and CenterCrop do. Only the cut is computed: a picture of one by a million
    pixels needs no more memory than another.

    Raises:
        UsageError: `spec` resizes to less than the crop.
    """
    if problem := resize_problem(spec.resize, spec.image_size):
        raise UsageError(problem)
    width, height = image.size
    if isinstance(spec.resize, int):
        short = min(width, height)
        new_width = spec.resize if width == short else int(spec.resize * width / short)
        new_height = spec.resize if height == short else int(spec.resize * height / short)
    else:
        new_height, new_width = spec.resize
    crop_height, crop_width = spec.size
    left, top = round((new_width - crop_width) / 2), round((new_height - crop_height) / 2)
    across, down = width / new_width, height / new_height  # source pixels a resized pixel
    box = (
        left * across,
        top * down,
        min((left + crop_width) * across, width),
        min((top + crop_height) * down, height),
    )
    return np.array(_resized(image, (crop_width, crop_height), spec.interpolation, box), dtype=np.uint8)


# How far, in resized pixels, a filter reaches to either side.
_REACH = {"bilinear": 1, "bicubic": 2}


def _resized(
    image: Image.Image, size: tuple[int, int], interpolation: str, box: tuple[float, float, float, float]
) -> Image.Image:
    """Resize `box` of the image, left, top, right, bottom, to `size`, width and height: across first, then down.

    Each pass rounds to 8 bits, so that their order decides about a grey level, by bicubic about several. Pillow's own
    is another one since version 13, where the height shrinks more than the width.
    """
    from PIL import Image

    method = Image.Resampling[interpolation.upper()]
    if interpolation not in _REACH:
        return image.resize(size, method, box=box)
    left, top, right, bottom = box
    reach = _REACH[interpolation] * max((bottom - top) / size[1], 1.0) + 1
    first, last = max(0, int(top - reach)), min(image.height, math.ceil(bottom + reach))  # rows that are read
    rows = image.crop((0, first, image.width, last))
    rows = rows.resize((size[0], last - first), method, box=(left, 0, right, last - first))
    return rows.resize(size, method, box=(0, top - first, size[0], bottom - first))


def normalize(pixels: npt.NDArray[np.uint8], spec: Preprocessing) -> npt.NDArray[np.float32]:
    """[..., 3] uint8 pixels, one image or a batch -> float32 (pixels / 255 - mean) / std of the same shape."""
    mean, std = np.array(spec.mean, dtype=np.float32), np.array(spec.std, dtype=np.float32)
    result: npt.NDArray[np.float32] = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return result


def prepare(source: Source, spec: Preprocessing) -> npt.NDArray[np.float32]:
    """Turn any source that `to_rgb` takes into the input tensor: float32 [1, H, W, 3].

    Raises:
        DataError: the source is not an image.
    """
    return normalize(resize_crop(to_rgb(source), spec), spec)[np.newaxis]
