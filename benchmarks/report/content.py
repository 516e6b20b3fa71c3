"""All that a report says, collected once: the page and the markdown differ only in their form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_moe.benchmarks.report import compare, story, tables, yardsticks
from edge_moe.benchmarks.report.labels import file_names
from edge_moe.benchmarks.report.series import Series, build
from edge_moe.benchmarks.report.tables import Table
from edge_moe.benchmarks.report.words import listed
from edge_moe.benchmarks.results import Results

__all__ = ["Content", "collect"]


@dataclass(frozen=True)
class Content:
    """Numbers, tables and sentences."""

    results: tuple[Results, ...]
    names: tuple[str, ...]  # of the files
    series: tuple[Series, ...]
    agreements: tuple[compare.Agreement, ...]
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
    shares: tuple[Table, ...]
    agreement: tuple[Table, ...]  # one a series that was compared
    starts: Table
    peers: tuple[Table, ...]  # one a series that was compared
    about_peers: tuple[tuple[str, str], ...]  # name, and what it is
    lost: tuple[str, ...]
    blind_spots: tuple[str, ...]
    notes: dict[str, tuple[str, ...]]  # section -> how to read it, in paragraphs

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
        shares=tuple(tables.shares(one) for one in series),
        agreement=tuple(t for one in series if (t := yardsticks.agreement(one, agreements)) is not None),
        starts=tables.starts(series),
        peers=tuple(t for one in series if (t := yardsticks.peers(one, beside)) is not None),
        about_peers=yardsticks.about_peers(results),
        lost=tuple(story.lost(series, beside)),
        blind_spots=tuple(story.blind_spots(results)),
        notes=_notes(series),
    )


def _notes(series: Sequence[Series]) -> dict[str, tuple[str, ...]]:
    timed = any(one.unit == "ms" for one in series)
    limited = any(one.results.limits for one in series if one.unit == "ms")
    alone = [one.label for one in series if not compare.has_reference(series, one)]
    agreement = [
        "The same images through the artifacts of a quantized set and of fp32 of the same backend: how often the base "
        "alone answers alike, how often the whole does, and how often the same experts run (or none in both)."
    ]
    if alone:
        agreement.append(f"No fp32 of the same backend is in the file of {listed(alone)}: nothing to compare with.")
    parts = [
        "One run of each part by itself: what it reads handed over, the part run, its logits taken. The share is that "
        "of a prediction at the set's middle operating point, the one whose exit rate is nearest one half. Experts "
        "together: MACs and cost are the mean of one, the share is that of all."
    ]
    if limited:
        parts += [
            "GMAC/s stands beside what this machine reached in the same run on a large matrix product, where nothing "
            "but arithmetic counts. int8 recipes keep some layers in float, so they stand beside both products.",
            "To gain: share x (1 - achieved / best product in the recipe's own dtype), the part of a prediction's "
            "time that would go if the part ran at the machine's best. It is a bound, not a promise. The marked row "
            "has the most to gain.",
        ]
    elif timed:
        parts.append("No large matrix product was measured: how far the parts are from the hardware is not known.")
    return {
        "points": (
            "Accuracy, exit rate and MACs are over all validation images; costs are over those that were timed, from "
            "the input tensor to the answer. The mean is the mean over images of each one's median over rounds. mean / "
            "predicted sets it beside what the parts cost by themselves: base + P(gate) gate + sum of P(expert k) "
            "expert k.",
            *story.over([one.results for one in series]),
        ),
        "parts": tuple(parts),
        "shares": (
            "Over all validation images, from the stored decisions."
            + (
                " Where one image may wake several experts, their shares add up to more than the images that do not "
                "exit."
                if any(point.max_experts > 1 for one in series for point in one.points)
                else ""
            ),
        ),
        "agreement": tuple(agreement),
        "peers": (
            "What one would do otherwise, on the same timed images. Over 1, the alternative costs more and ours wins; "
            "under 1, ours loses. The interval says how far the ratio moves if other rounds are drawn; where it spans "
            "1, no difference was seen.",
            "An alternative without a tau of its own stands beside our middle operating point, where it need not "
            "answer alike; the last column sets it beside our smallest and largest tau. There, always an expert and "
            "base only answer as ours does.",
        ),
    }
