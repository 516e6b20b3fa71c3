"""The trace: every operating point from what is kept of each image, as `route` and the runtime have it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import DataError, Runtime, UsageError
from edge_moe.evaluate import Outputs, collect, route
from edge_moe.trace import Trace, record, trace

X = np.random.default_rng(3).standard_normal((40, 1, 4, 4, 3)).astype(np.float32)
TAUS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0)


@pytest.mark.parametrize(("kind", "space"), [("bagging", "logit"), ("bagging", "probability"), ("expert", "logit")])
@pytest.mark.parametrize("experts", [1, 4])
def test_a_trace_says_what_the_runtime_answers(make_bundle, fake_backend, kind, space, experts):
    path = make_bundle(experts=experts, kind=kind, space=space)
    with Runtime(path, backend=fake_backend) as runtime:
        kept = record(runtime.part, experts, kind, space, X)
        outputs = collect(runtime.part, experts, X)
        for tau in TAUS:
            for most in {1, experts}:
                runtime.tau, runtime.max_experts = tau, most
                found, routed = kept.at(tau, most), route(outputs, tau, most, kind, space)
                np.testing.assert_array_equal(found.predictions, routed.predictions)
                np.testing.assert_array_equal(found.active, routed.active)
                np.testing.assert_array_equal(found.gate_ran, routed.gate_ran)
                np.testing.assert_array_equal(found.exited, routed.exited)
                for n, x in enumerate(X[:10]):
                    one = runtime.predict_tensor(x)
                    assert (one.index, one.exited, one.gate_ran) == (
                        found.predictions[n],
                        found.exited[n],
                        found.gate_ran[n],
                    )
                    assert one.experts == tuple(np.flatnonzero(found.active[n]))


def test_by_hand():
    # Two experts; the gate prefers the second for image 0, the first for image 1.
    kept = Trace(
        max_phi=np.array([0.5, 0.75], np.float32),
        gate=np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
        answers=np.array([[7, 8, 9], [1, 2, 3]], np.int32),
        single=np.array([[6, 8], [2, 4]], np.int32),
        second_phi=np.array([0.25, 0.125], np.float32),
        entropy=np.array([1.0, 0.5], np.float32),
        log_sum_exp=np.array([3.0, 4.0], np.float32),
    )
    # alpha: 0.125 and 0.375; 0.125 and 0.125.
    for tau, most, answers, active, gate_ran in [
        (0.0, 1, [8, 2], [[0, 1], [1, 0]], [1, 1]),
        (0.0, 2, [9, 3], [[1, 1], [1, 1]], [1, 1]),
        (0.125, 2, [9, 3], [[1, 1], [1, 1]], [1, 1]),
        (0.2, 2, [8, 1], [[0, 1], [0, 0]], [1, 1]),
        (0.3, 2, [8, 1], [[0, 1], [0, 0]], [1, 0]),
        (0.6, 2, [7, 1], [[0, 0], [0, 0]], [0, 0]),
    ]:
        found = kept.at(tau, most)
        assert found.predictions.tolist() == answers
        assert found.active.tolist() == np.array(active, bool).tolist()
        assert found.gate_ran.tolist() == np.array(gate_ran, bool).tolist()
    assert kept.rows(np.array([1])).at(0.0, 1).predictions.tolist() == [2]
    assert len(kept) == 2


def test_what_other_rules_would_go_by():
    """By hand: base logits ln 1, ln 2, ln 5 and 0, 0, 0; two experts, each of which alone turns the answer."""
    outputs = Outputs(
        np.log(np.array([[1, 2, 5], [1, 1, 1]], np.float32)),
        np.array([[3, 0], [3, 0]], np.float32),
        np.array([[[9, 0, 0], [0, 9, 0]], [[0, 1, 0], [0, 0, 1]]], np.float32),
    )
    kept = trace(outputs, "bagging", "logit")
    assert kept.max_phi == pytest.approx([5 / 8, 1 / 3])
    assert kept.second_phi == pytest.approx([2 / 8, 1 / 3])
    assert kept.log_sum_exp == pytest.approx([np.log(8), np.log(3)])
    by_hand = -(np.log(1 / 8) / 8 + np.log(1 / 4) / 4 + 5 * np.log(5 / 8) / 8)
    assert kept.entropy == pytest.approx([by_hand, np.log(3)])
    assert kept.single.tolist() == [[0, 1], [1, 2]]
    assert kept.answers[:, 1].tolist() == [0, 1]  # the gate's first choice is expert 0 for both
    assert {values.dtype for values in (kept.second_phi, kept.entropy, kept.log_sum_exp)} == {np.dtype(np.float32)}


def test_the_answer_with_a_single_expert_is_the_runtime_s(make_bundle, fake_backend):
    """Where the gate's first choice is that expert; and no gate is asked about the others."""
    with Runtime(make_bundle(), tau=0.0, max_experts=1, backend=fake_backend) as runtime:
        kept = record(runtime.part, 3, "bagging", "logit", X)
        for n, x in enumerate(X):
            one = runtime.predict_tensor(x)
            assert one.index == kept.single[n, one.experts[0]]


def test_of_one_class_there_is_no_doubt():
    kept = trace(Outputs.of_base(np.array([[2.5], [-90.0]], np.float32)), "bagging", "logit")
    assert kept.second_phi.tolist() == kept.entropy.tolist() == [0, 0]
    assert kept.log_sum_exp == pytest.approx([2.5, -90])


def test_images_are_taken_in_batches(make_bundle, fake_backend, monkeypatch):
    from edge_moe import trace as module
    from edge_moe.evaluate import batches

    with Runtime(make_bundle(), backend=fake_backend) as runtime:
        whole = record(runtime.part, 3, "bagging", "logit", X)
        monkeypatch.setattr(module, "batches", lambda *arguments: batches(*arguments, chunk=7))
        parted = record(runtime.part, 3, "bagging", "logit", iter(X))
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parted, name))
    assert whole.max_phi.dtype == whole.gate.dtype == np.float32


def test_what_cannot_be():
    kept = trace_of_one()
    with pytest.raises(UsageError, match="tau is"):
        kept.at(1.5, 1)
    with pytest.raises(UsageError, match="max_experts is"):
        kept.at(0.5, 3)


def trace_of_one():
    draw = np.random.default_rng(0)
    outputs = Outputs(*(draw.standard_normal(shape).astype(np.float32) for shape in ((1, 4), (1, 2), (1, 2, 4))))
    return trace(outputs, "bagging", "logit")


def test_no_images(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend) as runtime, pytest.raises(DataError, match="no samples"):
        record(runtime.part, 3, "bagging", "logit", [])


def test_of_a_plain_network_every_image_has_one_answer(make_bundle, fake_backend):
    path = make_bundle(experts=0)
    with Runtime(path, backend=fake_backend) as runtime:
        kept = record(runtime.part, 0, "bagging", "logit", X)
        outputs = collect(runtime.part, 0, X)
        assert [a.shape for a in (outputs.base_logits, outputs.gate_logits, outputs.expert_logits)] == [
            (40, 5),
            (40, 0),
            (40, 0, 5),
        ]
        assert (kept.gate.shape, kept.answers.shape) == ((40, 0), (40, 1))
        for tau in TAUS:
            runtime.tau = tau
            for found in (kept.at(tau, 0), route(outputs, tau, 0, "bagging", "logit")):
                assert found.predictions.tolist() == [runtime.predict_tensor(x).index for x in X]
                assert found.exited.all()
                assert not found.gate_ran.any()
    with pytest.raises(UsageError, match="max_experts is 1; expected 0"):
        kept.at(0.5, 1)
