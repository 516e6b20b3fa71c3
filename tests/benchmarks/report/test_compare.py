"""int8 beside fp32, and ours beside the alternatives, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gmean

from edge_moe.benchmarks.report import compare
from edge_moe.benchmarks.report.series import build
from edge_moe.benchmarks.wire import Peer
from tests.benchmarks.fitted import stored, with_peers, with_recorded
from tests.benchmarks.made import make


def with_traces(int8, fp32, **options):
    results = make(images=4, timed=2, experts=2, classes=3, sets=(("litert", "int8"), ("litert", "fp32")), **options)
    return with_recorded(results, trace=[int8, fp32])


def test_agreement_by_hand():
    fp32 = stored(
        max_phi=(0.5, 0.5, 0.5, 1.0),
        gate=((0.75, 0.25), (0.75, 0.25), (0.25, 0.75), (0.25, 0.75)),
        answers=((0, 1, 1), (0, 1, 1), (2, 2, 2), (1, 1, 1)),
    )
    int8 = stored(
        max_phi=(0.5, 0.75, 0.5, 1.0),  # surer of image 1
        gate=((0.75, 0.25), (0.75, 0.25), (0.75, 0.25), (0.25, 0.75)),  # another expert for image 2
        answers=((0, 1, 1), (0, 1, 1), (1, 2, 2), (1, 1, 1)),  # another answer of the base to image 2
    )
    series = build([with_traces(int8, fp32, taus=(0.0, 0.3, 1.0))])
    found = compare.agreements(series)
    assert [(a.series.label, a.reference.label) for a in found] == [("litert/int8", "litert/fp32")] * 3
    assert {a.base for a in found} == {0.75}
    # tau 0: all run their first choice, image 2 another one, and still the same answers.
    # tau 0.3: alpha of int8's image 1 is 0.1875: it exits and answers 0, where fp32 answers 1.
    # tau 1: all exit, the base alone answers.
    assert [(a.point.tau, a.answers, a.routing) for a in found] == [
        (0.0, 1.0, 0.75),
        (0.3, 0.75, 0.5),
        (1.0, 0.75, 1.0),
    ]


def test_without_fp32_there_is_nothing_to_agree_with():
    series = build([make(sets=(("litert", "int8"), ("onnx", "fp32")))])
    assert compare.agreements(series) == []
    assert [compare.reference(series, one) for one in series] == [None, series[1]]


def test_a_reference_is_of_the_same_file():
    files = [make(sets=(("litert", "int8"),)), make(sets=(("litert", "fp32"),))]
    assert compare.agreements(build(files)) == []


def peer(name, backend, recipe, tau, cost, rounds=4, timed=12):
    raw = None if cost is None else ((float(cost),) * timed,) * rounds
    return Peer(name=name, backend=backend, recipe=recipe, about="", tau=tau, missing=None), raw


def test_who_meets_whom():
    peers = (
        peer("only", "litert", "int8", None, 1e-6),
        peer("graph", "onnx", "int8", 0.0, 1e6),
        peer("graph", "onnx", "int8", 0.5, 1e6),
        peer("graph", "onnx", "int8", 1.0, 1e6),
        peer("stock", "onnx", "stock", None, 1e6),
        peer("other", "torch", "fp32", None, 1e6),
        peer("missing", "litert", "int8", None, None),
    )
    results = with_peers(make(taus=(0.0, 0.5, 1.0)), peers)
    found = compare.beside_peers(build([results]))
    met: dict[str, list[tuple[str, float | None, float]]] = {}
    for one in found:
        met.setdefault(one.series.label, []).append((one.peer.name, one.peer.tau, one.point.tau))
    middle = build([results])[0].middle.tau
    assert middle == 0.5
    assert met == {
        "litert/int8": [("only", None, 0.5), ("graph", 0.5, 0.5), ("stock", None, 0.5), ("other", None, 0.5)],
        "onnx/int8": [("graph", 0.0, 0.0), ("graph", 0.5, 0.5), ("graph", 1.0, 1.0), ("stock", None, 0.5)],
    }
    assert [one.verdict for one in found][:2] == ["ours loses", "ours wins"]
    only, graph = found[:2]
    # The geometric mean over rounds of what a round's mean is.
    costs = [gmean(np.mean(point.raw, axis=1)) for point in only.series.points]
    assert only.ends == pytest.approx((1e-6 / costs[0], 1e-6 / costs[2]))
    assert graph.ends is None
    assert only.ratio == pytest.approx(1e-6 / costs[1])


def test_the_rounds_may_not_tell():
    series = build([make(sets=(("litert", "int8"),))])
    (one,) = series
    same = Peer(name="x", backend="litert", recipe="int8", about="", tau=0.25, missing=None)
    results = with_peers(one.results, [(same, one.points[3].raw)])
    (found,) = compare.beside_peers(build([results]))
    assert (found.ratio, found.verdict) == (1.0, "no difference seen")


def test_to_what_is_predicted_the_ratio_has_no_interval():
    results = make(sets=(("litert", "int8"),), raw=False)
    series = build([with_peers(results, [peer("only", "litert", "int8", None, 7.0)])])
    (found,) = compare.beside_peers(series)
    assert (found.ratio, found.low, found.high) == (7.0 / found.point.mean, None, None)
    assert found.verdict == "no difference seen"
