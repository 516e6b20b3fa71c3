"""All that a report says, collected once: the page and the markdown differ only in their form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_moe.benchmarks.report import compare, notes, story, tables, yardsticks
from edge_moe.benchmarks.report.labels import file_names
from edge_moe.benchmarks.report.series import Series, build
from edge_moe.benchmarks.report.tables import Table
from edge_moe.benchmarks.results import Results

__all__ = ["Content", "collect"]


@dataclass(frozen=True)
class Content:
    """Numbers, tables and sentences."""

    results: tuple[Results, ...]
    names: tuple[str, ...]  # of the files
    series: tuple[Series, ...]
    agreements: tuple[compare.SetsAlike, ...]
    beside: tuple[compare.Beside, ...]
    title: str
    subject: str
    finding: str
    mended: str  # empty: not known
    warnings: tuple[str, ...]
    measured: Table
    points: tuple[Table, ...]  # one a series
    products: Table
    parts: tuple[Table, ...]
    shares: tuple[Table, ...]  # one a mixture
    agreement: tuple[Table, ...]  # one a series that was compared
    starts: Table
    peers: tuple[Table, ...]  # one a series that was compared
    about_peers: tuple[tuple[str, str], ...]  # name, and what it is
    lost: tuple[str, ...]
    blind_spots: tuple[str, ...]
    notes: dict[str, tuple[str, ...]]  # section -> how to read it, in paragraphs

    @property
    def plain(self) -> bool:
        """Whether all networks are plain: nothing depends on tau, and no part but the base is to be told of."""
        return all(one.plain for one in self.series)

    @property
    def points_heading(self) -> str:
        """What the section of the tables of costs and accuracies is called."""
        if not self.plain:
            return "Operating points"
        return "Accuracy and cost" if self.labelled else "Cost in figures"

    @property
    def labelled(self) -> bool:
        """Whether any accuracy is known."""
        return any(point.accuracy is not None for one in self.series for point in one.points)


def collect(results: Sequence[Results], names: Sequence[str] | None = None) -> Content:
    """Work out all that a report says.

    Raises:
        UsageError: not a name for each file.
    """
    shown = file_names(results, names)
    series = build(results, names)
    agreements, beside = compare.agreements(series), compare.beside_peers(series)
    return Content(
        results=tuple(results),
        names=tuple(shown),
        series=tuple(series),
        agreements=tuple(agreements),
        beside=tuple(beside),
        title=story.title(results),
        subject=story.subject(results),
        finding=story.finding(series[0]),
        mended=story.mended(series[0]),
        warnings=tuple(story.warnings(results, shown)),
        measured=tables.measured(results, shown),
        points=tuple(tables.points(one) for one in series),
        products=yardsticks.products(results, shown),
        parts=tuple(yardsticks.parts(one) for one in series),
        shares=tuple(tables.shares(one) for one in series if not one.plain),
        agreement=tuple(t for one in series if (t := yardsticks.agreement(one, agreements)) is not None),
        starts=tables.starts(series),
        peers=tuple(t for one in series if (t := yardsticks.peers(one, beside)) is not None),
        about_peers=yardsticks.about_peers(results),
        lost=tuple(story.lost(series, beside)),
        blind_spots=tuple(story.blind_spots(results)),
        notes=notes.of_sections(series),
    )
