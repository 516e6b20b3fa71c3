"""What a setting makes of the images, by hand and as the runtime counts it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import Runtime
from edge_moe.evaluate import Routed, collect, route
from edge_moe.intervals import wilson
from edge_moe.points import operating_point
from tests.fakes import BASE_MACS, EXPERT_MACS, GATE_MACS

X = np.random.default_rng(3).standard_normal((60, 1, 4, 4, 3)).astype(np.float32)


def test_operating_point_by_hand(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend) as runtime:
        macs = runtime.manifest.macs
    routed = Routed(
        predictions=np.array([0, 1, 2, 3]),
        active=np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=bool),
        gate_ran=np.array([False, True, True, True]),
        scores=np.zeros((4, 5)),
    )
    found = operating_point(routed, np.array([0, 1, 2, 0]), macs, 0.25, 2)
    experts = (EXPERT_MACS + 0) + (EXPERT_MACS + 1) + (EXPERT_MACS + 2)
    assert found.mean_macs == (4 * BASE_MACS + 3 * GATE_MACS + experts) / 4
    assert (found.samples, found.exit_rate, found.accuracy) == (4, 0.5, 0.75)
    assert (found.accuracy_low, found.accuracy_high) == wilson(3, 4)
    assert (found.tau, found.max_experts) == (0.25, 2)


def test_mean_macs_is_the_mean_of_what_runtime_counts(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.15, max_experts=2) as runtime:
        routed = route(collect(runtime.part, runtime.manifest.experts, X), 0.15, 2, "bagging", "logit")
        point = operating_point(routed, np.zeros(60, np.int64), runtime.manifest.macs, 0.15, 2)
        assert point.mean_macs == pytest.approx(np.mean([runtime.predict_tensor(x).macs for x in X]))


def test_the_one_operating_point_of_a_plain_network(make_bundle, fake_backend):
    with Runtime(make_bundle(experts=0), backend=fake_backend) as runtime:
        outputs = collect(runtime.part, runtime.manifest.experts, X)
        routed = route(outputs, 1.0, 0, "bagging", "logit")
        point = operating_point(routed, routed.predictions, runtime.manifest.macs, 1.0, 0)
    assert (point.max_experts, point.exit_rate, point.mean_macs, point.accuracy) == (0, 1.0, BASE_MACS, 1.0)
