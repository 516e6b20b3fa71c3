"""Which images were these? Known again by what is in them, whatever their files are called and in whatever order.

An image is known by its pixels as the network gets them, after resizing and cutting out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.records import sha256

__all__ = ["chose_recipe", "fingerprint", "images_digest"]

_PARITY = "parity.json"  # what writes it needs torch
_DIGITS = 12  # of hexadecimal: of a million images one pair in five hundred runs would be mixed up


def fingerprint(pixels: npt.NDArray[np.uint8]) -> str:
    """Return what an image is known by: 12 hexadecimal digits. `pixels`: uint8 [H, W, 3]."""
    return sha256(pixels.tobytes())[:_DIGITS]


def images_digest(fingerprints: Iterable[str]) -> str:
    """Return the SHA-256 of a set of images, in whatever order, in lowercase hexadecimal."""
    return sha256(" ".join(sorted(fingerprints)).encode())


def chose_recipe(bundle: Path, backend: str, fingerprints: Sequence[str]) -> int:
    """Return by how many of these images `convert` chose the recipe of a backend, as far as its report tells."""
    try:
        report = msgspec.json.decode((bundle / _PARITY).read_bytes(), type=_Parity)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):  # an app may ship a bundle without it
        return 0
    chosen = set(report.fingerprints.split()) if backend in report.ranked else set()
    return sum(one in chosen for one in fingerprints)


class _Parity(msgspec.Struct):
    """Of parity.json what is asked here."""

    fingerprints: str = ""
    ranked: dict[str, msgspec.Raw] = {}  # backends whose recipe nobody named
