"""What the numbers say, in sentences: the headline, where ours loses, and the warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np

from edge_moe.benchmarks.measured import PointCosts
from edge_moe.benchmarks.report.compare import Beside
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.words import accuracy, difference, interval, listed, percent, plural, sentence, tau
from edge_moe.benchmarks.results import Results
from edge_moe.gains import without_gain
from edge_moe.intervals import over_groups, paired_difference
from edge_moe.sizes import short_size_text
from edge_moe.text import counted

__all__ = ["finding", "highlight", "lost", "mended", "over", "provenance", "subject", "warnings"]

_FEW = 6  # sets that a sentence can name
_OF_COSTS = {"target": "target", "machine": "machine", "unit": "unit", "threads": "threads",
             "pinned CPUs": "conditions.cpus", "versions": "versions"}  # fmt: skip
_OF_ANSWERS = {"data": "data", "number of images": "images", "right answers": "labels", "timed images": "timed",
               "bundle": "bundle.rule_sha256"}  # fmt: skip


def subject(results: Sequence[Results]) -> tuple[str, str]:
    """Return what the report is about, in a few words, and what was measured on what, in a sentence."""
    names, bundles, machines, sets = [], [], [], [one.label for file in results for one in file.sets]
    for file in results:
        b, machine = file.bundle, file.machine.name
        names.append(b.name)
        bundles.append(f"{b.name} ({b.architecture}, {counted(b.experts)}, {short_size_text(b.image_size)} px)")
        machines.append(machine if file.target == "host" else f"{file.target} ({machine})")
    which, what, where = (listed(dict.fromkeys(each)) for each in (names, bundles, machines))
    title, first = f"{which} on {where}", results[0]
    if len(results) > 1:
        return title, f"{plural(len(sets), 'set')} from {len(results)} results files: {what} on {where}."
    named = listed(sets) if len(sets) <= _FEW else f"{len(sets)} sets of artifacts"
    how = f"{'timed' if first.unit.is_time else 'costed'} in {plural(first.rounds, 'round')}"
    images = f"{plural(first.images, 'image')} of {first.data}, {len(first.timed):,} of them {how}"
    return title, f"{what} as {named} on {where}: {images}, {plural(first.threads, 'thread')}."


def highlight(one: Series) -> tuple[PointCosts, PointCosts]:
    """Return the point worth telling first, and the one at the smallest tau, with which it is compared.

    The bundle's default, where that was measured. Else, where labels are known: the cheapest that is as
    accurate as the smallest tau on these images. Else, or if none is cheaper: the middle one.
    """
    for point in one.points:
        if (point.tau, point.point.max_experts) == (one.one.default_tau, one.one.default_max_experts):
            return point, one.lines[point.point.max_experts][0]
    start = one.line[0]
    if (least := start.point.accuracy) is not None:
        as_good = [point for point in one.line if (point.point.accuracy or 0.0) >= least]
        cheapest = min(as_good, key=lambda point: (point.mean, point.tau))
        if cheapest is not start:
            return cheapest, start
    return one.middle, start


def finding(one: Series) -> str:
    """Return what a set costs and how often it is right, beside always running an expert, and beside its base alone."""
    point, start = highlight(one)
    what, unit, base, labels = point.point, one.unit, one.lines[point.point.max_experts][-1], one.results.labels
    comma = "" if one.counted == one.label else ","
    who = f"{one.counted}, a plain network," if one.plain else f"At tau = {tau(what.tau)}, {one.counted}{comma}"
    does = "needs" if unit.held else "answers in"
    text = f"{who} {does} {unit.text(point.mean)} on average"
    text += " (predicted from its parts)" if point.raw is None else ""
    if start is not point:
        always = "always running an expert (tau = 0)" if start.tau == 0 else f"at tau = {tau(start.tau)}"
        text += f", {_change(point.mean, start.mean)} {always}"
    if what.accuracy is not None:
        text += f", at {percent(what.accuracy)} accuracy (95%: {interval(what.accuracy_low, what.accuracy_high)})."
    else:
        text += "." if one.plain else f"; {percent(what.exit_rate)} of the images exit early."
    if one.results.preprocessing is not None and start is not point and not one.plain:
        waits = [one.results.preprocessing + p.mean for p in (point, start)]
        text += f" From the image file on it is {unit.text(waits[0])}, {_change(*waits)} {always}."
    if labels is not None and start is not point:
        same = bool(np.all((point.decided.predictions == labels) == (start.decided.predictions == labels)))
        changes = (
            "it is right and wrong on the same ones" if same else f"accuracy changes by {_gained(one, point, start)}"
        )
        text += f" Image by image, beside tau = {tau(start.tau)}, {changes}."
    if not one.plain and base is not point and base.point.exit_rate == 1:
        text += f" Its base alone (tau = {tau(base.tau)}) {does} {unit.text(base.mean)}, "
        text += f"{_change(base.mean, point.mean)} that"
        if base.point.accuracy is not None and labels is not None:
            text += f", at {percent(base.point.accuracy)} accuracy: image by image, the experts change it by "
            text += _gained(one, point, base)
        text += "."
    if what.accuracy is None:
        return f"{text} How often it is right is not known: no labels."
    nothing = without_gain([p.point for p in one.points], what.max_experts)
    return text if nothing is None else f"{text} {sentence(nothing)}"


def _gained(one: Series, point: PointCosts, other: PointCosts) -> str:
    """Return by how much a point is right more often than another, image by image."""
    right = [p.decided.predictions == one.results.labels for p in (point, other)]
    return difference(*paired_difference(*right, groups=one.results.grouping))


def _change(new: float, old: float) -> str:
    """Return by how much `new` is less or more than `old`."""
    share = new / old - 1 if old else 0.0
    return f"{abs(share):.1%} {'more' if share > 0 else 'less'} than" if abs(share) >= 0.0005 else "as much as"


def mended(one: Series, told: str = "") -> str:
    """Return how many answers the experts change for the better and for the worse, at the point that is told first.

    Empty where labels are not known, or there are no experts. The difference in points is left out if it stands in
    `told`, what is read before.
    """
    labels, point = one.results.labels, highlight(one)[0]
    if labels is None or one.plain:
        return ""
    base, decided = one.one.decisions.answers[:, 0] == labels, point.decided
    whole = decided.predictions == labels
    gained = difference(*paired_difference(whole, base, groups=one.results.grouping))
    becomes = "" if gained in told else f": {accuracy(base.mean())} becomes {accuracy(whole.mean())}, {gained}"
    return (
        f"Against its base alone, {one.label} at tau = {tau(point.tau)} mends {(whole & ~base).sum():,} of "
        f"{plural(len(base), 'image')} and breaks {(base & ~whole).sum():,}{becomes}, while "
        f"{percent(decided.exited.mean())} exit early."
    )


def over(results: Sequence[Results]) -> list[str]:
    """Return a note for each number of originals that intervals are over."""
    counts = [(len(set(file.groups)), file.images) for file in results if file.groups is not None]
    return [over_groups(*one) for one in dict.fromkeys(counts)]


def provenance(results: Sequence[Results]) -> list[str]:
    """Return where costs are from: a sentence for each target, for all of its units of which it is the same."""
    found: dict[str, dict[str, None]] = {}  # the sentence's end -> units, in their order
    for file in results:
        for unit in file.opening.units:
            words = "estimated for" if file.provenance(unit.name) == "estimated" else f"{file.provenance(unit.name)} on"
            how = f", {file.opening.how}" if file.opening.how else ""
            found.setdefault(f"are {words} {file.target}{how}.", {})[unit.words] = None
    return [" ".join(f"Costs in {listed(units)} {end}" for end, units in found.items())]


def lost(series: Sequence[Series], found: Sequence[Beside]) -> list[str]:
    """Return a sentence for every set of ours that loses to an alternative."""
    sentences = []
    for one in series:
        kinds: dict[str, list[Beside]] = {}
        for pair in found:
            if pair.series is one and pair.verdict == "ours loses":
                kinds.setdefault(f"{pair.peer.name} ({pair.peer.key})", []).append(pair)
        told = []
        for name, pairs in kinds.items():
            ratios = sorted(pair.ratio for pair in pairs)
            times = " to ".join(f"{ratio:.2f}" for ratio in ((ratios[0], ratios[-1]) if len(ratios) > 1 else ratios))
            taus = listed(tau(value) for value in sorted({pair.point.tau for pair in pairs}))
            told.append(f"{name}, which needs {times} times our cost{'' if one.plain else f' at tau = {taus}'}")
        if told:
            sentences.append(f"{one.label} loses to {'; to '.join(told)}.")
    return sentences


def warnings(results: Sequence[Results], names: Sequence[str]) -> list[str]:
    """Return what a reader must know before any figure."""
    found = []
    for file, name in zip(results, names, strict=True):
        own = ["UNTRAINED network with random weights: what it costs is real, its answers are noise."]
        own = [] if file.bundle.trained else own
        if not file.complete:
            own.append(
                f"Partial: stopped after {file.rounds} of {plural(file.rounds_asked, 'round')}. The fewer rounds, the "
                "less the slow moments of the machine are filtered out."
            )
        own += map(sentence, file.conditions.remarks)
        found += [f"{name}: {text}" if len(results) > 1 else text for text in own]
    if len(results) > 1:
        costs, answers = _differing(results, _OF_COSTS), _differing(results, _OF_ANSWERS)
        found.append(
            f"Costs come from {len(results)} runs.{f' They differ in {costs}.' if costs else ''} Costs of different "
            "machines or runs do not compare in absolute terms, only as ratios within one run. Pareto fronts below "
            "span all runs that share a unit."
        )
        what = "accuracies and exit rates" if any(file.bundle.experts for file in results) else "accuracies"
        found += [f"The files also differ in {answers}: their {what} do not compare."] if answers else []
    return found


def _differing(results: Sequence[Results], facts: Mapping[str, str]) -> str:
    first = results[0]
    got = {what: attrgetter(where) for what, where in facts.items()}
    return listed(what for what, get in got.items() if any(get(file) != get(first) for file in results))
