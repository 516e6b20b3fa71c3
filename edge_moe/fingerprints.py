"""Which images were these? Known again by what is in them, whatever their files are called and in whatever order.

An image is known by its pixels as the network gets them, after resizing and cutting out.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edge_moe.records import sha256

__all__ = ["fingerprint", "images_digest"]

_DIGITS = 12  # of hexadecimal: of a million images one pair in five hundred runs would be mixed up


def fingerprint(pixels: npt.NDArray[np.uint8]) -> str:
    """Return what an image is known by: 12 hexadecimal digits. `pixels`: uint8 [H, W, 3]."""
    return sha256(pixels.tobytes())[:_DIGITS]


def images_digest(fingerprints: Iterable[str]) -> str:
    """Return the SHA-256 of a set of images, in whatever order, in lowercase hexadecimal."""
    return sha256(" ".join(sorted(fingerprints)).encode())
