"""results.md: the report for terminals and git."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_moe.benchmarks.report.tables import Table

if TYPE_CHECKING:
    from edge_moe.benchmarks.report.content import Content

__all__ = ["page", "table"]


def table(one: Table) -> list[str]:
    """Return the lines of a table."""
    if not one.rows:
        return []
    ruler = "".join("---|" if i < one.words else "---:|" for i in range(len(one.columns)))
    lines = [_line(one.columns), f"|{ruler}"]
    for number, row in enumerate(one.rows):
        lines.append(_line([f"**{cell}**" if cell else "" for cell in row] if number in one.marked else row))
    return [*lines, ""]


def page(content: Content) -> str:
    """Return the whole report without its charts."""
    lines = [f"# {_plain(content.title)}", "", _plain(content.subject), "", _plain(content.finding), ""]
    if content.mended:
        lines += [_plain(content.mended), ""]
    for warning in content.warnings:
        lines += [f"**{_plain(warning)}**", ""]
    lines += ["## What was measured", "", *table(content.measured)]
    lines += [f"## {content.points_heading}", "", *_paragraphs(content.notes["points"])]
    lines += _titled(content.points)
    notes = content.notes
    lines += [
        f"## {'The graph by itself' if content.plain else 'Cost by part'}, and the machine's limits",
        "",
        *_paragraphs(notes["parts"]),
        *table(content.products),
    ]
    lines += _titled(content.parts)
    if content.shares:
        lines += ["## Share of each expert", "", *_paragraphs(notes["shares"]), *_titled(content.shares)]
    lines += ["## Agreement with fp32", "", *_paragraphs(notes["agreement"]), *_titled(content.agreement)]
    lines += ["## Size, cold start, memory", "", *table(content.starts)]
    if content.about_peers:
        lines += ["## Against the alternatives", "", *_paragraphs(notes["peers"])]
        lines += [f"- {_plain(text)}" for text in content.lost] + [""]
        lines += _titled(content.peers)
        lines += [f"- {_plain(name)}: {_plain(about)}" for name, about in content.about_peers] + [""]
    lines += ["## What it cannot tell", "", *(f"- {text}" for text in content.blind_spots), ""]
    return "\n".join(lines)


def _titled(tables: Sequence[Table]) -> list[str]:
    return [line for one in tables for line in (f"### {_plain(one.title)}", "", *table(one))]


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in (_plain(text), "")]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Return text that markdown leaves as it is, on one line."""
    text = " ".join(text.split())
    for letter in "\\|<>`":
        text = text.replace(letter, f"\\{letter}")
    return text
