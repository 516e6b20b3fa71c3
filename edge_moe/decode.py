"""Image file, PIL image or array -> RGB: the one place where bytes of somebody else's image are opened.

Axis letters: H W height and width. Pixels are uint8.
"""

from __future__ import annotations

import functools
import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from edge_moe.errors import DataError
from edge_moe.files import no_file, why
from edge_moe.formats import not_built_in, openable

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Source", "load_image", "to_rgb"]

Source: TypeAlias = "str | Path | bytes | BinaryIO | npt.NDArray[np.uint8] | Image.Image"

_FORMATS = "expected an image such as .jpg or .png"
# Files of these have no more than 16 bits a pixel, which Pillow scales to the whole of them.
_SIXTEEN_BITS = ("PNG", "PPM")
_ARRAYS = "expected a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
_ORIENTATION = 0x0112  # in EXIF; 1 is upright
_ROWS = 64  # that are worked on at once where that takes memory
# A JPEG's size is two numbers in a small file, and at an eighth its decoder still goes over all of it.
_MOST_REDUCED = 1_000_000_000  # pixels
_MOST_REDUCING = 8 * 8  # an eighth of its sides is the least that a JPEG can be decoded at


def load_image(source: str | Path | bytes | BinaryIO) -> Image.Image:
    """Decode an image file, its bytes or a stream of them -> RGB, upright (EXIF), transparent pixels on white.

    Of an animation the first frame. A JPEG of more pixels than Pillow takes (PIL.Image.MAX_IMAGE_PIXELS) is decoded at
    a half, a quarter or an eighth of its sides, which its format allows.

    Raises:
        DataError: no file there, or not an image that can be decoded, or one of an absurd size.
    """
    if isinstance(source, str | Path):
        file = Path(source)
        _check_file(file)
        return _opened(file, str(file), file.suffix)
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise DataError(f"the data is empty; {_FORMATS}")
        source = io.BytesIO(source)
    elif not (hasattr(source, "seekable") and source.seekable()):
        source = io.BytesIO(source.read())
    return _opened(source, "the data", "")


def to_rgb(source: Source) -> Image.Image:
    """Turn a file, its bytes, a PIL image of any mode, or a uint8 array [H, W], [H, W, 1|3|4] into an RGB image.

    Transparent pixels go on white; 16-bit grey is scaled to 8 bits; EXIF orientation is honoured. Other deep pixels
    are refused: whether 200 of 2^32 is nearly white or black, nothing in them tells.

    Raises:
        DataError: the source is none of these, is empty, or cannot be decoded.
    """
    if isinstance(source, str | Path | bytes | bytearray | memoryview) or hasattr(source, "read"):
        return load_image(cast("str | Path | bytes | BinaryIO", source))

    from PIL import Image

    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image")
    if not isinstance(source, np.ndarray):
        raise DataError(
            f"cannot read an image from {type(source).__name__}; {_ARRAYS}, a path, a file's bytes or a PIL image"
        )
    if source.dtype != np.uint8:
        raise DataError(
            f"the array has dtype {source.dtype}; {_ARRAYS}: "
            "for an already normalised float32 tensor use predict_tensor"
        )
    if not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))) or source.size == 0:
        raise DataError(f"the array has shape {list(source.shape)}; {_ARRAYS}: one image, not empty, channels last")
    pixels = source[:, :, 0] if source.ndim == 3 and source.shape[2] == 1 else source
    return _rgb(Image.fromarray(np.ascontiguousarray(pixels)), "the array")


def _check_file(file: Path) -> None:
    """Raise DataError where `file` is nothing that can be read to its end, before anything waits for it."""
    if found := no_file(file):
        raise DataError(f"{file} {found}; {_FORMATS}: check the path")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty; {_FORMATS}: copy it again")


def _opened(source: Path | BinaryIO, name: str, suffix: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on odd metadata; the pixels are what counts
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(source, formats=openable()) as image:
                return _upright_rgb(image, name)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            return _reduced(source, name)
        except UnidentifiedImageError:
            if missing := not_built_in(suffix):
                raise DataError(
                    f"{name} is {missing}, which the installed Pillow was built without; update Pillow, or convert it"
                ) from None
            raise DataError(f"{name} is not an image; {_FORMATS}: convert it or leave it out") from None
        except DataError:
            raise
        except Exception as error:  # on a malformed file Pillow's plugins raise nearly anything
            raise DataError(f"{name} cannot be read: {why(error)}; {_FORMATS}: copy or convert it again") from None


def _reduced(source: Path | BinaryIO, name: str) -> Image.Image:
    """Decode a JPEG that is too large at a half, a quarter or an eighth of its sides."""
    from PIL import Image, JpegImagePlugin

    most = Image.MAX_IMAGE_PIXELS or _MOST_REDUCED
    refused = DataError(f"{name} is too large; expected at most {most:,} pixels, or a JPEG: make it smaller")
    if not isinstance(source, Path):
        source.seek(0)
    try:
        image = JpegImagePlugin.JpegImageFile(source)
    except Exception:
        raise refused from None
    largest = f"{min(_MOST_REDUCED, _MOST_REDUCING * most):,}"
    too_large = DataError(f"{name} is too large; expected at most {largest} pixels of a JPEG: make it smaller")
    with image:
        width, height = image.size
        scale = next((by for by in (2, 4, 8) if -(-width // by) * -(-height // by) <= most), None)
        if scale is None or width * height > _MOST_REDUCED:
            raise too_large
        image.draft("RGB", (max(1, width // scale), max(1, height // scale)))
        if image.width * image.height > most:  # a kind of JPEG whose decoder cannot
            raise refused
        return _upright_rgb(image, name)


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
        if image.getexif().get(_ORIENTATION, 1) != 1:  # else it would be copied
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
            return _on_white(image)
        return image.convert("RGB")
    except Exception as error:  # of a palette, or a transparent colour, that is none
        raise DataError(f"{name} has pixels of mode {image.mode}: {error}; convert it to RGB") from None


def _on_white(image: Image.Image) -> Image.Image:
    """Put transparent pixels on white, some rows at a time: every mode with an alpha takes 4 bytes a pixel, or more."""
    from PIL import Image

    width, height = image.size
    solid = Image.new("RGB", image.size)
    for top in range(0, height, _ROWS):
        rows = image.crop((0, top, width, min(top + _ROWS, height))).convert("RGBA")
        solid.paste(Image.alpha_composite(Image.new("RGBA", rows.size, "white"), rows).convert("RGB"), (0, top))
    return solid


def _eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """[H, W] integers of 16 bits -> uint8, with 65535 becoming 255."""
    scaled: npt.NDArray[np.uint8] = _of_sixteen_bits()[pixels]
    return scaled


@functools.cache
def _of_sixteen_bits() -> npt.NDArray[np.uint8]:
    """[65536] what each value becomes: to look it up takes a byte a pixel, to compute it sixteen."""
    return (np.arange(1 << 16) / 257 + 0.5).astype(np.uint8)
