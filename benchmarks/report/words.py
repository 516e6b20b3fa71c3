"""How numbers read, what files and sets are called, and what series look like: the same wherever they stand.

Costs in words are those of their unit, see `units.Unit`. A chart names its colours: the page has a light and a dark
look for them, pictures take the light one. Colour-blind readers tell them apart; then come other lines and markers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count

from edge_moe.benchmarks.results import Results
from edge_moe.errors import UsageError

__all__ = ["DARK", "LIGHT", "Look", "accuracy", "difference", "file_names", "interval", "listed", "look", "macs",
           "percent", "plural", "sentence", "set_labels", "tau"]  # fmt: skip

# Okabe and Ito, without the two that vanish on white or on black.
_ON_WHITE = ("#0072B2", "#D55E00", "#009E73", "#B5558F", "#56B4E9", "#C98A00")
_ON_BLACK = ("#4FA8E0", "#F0803C", "#2CC79A", "#DB96BF", "#9AD4F5", "#F0B93A")
_TURNS = (("solid", "circle", ""), ("dash", "square", "/"), ("dashdot", "diamond", "."), ("dot", "triangle-up", "x"))


def _theme(colours: Sequence[str], **others: str) -> dict[str, str]:
    shades = {"": "", "-pale": "21", "-thin": "59"}  # how much of it covers what is below, of ff
    found = {f"@{i}{name}": colour + alpha for i, colour in enumerate(colours) for name, alpha in shades.items()}
    return found | {f"@{name}": colour for name, colour in others.items()}


LIGHT = _theme(_ON_WHITE, ink="#1f2328", muted="#5b636d", grid="#e4e7eb", paper="#ffffff", exit="#c9ced6")
DARK = _theme(_ON_BLACK, ink="#e3e6ea", muted="#9aa3ad", grid="#2d333b", paper="#15181c", exit="#4a515b")


tau: Callable[[float], str] = "{:.3g}".format
percent: Callable[[float], str] = "{:.1%}".format  # a share of 1
accuracy: Callable[[float], str] = "{:.2%}".format  # the same, where every image counts


def interval(low: float | None, high: float | None) -> str:
    """Return a 95% interval of shares; empty where it is not known."""
    return "" if low is None or high is None else f"{low:.1%} to {high:.1%}"


def difference(value: float, low: float, high: float) -> str:
    """Return a difference of two shares, in percentage points, with its 95% interval."""
    return f"{100 * value:+.2f} points (95%: {100 * low:+.2f} to {100 * high:+.2f})"


def macs(value: float) -> str:
    """Return multiply-accumulates in millions."""
    return f"{value / 1e6:.3f}"


def plural(number: int, noun: str) -> str:
    """Return '1 image', '2 images'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Iterable[str]) -> str:
    """Return 'a', 'a and b', 'a, b and c'."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def sentence(text: str) -> str:
    """Return text that begins with a capital and ends with a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def file_names(results: Sequence[Results], names: Sequence[str] | None) -> list[str]:
    """Return a name for each file: 'results' where there is one; else the names given, plain and made distinct.

    Raises:
        UsageError: not a name for each file.
    """
    if names is not None and len(names) != len(results):
        raise UsageError(f"there are {len(names)} names for {len(results)} results; expected one for each")
    if len(results) == 1:
        return ["results"]
    found: list[str] = []
    for number, name in enumerate(names or [""] * len(results), 1):
        # Letters beyond ASCII have no place in a file name that travels, and some systems do not tell upper from lower.
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", name).strip("-.")[:60] or f"results-{number}"
        taken = {other.lower() for other in found}
        found.append(
            next(one for one in chain([plain], (f"{plain}-{i}" for i in count(2))) if one.lower() not in taken)
        )
    return found


def set_labels(results: Sequence[Results], names: Sequence[str]) -> list[list[str]]:
    """Return a label for every set of every file, all of them distinct.

    backend/recipe; where files share one, what tells them apart follows: the bundle, the machine, and last the file.
    Where some bundles are trained and others not, every set names its bundle, and the others' are marked UNTRAINED.
    """
    bundles, machines = [file.bundle.name for file in results], [file.machine.name for file in results]
    trained = {file.bundle.trained for file in results}
    marks = [["UNTRAINED"] if len(trained) > 1 and not file.bundle.trained else [] for file in results]
    qualifiers = [each for each in (bundles, machines, names) if len(set(each)) > 1]
    found: list[list[str]] = []
    for most in range(len(trained) > 1 and len(set(bundles)) > 1, len(qualifiers) + 1):
        ends = [", ".join([*(each[i] for each in qualifiers[:most]), *mark]) for i, mark in enumerate(marks)]
        found = [[f"{one.label} ({end})" if end else one.label for one in file.sets]
                 for file, end in zip(results, ends, strict=True)]  # fmt: skip
        if len({label for labels in found for label in labels}) == sum(map(len, found)):
            break
    return found


@dataclass(frozen=True)
class Look:
    """How a series is drawn, in plotly's words."""

    colour: str  # its name in LIGHT and DARK
    dash: str = "solid"
    symbol: str = "circle"
    hatch: str = ""  # of a bar


def look(place: int) -> Look:
    """Return how the series at this place is drawn: all of the first 24 look different."""
    turn = place // len(_ON_WHITE) % len(_TURNS)
    return Look(f"@{place % len(_ON_WHITE)}", *_TURNS[turn])
