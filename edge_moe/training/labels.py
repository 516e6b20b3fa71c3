"""Labels: one name a class, in the order of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_moe.errors import UsageError
from edge_moe.files import no_file, why
from edge_moe.text import nfc
from edge_moe.untrusted import Malformed, read

__all__ = ["check_labels", "normal", "read_labels"]

_EXPECTED = "expected a text file in UTF-8 with one label a line"


def normal(labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels in Unicode's form NFC: letters with accents can be written in two ways that look the same."""
    return tuple(map(nfc, labels))


def read_labels(file: Path) -> tuple[str, ...]:
    """Read the label of each line. A byte order mark, white space around a label and empty lines at the end go.

    Raises:
        UsageError: no such file, not UTF-8, an empty line before another label, or a label twice.
    """
    if found := no_file(file):
        raise UsageError(f"{file} {found}; {_EXPECTED}")
    try:
        data = read(file)
    except Malformed as error:
        raise UsageError(f"{file} is no list of labels: {error}; {_EXPECTED}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {why(error)}; {_EXPECTED}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        looks = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data else ""
        raise UsageError(f"{file} is not a text file in UTF-8{looks}; {_EXPECTED}: save it again as UTF-8")
    # Not splitlines: it takes more characters than a line's end for one, and a label more shifts all that follow.
    lines = normal([line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")])
    while lines and not lines[-1]:
        lines = lines[:-1]
    if not lines:
        raise UsageError(f"{file} has no label; {_EXPECTED}")
    seen: dict[str, int] = {}
    for number, label in enumerate(lines, 1):
        if not label:
            raise UsageError(
                f"{file} has no label on line {number} of {len(lines)}; {_EXPECTED}: fill it in or remove it"
            )
        if label in seen:
            raise UsageError(
                f"{file} has the label {label!r} on line {seen[label]} and on line {number}; expected different ones"
            )
        seen[label] = number
    return lines


def check_labels(labels: Sequence[str], source: str, classes: int, weights: str) -> None:
    """Raise UsageError unless `labels`, which came from `source`, are as many as `weights` give logits."""
    if len(labels) != classes:
        raise UsageError(
            f"{source} has {len(labels)} labels, and {weights} gives {classes} logits; expected one label a logit, "
            "in their order"
        )
