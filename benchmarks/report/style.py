"""One look for charts and pictures: colours that colour-blind readers tell apart, then another line, then a marker."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DARK", "LIGHT", "Look", "look", "pattern"]

# Okabe and Ito, without the two that vanish on white or on black.
_ON_WHITE = ("#0072B2", "#D55E00", "#009E73", "#B5558F", "#56B4E9", "#C98A00")
_ON_BLACK = ("#4FA8E0", "#F0803C", "#2CC79A", "#DB96BF", "#9AD4F5", "#F0B93A")
_LINES = ("-", "--", "-.", ":")
_DASHES = ("solid", "dash", "dashdot", "dot")
_MARKERS = ("o", "s", "D", "^")
_PATTERNS = ("", "/", ".", "x")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")


def _theme(colours: tuple[str, ...], **others: str) -> dict[str, str]:
    found = dict(others)
    for number, colour in enumerate(colours):
        found[f"@{number}"] = colour
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        found[f"@{number}-pale"] = f"rgba({red},{green},{blue},0.13)"
        found[f"@{number}-thin"] = f"rgba({red},{green},{blue},0.35)"
    return found


# What the names of colours in charts stand for: the page has two looks, and a chart is made once.
LIGHT = _theme(
    _ON_WHITE,
    **{"@ink": "#1f2328", "@muted": "#5b636d", "@grid": "#e4e7eb", "@paper": "#ffffff", "@front": "#8a929c"},
    **{"@exit": "#c9ced6"},
)
DARK = _theme(
    _ON_BLACK,
    **{"@ink": "#e3e6ea", "@muted": "#9aa3ad", "@grid": "#2d333b", "@paper": "#15181c", "@front": "#8a929c"},
    **{"@exit": "#4a515b"},
)


@dataclass(frozen=True)
class Look:
    """How a series is drawn, in words of matplotlib and of plotly."""

    number: int  # of the colour
    colour: str  # on white
    line: str
    marker: str
    dash: str
    symbol: str


def look(place: int) -> Look:
    """Return how the series at this place is drawn: all of the first 24 look different."""
    number, turn = place % len(_ON_WHITE), place // len(_ON_WHITE) % len(_LINES)
    return Look(number, _ON_WHITE[number], _LINES[turn], _MARKERS[turn], _DASHES[turn], _SYMBOLS[turn])


def pattern(place: int) -> dict[str, str]:
    """Return how a bar is hatched, in plotly's words: as `look`, where the colours come round again."""
    shape = _PATTERNS[place // len(_ON_WHITE) % len(_PATTERNS)]
    return {"shape": shape, "fillmode": "overlay", "fgcolor": "@paper"}
