"""What the numbers say, in sentences: the headline, the warnings, and what the figures cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_moe.benchmarks.report.compare import Beside
from edge_moe.benchmarks.report.series import Point, Series
from edge_moe.benchmarks.report.words import change, cost, interval, listed, plural, sentence, tau
from edge_moe.benchmarks.results import Results
from edge_moe.gains import without_gain
from edge_moe.intervals import over_groups, paired_difference
from edge_moe.sizes import short_size_text
from edge_moe.text import counted

__all__ = ["blind_spots", "finding", "highlight", "lost", "mended", "over", "subject", "title", "warnings"]

_FEW = 6  # sets that a sentence can name


def title(results: Sequence[Results]) -> str:
    """Return what the report is about, in a few words."""
    return f"{listed(_several(results, lambda r: r.bundle.name))} on {listed(_several(results, _machine))}"


def _px(results: Results) -> str:
    return short_size_text(results.bundle.image_size)


def subject(results: Sequence[Results]) -> str:
    """Return what was measured on what."""
    first = results[0]
    bundles = listed(_several(results, lambda r: f"{r.bundle.name} ({r.bundle.architecture}, "
                              f"{counted(r.bundle.experts)}, {_px(r)} px)"))  # fmt: skip
    where = listed(_several(results, _machine))
    if len(results) > 1:
        sets = sum(len(file.sets) for file in results)
        return f"{plural(sets, 'set')} from {len(results)} results files: {bundles} on {where}."
    names = [one.label for one in first.sets]
    sets_named = listed(names) if len(names) <= _FEW else f"{len(names)} sets of artifacts"
    costed = "costed" if first.unit != "ms" else "timed"
    return (
        f"{bundles} as {sets_named} on {where}: {plural(first.images, 'image')} of {first.data}, "
        f"{len(first.timed):,} of them {costed} in {plural(first.rounds, 'round')}, {plural(first.threads, 'thread')}."
    )


def highlight(one: Series) -> tuple[Point, Point]:
    """Return the point worth telling first, and the one at the smallest tau, with which it is compared.

    The bundle's default, where that is recorded and another. Else, where labels are known: the cheapest that is as
    accurate as the smallest tau on these images. Else, or if none is cheaper: the middle one.
    """
    points = [point for point in one.points if point.max_experts == one.middle.max_experts]
    start = min(points, key=lambda point: point.tau)
    default = [p for p in one.points if (p.tau, p.max_experts) == (one.one.default_tau, one.one.default_max_experts)]
    if start.accuracy is not None and default and default[0].tau > start.tau:
        return default[0], start
    if start.accuracy is not None:
        as_good = [p for p in points if p.accuracy is not None and p.accuracy >= start.accuracy]
        cheapest = min(as_good, key=lambda point: (point.costs.mean, point.tau))
        if cheapest is not start:
            return cheapest, start
    return one.middle, start


def finding(one: Series) -> str:
    """Return the most useful thing that the numbers say about a set: its first file's default, as a rule."""
    point, start = highlight(one)
    what = point.costs.point
    plain = not one.results.bundle.experts
    who = f"{one.label}, a plain network," if plain else f"At tau = {tau(point.tau)}, {one.label}"
    text = f"{who} answers in {cost(point.costs.mean, one.unit, named=True)} on average"
    if point.costs.raw is None:
        text += " (predicted from its parts)"
    if start is not point:
        always = "always running an expert (tau = 0)" if start.tau == 0 else f"at tau = {tau(start.tau)}"
        text += f", {change(point.costs.mean, start.costs.mean)} {always}"
    if what.accuracy is None and plain:
        return f"{text}. How often it is right is not known: no labels."
    if what.accuracy is None:
        return f"{text}; {what.exit_rate:.1%} of the images exit early. How often it is right is not known: no labels."
    text += f", at {what.accuracy:.1%} accuracy (95%: {interval(what.accuracy_low, what.accuracy_high)})."
    labels = one.results.labels
    if labels is not None and start is not point:
        right = [one.trace.at(p.tau, p.max_experts).predictions == labels for p in (point, start)]
        if (right[0] == right[1]).all():
            text += " Image by image, it is right and wrong on the same ones."
        else:
            gained, low, high = (100 * value for value in paired_difference(*right, groups=one.results.grouping))
            text += f" Image by image, the accuracy changes by {gained:+.2f} points (95%: {low:+.2f} to {high:+.2f})."
    nothing = without_gain([p.costs.point for p in one.points], point.max_experts)
    if nothing is not None:
        text += f" {sentence(nothing)}"
    return text


def mended(one: Series) -> str:
    """Return how many answers the experts change for the better and for the worse, at the bundle's default tau.

    Where the default is not recorded, at the point that is told first; empty where labels are not known, or there are
    no experts.
    """
    labels = one.results.labels
    if labels is None or not one.results.bundle.experts:
        return ""
    at, most = one.one.default_tau, one.one.default_max_experts
    if at is None or most is None:
        told = highlight(one)[0]
        at, most = told.tau, told.max_experts
    base = one.trace.answers[:, 0] == labels
    decided = one.trace.at(at, most)
    whole = decided.predictions == labels
    better, worse = int((whole & ~base).sum()), int((base & ~whole).sum())
    gained, low, high = (100 * value for value in paired_difference(whole, base, groups=one.results.grouping))
    return (
        f"Against its base alone, {one.label} at tau = {tau(at)} mends {better:,} of {plural(len(base), 'image')} and "
        f"breaks {worse:,}: {base.mean():.2%} becomes {whole.mean():.2%}, {gained:+.2f} points "
        f"(95%: {low:+.2f} to {high:+.2f}), while {decided.exited.mean():.1%} exit early."
    )


