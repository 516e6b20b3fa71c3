"""What the records of the file formats have in common: strict, immutable, with numbers in their ranges."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec

__all__ = ["Count", "Digest", "Fraction", "Positive", "Strict", "file_sha256", "sha256", "to_json"]

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every record of a file of a bundle: immutable, and no key may be unknown or missing."""


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in lowercase hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(file: Path) -> str:
    """Return the same of what is in `file`, which is not read into memory whole; raise OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_json(value: Any) -> bytes:
    """Encode a file for a person to read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
