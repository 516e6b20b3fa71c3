"""The promised curve under the seen one, and what defaults promised when they were measured."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats

from edge_moe.benchmarks.report.sections import collect
from edge_moe.certificates import certify
from edge_moe.promise import Ladder, Promise, keep
from tests.benchmarks.made import make


def test_the_bound_is_clopper_and_pearsons():
    results = make(images=600)
    answers, exact = collect([results]).sections["promise"].views
    assert (answers.name, exact.name) == ("answers", "accuracy")
    one = results.sets[0]
    seen, promised = answers.marks[:2]
    assert (seen.name, promised.name, promised.shape) == (one.label, f"{one.label}, promised", "level")
    full = one.decisions.at(0.0, 1).predictions
    for dot, under in zip(seen.dots, promised.dots, strict=True):
        changed = int((one.decisions.at(dot.x, 1).predictions != full).sum())
        assert dot.y == pytest.approx(100 * (1 - changed / 600))
        most = 0 if dot.x == 0 else stats.beta.ppf(0.95, changed + 1, 600 - changed)
        assert under.y == pytest.approx(100 * (1 - most))
    for view in (answers, exact):
        for above, below in zip(view.marks[::2], view.marks[1::2], strict=True):
            assert all(high.y >= low.y for high, low in zip(above.dots, below.dots, strict=True))


def test_accuracy_is_as_it_was_seen_at_tau_0_less_what_may_be_lost():
    results = make(images=600)
    one, labels = results.sets[0], np.array(results.labels)
    view = collect([results]).sections["promise"].views[1]
    for dot in view.marks[0].dots:
        assert dot.y == pytest.approx(100 * (one.decisions.at(dot.x, 1).predictions == labels).mean())
    assert view.marks[1].dots[0].y == view.marks[0].dots[0].y  # at tau 0 nothing exits


def test_without_labels_answers_alone():
    assert [view.name for view in collect([make(labels=False)]).sections["promise"].views] == ["answers"]
    assert [view.name for view in collect([make(trained=False)]).sections["promise"].views] == ["answers"]
    assert "promise" not in collect([make(experts=0, max_experts=(0,))]).sections


def test_what_a_default_promised():
    results = make(images=600)
    kept = keep(Ladder.of(results.sets[0].decisions, 1), Promise.parse("changed<=5%"))
    one = msgspec.structs.replace(
        results.recorded[0], certificate=certify(kept, 1, "1" * 64, results.fingerprints), default_tau=0.5
    )
    (note,) = (
        line
        for line in collect([msgspec.structs.replace(results, recorded=(one, *results.recorded[1:]))])
        .sections["promise"]
        .notes
        if "promised changed" in line
    )
    assert note.startswith(
        f"{one.set} at its default (tau 0.5, max experts 1) promised changed<=5% with 95% confidence"
    )
