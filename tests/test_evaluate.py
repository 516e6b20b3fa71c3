"""What is computed for all samples at once is what Runtime answers one by one."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import DataError, Runtime, UsageError
from edge_moe.evaluate import Outputs, Routed, collect, operating_point, paired_difference, route, wilson
from tests.fakes import BASE_MACS, EXPERT_MACS, GATE_MACS

X = np.random.default_rng(3).standard_normal((60, 1, 4, 4, 3)).astype(np.float32)


def gather(runtime, tensors, **options):
    return collect(runtime.part, runtime.manifest.experts, tensors, **options)


@pytest.mark.parametrize(("classes", "sharpness"), [(5, 1.0), (100, 1.0), (5, 10.0), (5, 1e4)])
@pytest.mark.parametrize(("kind", "space"), [("bagging", "logit"), ("bagging", "probability"), ("expert", "logit")])
def test_route_agrees_with_runtime_exactly(make_bundle, fake_backend, classes, sharpness, kind, space):
    path = make_bundle(experts=4, classes=classes, sharpness=sharpness, kind=kind, space=space)
    with Runtime(path, backend=fake_backend) as runtime:
        outputs = gather(runtime, X)
        for tau in (0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0):
            for most in (1, 2, 4):
                runtime.tau, runtime.max_experts = tau, most
                routed = route(outputs, tau, most, kind, space)
                for n, x in enumerate(X):
                    found = runtime.predict_tensor(x)
                    assert found.index == routed.predictions[n]
                    assert found.exited == routed.exited[n]
                    assert found.gate_ran == routed.gate_ran[n]
                    assert found.experts == tuple(np.flatnonzero(routed.active[n]))
                    np.testing.assert_array_equal(found.scores, routed.scores[n])


def test_decisions_at_the_very_threshold_agree(make_bundle, fake_backend):
    # tau set to a sample's own 1 - max phi or largest alpha, and to the doubles next to it.
    with Runtime(make_bundle(), backend=fake_backend, max_experts=3) as runtime:
        outputs = gather(runtime, X[:20])
        for n, x in enumerate(X[:20]):
            runtime.tau = 0.0
            phi = np.exp(outputs.base_logits[n] - outputs.base_logits[n].max())
            rest = float(1 - (phi / phi.sum()).max())
            for tau in (rest, np.nextafter(rest, 0), np.nextafter(rest, 1)):
                runtime.tau = float(tau)
                routed = route(outputs, float(tau), 3, "bagging", "logit")
                found = runtime.predict_tensor(x)
                assert (found.exited, found.gate_ran) == (routed.exited[n], routed.gate_ran[n])


@pytest.mark.parametrize("chunk", [1, 7, 60, 256])
def test_collect(make_bundle, fake_backend, chunk):
    path = make_bundle()
    size = max((path / f"fake/int8/expert_{k:02d}.npz").stat().st_size for k in range(3))
    with Runtime(path, backend=fake_backend, expert_budget_bytes=size) as runtime:
        found = gather(runtime, iter(X), chunk=chunk)
        assert len(runtime.loaded_experts) == 1
    # One load an expert and chunk; only the first chunk may find nothing loaded, later ones never a match.
    assert len(fake_backend.opened) == 2 + 3 * -(-60 // chunk)
    assert found.base_logits.shape == (60, 5)
    assert found.gate_logits.shape == (60, 3)
    assert found.expert_logits.shape == (60, 3, 5)
    with Runtime(path, backend=fake_backend) as runtime:
        again = gather(runtime, X[:, 0])  # an array [N, H, W, 3]
    for name in ("base_logits", "gate_logits", "expert_logits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))


def test_collect_of_nothing(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend) as runtime, pytest.raises(DataError, match="no samples"):
        gather(runtime, [])


def test_route_does_not_touch_its_input_and_checks_arguments():
    rng = np.random.default_rng(0)
    outputs = Outputs(rng.normal(size=(9, 4)), rng.normal(size=(9, 2)), rng.normal(size=(9, 2, 4)))
    before = [a.copy() for a in (outputs.base_logits, outputs.gate_logits, outputs.expert_logits)]
    route(outputs, 0.0, 2, "bagging", "logit")
    for a, b in zip(before, (outputs.base_logits, outputs.gate_logits, outputs.expert_logits), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UsageError, match="tau is"):
        route(outputs, 1.5, 1, "bagging", "logit")
    with pytest.raises(UsageError, match="max_experts is"):
        route(outputs, 0.5, 3, "bagging", "logit")


def test_operating_point_by_hand(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend) as runtime:
        parts = runtime.manifest.parts
    routed = Routed(
        predictions=np.array([0, 1, 2, 3]),
        active=np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=bool),
        gate_ran=np.array([False, True, True, True]),
        scores=np.zeros((4, 5)),
    )
    found = operating_point(routed, np.array([0, 1, 2, 0]), parts, 0.25, 2)
    experts = (EXPERT_MACS + 0) + (EXPERT_MACS + 1) + (EXPERT_MACS + 2)
    assert found.mean_macs == (4 * BASE_MACS + 3 * GATE_MACS + experts) / 4
    assert (found.samples, found.exit_rate, found.accuracy) == (4, 0.5, 0.75)
    assert (found.accuracy_low, found.accuracy_high) == wilson(3, 4)
    assert (found.tau, found.max_experts) == (0.25, 2)


def test_mean_macs_is_the_mean_of_what_runtime_counts(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.15, max_experts=2) as runtime:
        routed = route(gather(runtime, X), 0.15, 2, "bagging", "logit")
        point = operating_point(routed, np.zeros(60, np.int64), runtime.manifest.parts, 0.15, 2)
        assert point.mean_macs == pytest.approx(np.mean([runtime.predict_tensor(x).macs for x in X]))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(n - successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_of_nothing():
    with pytest.raises(DataError, match="no samples"):
        wilson(0, 0)


def test_paired_difference():
    rng = np.random.default_rng(0)
    a = rng.random(400) < 0.8
    b = np.where(rng.random(400) < 0.1, ~a, a)
    difference, low, high = paired_difference(a, b, seed=1)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert paired_difference(a, b, seed=1) == (difference, low, high)
    # The same bootstrap, each resample written out.
    resampled = rng.integers(0, 400, (4000, 400))
    direct = np.quantile((a.astype(int) - b)[resampled].mean(1), [0.025, 0.975])
    assert (low, high) == pytest.approx(direct, abs=0.006)
    assert paired_difference(a, a, 0) == (0, 0, 0)
    with pytest.raises(DataError, match="found 400 and 3"):
        paired_difference(a, b[:3], 0)


def test_the_one_operating_point_of_a_plain_network(make_bundle, fake_backend):
    with Runtime(make_bundle(experts=0), backend=fake_backend) as runtime:
        outputs = gather(runtime, X)
        routed = route(outputs, 1.0, 0, "bagging", "logit")
        point = operating_point(routed, routed.predictions, runtime.manifest.parts, 1.0, 0)
    assert (point.max_experts, point.exit_rate, point.mean_macs, point.accuracy) == (0, 1.0, BASE_MACS, 1.0)
