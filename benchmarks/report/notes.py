"""How to read the sections of a report, in paragraphs: of mixtures, of plain networks, or of both."""

from __future__ import annotations

from collections.abc import Sequence

from edge_moe.benchmarks.report import compare, story
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.words import listed

__all__ = ["of_sections"]


def of_sections(series: Sequence[Series]) -> dict[str, tuple[str, ...]]:
    """Return section -> how to read it."""
    mixtures, plain = any(not one.plain for one in series), any(one.plain for one in series)
    notes = {
        "points": (_points(mixtures, plain), *story.over([one.results for one in series])),
        "parts": _parts(series, mixtures, plain),
        "agreement": _agreement(series, mixtures, plain),
        "peers": _peers(any(len(one.points) > 1 for one in series), mixtures, plain),
    }
    if mixtures:
        notes["shares"] = _shares(series)
    return notes


def _points(mixtures: bool, plain: bool) -> str:
    about = (
        "costs are over those that were timed, from the input tensor to the answer. The mean is the mean over images "
        "of each one's median over rounds. mean / predicted sets it beside what"
    )
    if not mixtures:
        return f"Accuracy is over all validation images; {about} the network's graph costs by itself."
    text = (
        f"Accuracy, exit rate and MACs are over all validation images; {about} the parts cost by themselves: base + "
        "P(gate) gate + sum of P(expert k) expert k."
    )
    return text + (" A plain network has one row, without tau and exit rate." if plain else "")


def _parts(series: Sequence[Series], mixtures: bool, plain: bool) -> tuple[str, ...]:
    timed = any(one.unit == "ms" for one in series)
    limited = any(one.results.limits for one in series if one.unit == "ms")
    if mixtures:
        first = (
            "One run of each part by itself: what it reads handed over, the part run, its logits taken. The share is "
            "that of a prediction at the set's middle operating point, the one whose exit rate is nearest one half. "
            "Experts together: MACs and cost are the mean of one, the share is that of all."
        ) + (" Of a plain network the base is all there is." if plain else "")
    else:
        first = "One run of the network's graph by itself: the image handed over, the graph run, its logits taken."
    found = [first]
    if limited:
        found.append(
            "GMAC/s stands beside what this machine reached in the same run on a large matrix product, where nothing "
            "but arithmetic counts. int8 recipes keep some layers in float, so they stand beside both products."
        )
        found.append(
            "To gain: share x (1 - achieved / best product in the recipe's own dtype), the part of a prediction's "
            "time that would go if the part ran at the machine's best. It is a bound, not a promise. The marked row "
            "has the most to gain."
            if mixtures
            else "To gain: 1 - achieved / best product in the recipe's own dtype, how much of the time would go if "
            "the network ran at the machine's best. It is a bound, not a promise."
        )
    elif timed:
        what = "the parts are" if mixtures else "the network is"
        found.append(f"No large matrix product was measured: how far {what} from the hardware is not known.")
    return tuple(found)


def _shares(series: Sequence[Series]) -> tuple[str, ...]:
    text = "Over all validation images, from the stored decisions."
    if any(point.max_experts > 1 for one in series for point in one.points):
        text += (
            " Where one image may wake several experts, their shares add up to more than the images that do not exit."
        )
    return (text,)


def _agreement(series: Sequence[Series], mixtures: bool, plain: bool) -> tuple[str, ...]:
    same = "The same images through the artifacts of a quantized set and of fp32 of the same backend: how often"
    if mixtures:
        first = (
            f"{same} the base alone answers alike, how often the whole does, and how often the same experts run (or "
            "none in both)."
        ) + (" Of a plain network: how often it answers alike." if plain else "")
    else:
        first = f"{same} both give the same answer."
    alone = [one.label for one in series if not compare.has_reference(series, one)]
    if not alone:
        return (first,)
    return first, f"No fp32 of the same backend is in the file of {listed(alone)}: nothing to compare with."


def _peers(several: bool, mixtures: bool, plain: bool) -> tuple[str, ...]:
    found = [
        "What one would do otherwise, on the same timed images. Over 1, the alternative costs more and ours wins; "
        "under 1, ours loses. The interval says how far the ratio moves if other rounds are drawn; where it spans "
        "1, no difference was seen."
    ]
    if mixtures:
        found.append(
            "An alternative without a tau of its own stands beside our middle operating point, where it need not "
            "answer alike; the last column sets it beside our smallest and largest tau. There, always an expert and "
            "base only answer as ours does."
            if several
            else "An alternative without a tau of its own stands beside our one operating point, where it need not "
            "answer alike."
        )
    if plain:
        whose = "Of a plain network, base only" if mixtures else "Base only"
        found.append(
            f"{whose}, where its backend and recipe are the same, is the very network by the backend's own call: it "
            "answers as ours does."
        )
    return tuple(found)
