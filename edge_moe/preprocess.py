"""Image file, PIL image or array -> input tensor. Training, calibration and the runtime all use these functions.

Axis letters: B batch, H W height and width. Pixels are uint8 RGB, tensors float32 NHWC.
"""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import Preprocessing
from edge_moe.errors import DataError, UsageError
from edge_moe.formats import not_built_in, openable
from edge_moe.sizes import resize_problem

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Source", "load_image", "normalize", "prepare", "resize_crop", "to_rgb"]

Source: TypeAlias = "str | Path | npt.NDArray[np.uint8] | Image.Image"

_FORMATS = "expected an image such as .jpg or .png"
# Files of these have no more than 16 bits a pixel, which Pillow scales to the whole of them.
_SIXTEEN_BITS = ("PNG", "PPM")
_ARRAYS = "expected a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"


def load_image(path: str | Path) -> Image.Image:
    """Decode an image file -> RGB, upright (EXIF), transparent pixels on white. Of an animation the first frame.

    Raises:
        DataError: no file there, or not an image that can be decoded, or one of an absurd size.
    """
    from PIL import Image, UnidentifiedImageError

    file = Path(path)
    if file.is_dir():
        raise DataError(f"{file} is a folder; {_FORMATS}: name a file in it")
    if not file.exists():
        raise DataError(f"{file} does not exist; {_FORMATS}: check the path")
    if file.is_file() and file.stat().st_size == 0:
        raise DataError(f"{file} is empty; {_FORMATS}: copy it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on odd metadata; the pixels are what counts
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=openable()) as image:
                return _upright_rgb(image, str(file))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            limit = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
            raise DataError(f"{file} is too large; expected at most {limit} pixels: make it smaller") from None
        except UnidentifiedImageError:
            if missing := not_built_in(file.suffix):
                raise DataError(
                    f"{file} is {missing}, which the installed Pillow was built without; update Pillow, or convert it"
                ) from None
            raise DataError(f"{file} is not an image; {_FORMATS}: convert it or leave it out") from None
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error}; {_FORMATS}: copy or convert it again") from None


def to_rgb(source: Source) -> Image.Image:
    """Turn a file, a PIL image of any mode, or a uint8 array [H, W], [H, W, 1|3|4] into an RGB image.

    Transparent pixels go on white; 16-bit grey is scaled to 8 bits; EXIF orientation is honoured. Other deep pixels
    are refused: whether 200 of 2^32 is nearly white or black, nothing in them tells.

    Raises:
        DataError: the source is none of these, is empty, or cannot be decoded.
    """
    if isinstance(source, str | Path):
        return load_image(source)

    from PIL import Image

    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image")
    if not isinstance(source, np.ndarray):
        raise DataError(f"cannot read an image from {type(source).__name__}; {_ARRAYS}, a path or a PIL image")
    if source.dtype != np.uint8:
        raise DataError(
            f"the array has dtype {source.dtype}; {_ARRAYS}: "
            "for an already normalised float32 tensor use predict_tensor"
        )
    if not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))) or source.size == 0:
        raise DataError(f"the array has shape {list(source.shape)}; {_ARRAYS}: one image, not empty, channels last")
    pixels = source[:, :, 0] if source.ndim == 3 and source.shape[2] == 1 else source
    return _rgb(Image.fromarray(np.ascontiguousarray(pixels)), "the array")


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


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    from PIL import ImageOps

    if 0 in image.size:
        raise DataError(f"{name} has no pixels; {_FORMATS}")
    try:
        image.load()
    except Exception as error:  # on a malformed file Pillow's decoders raise nearly anything
        raise DataError(f"{name} cannot be decoded: {error}; {_FORMATS}: copy or convert it again") from None
    sixteen = image.format in _SIXTEEN_BITS
    with suppress(Exception):  # malformed EXIF is no reason to refuse good pixels
        image = ImageOps.exif_transpose(image)
    return _rgb(image, name, sixteen_bits=sixteen)


def _rgb(image: Image.Image, name: str, *, sixteen_bits: bool = False) -> Image.Image:
    """Turn pixels of any mode into RGB; with `sixteen_bits` those of mode I have no more than that."""
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and sixteen_bits):
        return _rgb(Image.fromarray(_eight_bits(np.asarray(image))), name)
    if image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "float"
        raise DataError(f"{name} has {kind} pixels, whose range is not known; expected 8 or 16 bits: convert it")
    try:
        if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("RGB")
    except ValueError as error:
        raise DataError(f"{name} has pixels of mode {image.mode}: {error}; convert it to RGB") from None


def _eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """[H, W] integers of 16 bits -> uint8, with 65535 becoming 255."""
    return (pixels / 257 + 0.5).astype(np.uint8)
