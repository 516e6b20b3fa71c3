"""JSON that somebody else may have written: read within bounds, and what is wrong with it told in one line."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_moe.text import one_line

__all__ = ["MOST_BYTES", "Malformed", "OtherVersion", "as_record", "parsed", "read", "versioned"]

# Of one file: what the page in a browser and the app take of a manifest, too. A real one has some ten thousand.
MOST_BYTES = 16 << 20
_QUOTED = 200  # characters of a file in a message
_ONE_VALUE = 40

T = TypeVar("T")


class Malformed(ValueError):
    """What is wrong with a file, in words that follow "it is not ...: "."""


class OtherVersion(Exception):
    """The file is of another schema version, or of none; its text is the version, for a message."""

    def __init__(self, found: Any) -> None:
        """`found`: what stands where the version should."""
        super().__init__(_quoted(found))
        self.found = found


def read(file: Path, most: int = MOST_BYTES) -> bytes:
    """Return what is in `file`, which is not read where it has more than `most` bytes.

    Raises:
        Malformed: it has, or is a pipe or a device, from which reading may never end.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise Malformed("it is not a regular file")
    with file.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Malformed(f"it has more than {most:,} bytes")
    return data


def parsed(data: bytes) -> Any:
    """Return the JSON in `data`; raise Malformed where there is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(_words(error)) from None


def versioned(data: bytes, *versions: int) -> dict[str, Any]:
    """Return the JSON object in `data`, which is of one of these schema versions.

    Raises:
        Malformed: there is no JSON in it.
        OtherVersion: it is of another version.
    """
    raw = parsed(data)
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    if found not in versions:
        raise OtherVersion(found)
    return dict(raw)


def as_record(raw: Any, kind: type[T]) -> T:
    """Return parsed JSON as a record of `kind`; raise Malformed where it is none."""
    try:
        return msgspec.convert(raw, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Malformed(_words(error)) from None


def _quoted(value: Any) -> str:
    """Return a value of a file for a message."""
    return one_line(str(value), _ONE_VALUE) if isinstance(value, str | int | float | None) else type(value).__name__


def _words(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else one_line(str(error), _QUOTED)
