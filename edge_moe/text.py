"""Names as text: one spelling for equal ones, something to print for those that are no text; and a count in words."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

__all__ = ["counted", "is_text", "nfc", "printable"]


def counted(experts: int) -> str:
    """Return in words how many experts there are: "4 experts", or, for none, "a plain network"."""
    return f"{experts} expert{'s' if experts > 1 else ''}" if experts else "a plain network"


def nfc(name: str) -> str:
    """Return `name` with its accents composed: macOS writes folders with them apart, other systems do not."""
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    """Return whether `name` can be written down; a file's name may hold bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(path: Path | str) -> str:
    r"""Return `path` with bytes that are no UTF-8 as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
