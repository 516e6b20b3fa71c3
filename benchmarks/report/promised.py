"""What early exit can be promised to keep, under what it was seen to keep: for each tau the bound at 95% confidence.

Each bound is of one tau by itself. For a tau that is chosen `edge-moe choose --promise` pays for the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_moe.benchmarks.report.charts import Dot, Mark, View
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.report.words import accuracy, look, percent, tau
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
    found = []
    for rule, (name, y) in _RULES.items():
        marks = [mark for one in mixtures for mark in _marks(one, rule) if mark.dots]
        if marks:
            trained = any(one.results.bundle.trained for one in mixtures)
            found.append(View(name, "tau", y, marks, untrained=not trained, x_range=(-0.03, 1.03)))
    return found


def notes(series: Sequence[Series]) -> list[str]:
    """Return what the defaults of the sets promised when they were measured."""
    return [
        f"{one.label} at its default (tau {tau(one.one.default_tau)}, max experts {one.one.default_max_experts}) "
        f"promised {in_words(certificate)}."
        for one in series
        if (certificate := one.one.recorded.certificate) is not None
    ]


def _marks(one: Series, rule: Rule) -> list[Mark]:
    """Return two lines for each max_experts: what was seen, and what is promised."""
    results = one.results
    known = results.labels is not None and results.bundle.trained
    if rule != "changed" and not known:
        return []
    labels = np.array(results.labels) if known else None
    found = []
    for turn, (experts, points) in enumerate(one.lines.items()):
        ladder = Ladder.of(one.one.decisions, experts)
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
        name = one.counted if len(one.lines) == 1 else f"{one.counted}, up to {experts}"
        style = replace(look(one.place), symbol=look(one.place + 6 * turn).symbol)
        found += [Mark(name, style, seen), Mark(f"{name}, promised", replace(style, dash="dot"), kept, "level")]
    return found
