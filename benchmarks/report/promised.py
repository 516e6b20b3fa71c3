"""What early exit can be promised to keep, under what it was seen to keep: for each tau the bound at 95% confidence.

Each bound is of one tau by itself. For a tau that is chosen `edge-moe choose --promise` pays for the choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from edge_moe.benchmarks.report.charts import Dot, Mark, View, lines, over_tau
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.words import accuracy, percent, tau
from edge_moe.certificates import in_words
from edge_moe.promise import CONFIDENCE, Ladder, Rule, bound

__all__ = ["notes", "views"]

_RULES: dict[Rule, tuple[str, str]] = {
    "changed": ("answers", "answered as at tau 0, %"),
    "drop": ("accuracy", "accuracy, %"),
}


def views(series: Sequence[Series]) -> list[View]:
    """Return the answers that are kept against tau and, where labels are known, the accuracy: seen, and promised."""
    mixtures = [one for one in series if not one.plain]
    found = [over_tau(name, y, mixtures, _marks(mixtures, rule)) for rule, (name, y) in _RULES.items()]
    return [view for view in found if view.marks]


def notes(series: Sequence[Series]) -> list[str]:
    """Return what the defaults of the sets promised when they were measured."""
    return [
        f"{one.label} at its default (tau {tau(one.one.default_tau)}, max experts {one.one.default_max_experts}) "
        f"promised {in_words(certificate)}."
        for one in series
        if (certificate := one.one.recorded.certificate) is not None
    ]


def _marks(mixtures: Sequence[Series], rule: Rule) -> Iterator[Mark]:
    """Yield two lines for each max_experts of each: what was seen, and what is promised."""
    for one, points, name, style in lines(mixtures):
        results = one.results
        known = results.labels is not None and results.bundle.trained
        if rule != "changed" and not known:
            continue
        labels = np.array(results.labels) if known else None
        ladder = Ladder.of(one.one.decisions, points[0].point.max_experts)
        losses = ladder.losses(rule, labels)
        whole = 1.0 if labels is None or rule == "changed" else float((ladder.full == labels).mean())
        seen, kept = [], []
        for point in points:
            at = ladder.at(point.tau, losses)
            most = bound(at, 1 - CONFIDENCE, results.grouping, signed=rule == "drop") if point.tau else 0.0
            least = whole - most  # at tau 0 nothing is lost, whatever images come
            under = f"at most {100 * most:.2f} points under tau 0"
            told = (
                f"{one.label}, tau {tau(point.tau)}, {percent(point.point.exit_rate)} exit",
                f"seen: {accuracy(whole - float(at.mean()))}",
                f"promised: {under if rule == 'drop' else f'at least {accuracy(least)}'}",
            )
            seen.append(Dot(point.tau, 100 * (whole - float(at.mean())), told))
            kept.append(Dot(point.tau, 100 * least, told))
        yield Mark(name, style, seen)
        yield Mark(f"{name}, promised", replace(style, dash="dot"), kept, "level")
