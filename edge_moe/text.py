"""Names as text: one spelling for equal ones, something to print for those that are no text; and a count in words."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

__all__ = ["counted", "in_csv", "in_markdown", "is_text", "nfc", "one_line", "printable"]

_LONGEST = 2000  # characters of a message
_JOINERS = "\u200c\u200d"  # between letters of some scripts, and in signs that are made of several


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
    r"""Return `path` as a terminal can show it: bytes that are no UTF-8 as \xNN, and escaped what is no character.

    A control character would move the cursor or hide what follows; one that turns the direction of writing makes a
    name look like another.
    """
    try:
        encoded = str(path).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte of a file's name
        encoded = str(path).encode("utf-8", "backslashreplace")
    shown = encoded.decode("utf-8", "backslashreplace")
    return shown if shown.isprintable() else "".join(map(_shown, shown))


def one_line(text: str, most: int = _LONGEST) -> str:
    """Return `text` in one line that can be shown, of at most `most` characters: the middle is left out of a longer."""
    line = printable(" ".join(text.split()))
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half]} ... {line[-half:]}"


def in_markdown(text: str) -> str:
    """Return `text` in one line that markdown leaves as it is: no link, no HTML, and no end of a table's cell."""
    return re.sub(r"([\\|<>`\[\]])", r"\\\1", printable(" ".join(text.split())))


def in_csv(cell: object) -> object:
    """Return a cell that a spreadsheet does not take for a formula: text that begins like one gets an apostrophe."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode()
