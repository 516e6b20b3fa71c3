"""The image formats that are read: one table for what decodes files, what lists folders, and the documentation.

Pillow can open some forty formats; only these are tried. Others have no business in a set of photographs, and one of
them, PostScript, would start another program on a file that somebody else wrote.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import NamedTuple

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "ImageFormat", "not_built_in", "openable"]


class ImageFormat(NamedTuple):
    """One format, by Pillow's name for it."""

    name: str
    suffixes: tuple[str, ...]
    plugin: str  # Pillow's module that opens it
    feature: str | None = None  # what Pillow must have been built with; None: nothing


FORMATS = (
    ImageFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "JpegImagePlugin", "jpg"),
    ImageFormat("PNG", (".png", ".apng"), "PngImagePlugin", "zlib"),
    ImageFormat("BMP", (".bmp",), "BmpImagePlugin"),
    ImageFormat("GIF", (".gif",), "GifImagePlugin"),
    ImageFormat("WEBP", (".webp",), "WebPImagePlugin", "webp"),
    ImageFormat("TIFF", (".tif", ".tiff"), "TiffImagePlugin"),
    ImageFormat("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), "PpmImagePlugin"),
    ImageFormat("AVIF", (".avif",), "AvifImagePlugin", "avif"),  # since Pillow 11.3
    ImageFormat("JPEG2000", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), "Jpeg2KImagePlugin", "jpg_2000"),
)

IMAGE_SUFFIXES = tuple(sorted(suffix for one in FORMATS for suffix in one.suffixes))


@cache
def openable() -> tuple[str, ...]:
    """Return Pillow's names of the formats of the table that the installed Pillow decodes."""
    return tuple(one.name for one in FORMATS if _is_built_in(one))


def not_built_in(suffix: str) -> str | None:
    """Return the format that files of `suffix` have, where it is one that the installed Pillow was built without."""
    for one in FORMATS:
        if suffix.lower() in one.suffixes and one.name not in openable():
            return one.name
    return None


def _is_built_in(one: ImageFormat) -> bool:
    from PIL import features

    try:  # also makes it known to Image.open, which otherwise loads every plugin there is
        importlib.import_module(f"PIL.{one.plugin}")
    except ImportError:
        return False
    if one.feature is None:
        return True
    # features.check warns of a name that this version does not know.
    return one.feature in (*features.modules, *features.codecs) and bool(features.check(one.feature))
