"""What `edge-moe choose --promise` shows and writes, and what choosing and promising share of writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from edge_moe.cli.console import console, say, say_json
from edge_moe.sets import Pattern

if TYPE_CHECKING:
    from edge_moe.benchmarks.decide.matching import Match
    from edge_moe.benchmarks.decide.promising import Offer
    from edge_moe.operating import Certificate

__all__ = ["default_of", "promised", "write_choice"]


def promised(
    matches: Sequence[Match],
    promise: str,
    confidence: float,
    max_experts: Sequence[int],
    *,
    write: bool,
    all_sets: bool,
    json: bool = False,
) -> None:
    """Find the largest tau that keeps a promise, say what is promised and on what, and write it where that is asked.

    Raises:
        UsageError: no promise, or a bundle without experts.
        DataError: it cannot be promised on these images; says what can.
    """
    from edge_moe.benchmarks.decide.promising import offers
    from edge_moe.certificates import in_words
    from edge_moe.promise import Promise

    wanted = Promise.parse(promise, confidence)
    found = offers(matches, wanted, max_experts)
    best = found[0]
    for doubt in best.match.doubts:
        say(f"edge-moe: warning: {doubt}", err=True)
    setting = f"tau {best.kept.tau:.10g}, max_experts {best.max_experts}"
    if write:
        after = write_choice(
            best.match, best.kept.tau, best.max_experts, all_sets=all_sets, certificate=best.certificate
        )
    else:
        after = [f"the default of {best.match.label} stays {default_of(best.match)}; --write changes it"]
    if json:
        say_json({"offers": [_as_dict(one) for one in found], "written": write})
        return
    results = best.match.results
    among = "" if len(found) == 1 else f", each of {len(found)} at delta / {len(found)} (* the cheapest)"
    console().print(_table(found, f"{wanted} at {confidence:g} confidence, {results.images:,} images{among}"))
    for line in (f"{setting} of {best.match.label} promises {in_words(best.certificate)}", *_remarks(best), *after):
        say(line)


def _as_dict(one: Offer) -> dict[str, Any]:
    """Return what is promised of one set, the first the one that is chosen, for JSON."""
    return {
        "set": str(one.match.artifacts.key),
        "tau": one.kept.tau,
        "max_experts": one.max_experts,
        "certificate": msgspec.to_builtins(one.certificate),
        "point": msgspec.to_builtins(one.point),
        "cost": one.cost,
        "unit": one.match.results.unit.name,
    }


def default_of(match: Match) -> str:
    """Return in words the default of a set as it stands in the bundle."""
    now = match.bundle.operating(match.artifacts)
    return f"tau {now.default_tau:g}, max_experts {now.default_max_experts}"


def write_choice(
    match: Match, tau: float, max_experts: int, *, all_sets: bool, certificate: Certificate | None = None
) -> list[str]:
    """Make a setting the default of its set, and of all sets' choice the set the one that runs where none is named.

    Returns:
        What to tell of it.
    """
    from edge_moe.defaults import write_defaults

    bundle, key = match.bundle.path, match.artifacts.key
    before = default_of(match)
    wanted = Pattern((key.backend,), key.recipe)
    write_defaults(bundle, wanted, tau, max_experts, certificate=certificate, default_set=all_sets)
    told = [f"{bundle}: the default of {match.label} is now tau {tau:.10g}, max_experts {max_experts}; it was {before}"]
    first = match.bundle.manifest.sets[0].key
    if key != first and all_sets:
        told.append(f"{bundle} runs {key} where no set is named; it was {first}")
    elif key != first:
        told.append(f"{bundle} still runs {first} where no set is named; name this one with --set {key}")
    others = [f"{name} at {one.default_tau:g}" for name, one in match.bundle.operating_sets.items() if name != str(key)]
    return [*told, *([f"the other sets keep their tau: {', '.join(others)}"] if others else [])]


def _table(found: Sequence[Offer], title: str) -> Table:
    unit, labelled = found[0].match.results.unit, found[0].point.accuracy is not None
    table = Table(title=title)
    for column in ("set", "max experts", "tau", "seen", "at most", "exit rate", "mean MACs (M)"):
        table.add_column(column, justify="left" if column == "set" else "right")
    if labelled:
        table.add_column("accuracy", justify="right")
    table.add_column(f"mean {unit.name}\n(predicted)", justify="right")
    for place, one in enumerate(found):
        kept = one.kept
        cells = [
            f"{'* ' if not place and len(found) > 1 else ''}{one.match.label}",
            str(one.max_experts),
            f"{kept.tau:.4g}",
            f"{(kept.lost - kept.gained) / kept.samples:.2%}",
            f"{kept.bound:.2%}",
            f"{one.point.exit_rate:.1%}",
            f"{one.point.mean_macs / 1e6:.3f}",
        ]
        cells += [f"{one.point.accuracy:.2%}"] if labelled and one.point.accuracy is not None else []
        table.add_row(*cells, unit.cell(one.cost))
    return table


def _remarks(one: Offer) -> list[str]:
    """Return what else has to be known of what is promised."""
    from edge_moe.intervals import over_groups

    kept, labels = one.kept, one.match.bundle.manifest.labels
    worst = one.classes[0]
    share = f"{worst.lost:,} of {worst.samples:,}"
    name = labels[worst.index]
    whose = repr(name) if one.labels is not None else f"what is answered {name!r} at tau 0,"
    found = [
        "it is promised for images drawn as these were, answered by this set; others void it",
        f"by class it may be worse: of {whose} {share} are {_lost(one)}, at most {worst.bound:.1%} (the worst bound of "
        f"{len(one.classes)} classes, each at delta / {one.families * len(one.classes)})",
    ]
    if one.certificate.chose_recipe:
        found.append(
            f"{one.certificate.chose_recipe:,} of these images chose the recipe of {one.match.label} in convert: what "
            "is promised on them may be a little too good; promise it on others"
        )
    if kept.groups is not None:
        found.append(over_groups(kept.groups, kept.samples, "Promises"))
    return found


def _lost(one: Offer) -> str:
    return "lost" if one.kept.promise.rule == "drop" else one.kept.promise.rule
