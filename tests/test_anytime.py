"""The exit rule: worked by hand, by its properties, and against torch written from the paper's text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_moe.anytime import (
    active_experts,
    active_weights,
    alpha,
    check_max_experts,
    check_tau,
    combine,
    ensemble,
    exits_before_gate,
    softmax,
    top,
)
from edge_moe.errors import UsageError

logits = st.floats(-30, 30, width=32)
taus = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))


@st.composite
def samples(draw, dtype=np.float64):
    """phi [Y] and g [K]."""
    y, k = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    phi = softmax(draw(arrays(dtype, y, elements=logits)))
    return phi, softmax(draw(arrays(dtype, k, elements=logits)))


# phi, g of three samples, K = Y = 3: unsure, half sure, sure.
PHI = np.array([[0.4, 0.3, 0.3], [0.2, 0.5, 0.3], [0.05, 0.05, 0.9]])
GATE = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])


def test_alpha_by_hand():
    expected = [[0.30, 0.18, 0.12], [0.10, 0.10, 0.30], [0.01, 0.08, 0.01]]
    np.testing.assert_allclose(alpha(PHI, GATE), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("tau", "max_experts", "expected"),
    [
        (0.00, 1, [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),  # static: always the gate's first
        (0.15, 1, [[1, 0, 0], [0, 0, 1], [0, 0, 0]]),
        (0.15, 3, [[1, 1, 0], [0, 0, 1], [0, 0, 0]]),
        (0.11, 2, [[1, 1, 0], [0, 0, 1], [0, 0, 0]]),
        (0.09, 2, [[1, 1, 0], [1, 0, 1], [0, 0, 0]]),  # a tie at 0.10: the lower index
        (0.00, 3, [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        (1.00, 3, [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_active_by_hand(tau, max_experts, expected):
    found = active_experts(alpha(PHI, GATE), tau, max_experts)
    assert found.tolist() == np.array(expected, dtype=bool).tolist()
    assert active_experts(alpha(PHI, GATE), tau, max_experts, GATE).tolist() == found.tolist()


def test_alpha_equal_to_tau_is_active():
    assert active_experts(np.array([0.25, 0.125]), 0.25, 2).tolist() == [True, False]


def test_combine_by_hand():
    members = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]])  # d_k of three experts
    active = np.array([True, False, True])
    np.testing.assert_allclose(combine(GATE[0], members, active), [0.5, 0.1, 0.1])
    assert combine(GATE[0], members, np.zeros(3, bool)).tolist() == [0, 0, 0]


def test_ensemble_by_hand():
    base, expert = np.log([0.5, 0.25, 0.25]), np.log([0.2, 0.6, 0.2])
    np.testing.assert_allclose(ensemble(base, expert, "bagging", "logit"), np.array([0.1, 0.15, 0.05]) / 0.3)
    np.testing.assert_allclose(ensemble(base, expert, "bagging", "probability"), [0.35, 0.425, 0.225])
    np.testing.assert_allclose(ensemble(base, expert, "expert", "logit"), [0.2, 0.6, 0.2])


def test_a_base_that_rounds_to_certainty_leaves_the_order_to_the_gate():
    phi, gate = softmax(np.array([60, 0], np.float32)), np.array([0.1, 0.2, 0.7], np.float32)
    alphas = alpha(phi, gate)
    assert alphas.tolist() == [0, 0, 0]
    assert active_experts(alphas, 0.0, 1, gate).tolist() == [False, False, True]


@given(samples(), taus)
def test_alpha_properties(sample, tau):
    phi, gate = sample
    alphas = alpha(phi, gate)
    rest = 1 - phi.max()
    assert (alphas >= 0).all()
    assert alphas.sum() == pytest.approx(rest, abs=1e-12)
    if tau > 0:
        # The bound is exact in real numbers; (rest + eps) / tau forgives what adding alphas rounds.
        count = active_experts(alphas, tau, len(gate)).sum()
        assert count <= math.floor((rest + 1e-12) / tau)


@given(samples(), taus, taus, st.integers(1, 6))
def test_active_shrinks_as_tau_grows(sample, one, other, most):
    phi, gate = sample
    low, high = sorted((one, other))
    most = min(most, len(gate))
    few = active_experts(alpha(phi, gate), high, most, gate)
    many = active_experts(alpha(phi, gate), low, most, gate)
    assert (few <= many).all()
    assert many.sum() <= most


@given(st.sampled_from([np.float32, np.float64]).flatmap(samples), taus, st.integers(1, 6))
def test_one_sample_at_a_time_routes_as_a_batch(sample, tau, most):
    phi, logits = sample  # any numbers will do for the gate's logits
    gate = softmax(logits)
    most = min(most, len(gate))
    mask = active_experts(alpha(phi, gate), tau, most, gate)
    expected = [(k, gate[k]) for k in np.flatnonzero(mask)]
    assert list(active_weights(logits, phi.max(), tau, most)) == expected


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1000, 1000, width=32)))
def test_top_is_the_largest_of_the_softmax(logits):
    before = logits.copy()
    spare = np.empty_like(logits)
    index, value = top(logits, spare)
    probabilities = softmax(logits)
    assert value == probabilities.max() == probabilities[index]
    assert top(logits) == (index, value)
    np.testing.assert_array_equal(logits, before)


def test_top_of_what_is_no_number():
    assert np.isnan(top(np.array([0.0, np.nan, 1.0], np.float32))[1])


def test_softmax_does_not_shift_what_is_safe_and_shifts_what_is_not():
    # By hand: exp(1) / (exp(1) + 1), wherever the two logits stand.
    expected = [0.2689414213699951, 0.7310585786300049]
    for shift in (0.0, 30.0, 39.0, 41.0, 5000.0, -5000.0):
        np.testing.assert_allclose(softmax(np.array([shift, shift + 1])), expected, rtol=1e-12)


@given(samples(np.float32), taus)
def test_skipping_the_gate_changes_no_decision_in_double(sample, tau):
    phi, gate = (a.astype(np.float64) for a in sample)
    if exits_before_gate(float(phi.max()), tau):
        # A gate probability may round to a hair above 1 when it is widened from float32.
        assert not active_experts(alpha(phi, np.minimum(gate, 1)), tau, len(gate)).any()


@given(samples(), taus, st.integers(1, 6))
def test_scores_sum_to_the_gate_mass(sample, tau, most):
    phi, gate = sample
    active = active_experts(alpha(phi, gate), tau, min(most, len(gate)), gate)
    members = np.tile(phi, (len(gate), 1))
    assert combine(gate, members, active).sum() == pytest.approx(gate[active].sum(), abs=1e-9)


@pytest.mark.parametrize("kind", ["bagging", "expert"])
@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize(("tau", "most"), [(0.0, 1), (0.0, 4), (0.1, 1), (0.1, 2), (0.25, 4)])
def test_agrees_with_torch_written_from_the_paper(kind, space, tau, most):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    base, gate, experts = (rng.normal(0, 2, s) for s in ((200, 7), (200, 4), (200, 4, 7)))

    phi, g = softmax(base), softmax(gate)
    active = active_experts(alpha(phi, g), tau, most, g)
    members = np.stack([ensemble(base, experts[:, k], kind, space) for k in range(4)], axis=1)
    found = np.where(active.any(1, keepdims=True), combine(g, members, active), phi)

    for n in range(200):
        phi_t = torch.from_numpy(base[n]).softmax(0)
        g_t = torch.from_numpy(gate[n]).softmax(0)
        weight = g_t * (1 - torch.max(phi_t))
        chosen = [k for k in weight.topk(most).indices.tolist() if weight[k] >= tau]
        answer = torch.zeros(7, dtype=torch.float64)
        for k in chosen:
            b, e = torch.from_numpy(base[n]), torch.from_numpy(experts[n, k])
            if kind == "expert":
                d = e.exp() / e.exp().sum()
            elif space == "logit":
                d = torch.exp(b + e) / torch.exp(b + e).sum()
            else:
                d = (b.exp() / b.exp().sum() + e.exp() / e.exp().sum()) / 2
            answer += g_t[k] * d
        assert sorted(chosen) == np.flatnonzero(active[n]).tolist()
        np.testing.assert_allclose(found[n], answer if chosen else phi_t, rtol=1e-10)


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4, -1e4])), [0.5, 0.5, 0])


@pytest.mark.parametrize("tau", [float("nan"), -0.1, 1.1, float("inf"), "0.5", None, True])
def test_bad_tau(tau):
    with pytest.raises(UsageError, match=r"tau is .*expected a number from 0"):
        check_tau(tau)


@pytest.mark.parametrize("most", [0, 4, -1, 1.0, "1", None, True])
def test_bad_max_experts(most):
    with pytest.raises(UsageError, match=r"max_experts is .*expected an integer from 1 to 3"):
        check_max_experts(most, 3)


@pytest.mark.parametrize("most", [1, -1, 0.0, False, None])
def test_max_experts_of_a_plain_network_is_0(most):
    assert check_max_experts(0, 0) == 0
    with pytest.raises(UsageError, match=r"max_experts is .*; expected 0, or nothing: a plain network has no experts"):
        check_max_experts(most, 0)


def test_without_a_gate_no_expert_is_active():
    none = np.empty((2, 0), np.float32)
    assert softmax(none).shape == (2, 0)
    assert active_experts(alpha(PHI[:2], none), 0.0, 0, none).shape == (2, 0)


def test_numbers_of_numpy_are_numbers():
    assert check_tau(np.float32(0.25)) == 0.25
    assert check_tau(1) == 1.0
    assert check_max_experts(np.int64(2), 3) == 2