def over(results: Sequence[Results]) -> list[str]:
    """Return a note for each number of originals that intervals are over."""
    counted = [(len(set(file.groups)), file.images) for file in results if file.groups is not None]
    return [over_groups(*one) for one in dict.fromkeys(counted)]


def lost(series: Sequence[Series], found: Sequence[Beside]) -> list[str]:
    """Return a sentence for every set of ours that loses to an alternative."""
    sentences = []
    for one in series:
        kinds: dict[str, list[Beside]] = {}
        for pair in found:
            if pair.series is one and pair.verdict == "ours loses":
                peer = pair.peer
                kinds.setdefault(f"{peer.name} ({peer.key})", []).append(pair)
        if kinds:
            words = [f"{name}, {_times(pairs, plain=one.plain)}" for name, pairs in kinds.items()]
            sentences.append(f"{one.label} loses to {'; to '.join(words)}.")
    return sentences


def _times(pairs: Sequence[Beside], *, plain: bool) -> str:
    """Return how little of our cost an alternative needs, and where."""
    ratios = sorted(pair.ratio for pair in pairs)
    taus = sorted({pair.point.tau for pair in pairs})
    times = f"{ratios[0]:.2f}" if len(ratios) == 1 else f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    where = "" if plain else f" at tau = {listed([tau(value) for value in taus])}"
    return f"which needs {times} times our cost{where}"


def warnings(results: Sequence[Results], names: Sequence[str]) -> list[str]:
    """Return what a reader must know before any figure."""
    found = []
    for file, name in zip(results, names, strict=True):
        which = f"{name}: " if len(results) > 1 else ""
        if not file.bundle.trained:
            found.append(f"{which}UNTRAINED network with random weights: what it costs is real, its answers are noise.")
        if not file.complete:
            found.append(
                f"{which}Partial: stopped after {file.rounds} of {plural(file.rounds_asked, 'round')}. "
                "The fewer rounds, the less the slow moments of the machine are filtered out."
            )
        found += [f"{which}{sentence(remark)}" for remark in file.conditions.remarks]
    return found + _mixed(results)


def blind_spots(results: Sequence[Results]) -> list[str]:
    """Return what the figures cannot tell."""
    units = {file.unit for file in results}
    found = [
        "Other devices. A phone has other cores, caches, memory and kernels. Ratios between sets travel better than "
        "absolute figures, and even they are not certain to.",
        "Other images. Exit rates and accuracy are those of these validation images; harder images wake more experts. "
        "Where a tau was chosen on the same images, expect a little less on others."
        if any(file.bundle.experts for file in results)
        else "Other images. Accuracy is that of these validation images; others may be harder.",
        "Sustained load. Nothing ran long enough to heat a device until it slows down, and nothing ran beside it.",
        "Power and energy. They were not measured, and do not follow from costs.",
        "The way from a file to the input tensor. Reading, decoding, resizing and normalising an image come on top.",
        "GPU, NPU and other accelerators, unless the target above names one.",
        "Batches. One image at a time is what a device does.",
    ]
    if units - {"ms"}:
        found.append(
            "Time, from instructions or cycles. Instructions differ in how long they take and how well they overlap; "
            "counts compare programs on one kind of core, not devices."
        )
    if any(point.raw is None for file in results for one in file.sets for point in one.points):
        found.append(
            "Whole predictions, where the target ran parts only: the cost of a point is then the sum of its parts, "
            "without what the runtime adds between them."
            if any(file.bundle.experts for file in results)
            else "Whole predictions, where the target ran the network's graph only: what the runtime adds is not in it."
        )
    return found


def _mixed(results: Sequence[Results]) -> list[str]:
    """Return warnings about files that do not measure the same thing."""
    differ: dict[str, Callable[[Results], object]] = {
        "target": lambda r: r.target,
        "machine": lambda r: (r.machine.name, r.machine.processor, r.machine.logical_cpus, r.machine.system),
        "unit": lambda r: r.unit,
        "threads": lambda r: r.threads,
        "pinned CPUs": lambda r: r.conditions.cpus,
        "versions": lambda r: sorted(r.versions.items()),
    }
    images: dict[str, Callable[[Results], object]] = {
        "data": lambda r: r.data,
        "number of images": lambda r: r.images,
        "right answers": lambda r: r.labels,
        "timed images": lambda r: r.timed,
        "bundle": lambda r: r.bundle.rule_sha256,
    }
    found = []
    if len(results) > 1:
        costs = [name for name, get in differ.items() if len({repr(get(r)) for r in results}) > 1]
        what = f" They differ in {listed(costs)}." if costs else ""
        found.append(
            f"Costs come from {len(results)} runs.{what} Costs of different machines or runs do not compare in "
            "absolute terms, only as ratios within one run. Pareto fronts below span all runs that share a unit."
        )
        answers = [name for name, get in images.items() if len({repr(get(r)) for r in results}) > 1]
        if answers:
            what = "accuracies and exit rates" if any(file.bundle.experts for file in results) else "accuracies"
            found.append(f"The files also differ in {listed(answers)}: their {what} do not compare.")
    return found


def _machine(file: Results) -> str:
    return file.machine.name if file.target == "host" else f"{file.target} ({file.machine.name})"


def _several(results: Sequence[Results], get: Callable[[Results], str]) -> list[str]:
    return list(dict.fromkeys(get(file) for file in results))
