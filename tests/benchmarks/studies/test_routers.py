"""Routers in one form: golden numbers worked out before, and POT, which knows nothing of this code."""

from __future__ import annotations

import warnings

import numpy as np
import ot
import pytest

from edge_moe.anytime import softmax
from edge_moe.benchmarks.studies import routers
from edge_moe.errors import UsageError

LOGITS = np.array([[2, 0, 1], [1, 1, 0], [0, 2, 1], [3, 1, 1]], np.float64)
GATES = np.array([[0.4, 0, 0.2], [0.5, 0.1, 0.4], [0.3, 0.2, 0.6]])


def entries(array):
    return {tuple(map(int, place)): pytest.approx(array[tuple(place)]) for place in np.argwhere(array)}


@pytest.mark.parametrize(
    ("tokens", "experts", "choices", "factor", "expected"),
    [(4, 3, 1, 1, 2), (256, 20, 1, 1, 13), (256, 20, 0.4, 1, 6), (4, 2, 2, 1.05, 5), (1, 20, 0.01, 1, 1)],
)
def test_capacity(tokens, experts, choices, factor, expected):
    assert routers.capacity(tokens, experts, choices, factor) == expected


@pytest.mark.parametrize("wrong", [(0, 3), (4, 0), (4, 3, 0), (4, 3, 1, 0), (4, 3, float("nan"))])
def test_capacity_of_nothing(wrong):
    with pytest.raises(UsageError, match="expected all above 0"):
        routers.capacity(*wrong)


@pytest.mark.parametrize(
    ("batch_priority", "expected"),
    [
        (False, {(0, 0, 0): 0.4, (0, 2, 1): 0.2, (1, 0, 1): 0.5, (2, 2, 0): 0.6}),
        (True, {(0, 0, 1): 0.4, (1, 0, 0): 0.5, (1, 2, 1): 0.4, (2, 2, 0): 0.6}),
    ],
)
def test_token_choice(batch_priority, expected):
    found = routers.token_choice(GATES, GATES, 2, 2, batch_priority=batch_priority)
    assert entries(found.combine) == expected
    assert entries(found.dispatch) == dict.fromkeys(expected, 1)


def test_expert_choice():
    gates = softmax(LOGITS)
    found = routers.expert_choice(gates, gates, 2)
    chosen = [[int(np.flatnonzero(found.dispatch[:, expert, slot])[0]) for slot in range(2)] for expert in range(3)]
    assert chosen == [[3, 0], [2, 1], [0, 2]]
    np.testing.assert_array_equal(found.combine.sum(axis=2), gates * (found.dispatch.sum(axis=2) > 0))


def test_an_expert_takes_nobody_whom_the_plan_does_not_give_it():
    plan = np.array([[0.5, 0.0], [0.5, 0.0], [0.0, 1.5]])
    assert routers.expert_choice(plan, np.ones((3, 2)), 2).dispatch.sum(axis=2).tolist() == [[1, 0], [1, 0], [0, 1]]


SINKHORN = [
    [0.4286, 0.107414, 0.463987],
    [0.25417, 0.470675, 0.275155],
    [0.044087, 0.603253, 0.35266],
    [0.606476, 0.151992, 0.241531],
]


def test_sinkhorn_s_golden_numbers():
    plan = routers.sinkhorn(LOGITS)
    np.testing.assert_allclose(plan, SINKHORN, atol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=0), 4 / 3, rtol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(("tokens", "experts", "temperature"), [(4, 3, 1.0), (50, 20, 1.0), (30, 4, 0.3)])
def test_sinkhorn_is_pot_s(tokens, experts, temperature):
    logits = np.random.default_rng(tokens).normal(size=(tokens, experts)) * 2
    weights = np.ones(tokens), np.full(experts, tokens / experts)
    expected = ot.sinkhorn(*weights, -logits, temperature, stopThr=1e-13, numItermax=100_000)
    np.testing.assert_allclose(routers.sinkhorn(logits, temperature), expected, atol=1e-6)


def test_sinkhorn_does_not_overflow():
    plan = routers.sinkhorn(np.array([[1000.0, 0.0], [999.0, 0.0], [-1000.0, 0.0], [0.0, 1000.0]]))
    assert np.isfinite(plan).all()
    np.testing.assert_allclose(plan.sum(axis=0), 2)


def test_the_sparse_plan_s_golden_numbers():
    third = 1 / 3
    expected = [[third, 0, 2 * third], [0, 2 * third, third], [0, 2 * third, third], [1, 0, 0]]
    np.testing.assert_allclose(routers.sparse_plan(LOGITS, 3), expected, atol=1e-6)
    # No plan with two an expert has rows that sum to 1.
    few = routers.sparse_plan(LOGITS, 2)
    assert ((few > 0).sum(axis=0) <= 2).all()
    np.testing.assert_allclose(few.sum(axis=0), 4 / 3)


@pytest.mark.parametrize(("tokens", "experts", "nonzeros"), [(4, 3, 3), (12, 3, 9), (24, 4, 18)])
def test_the_sparse_plan_is_pot_s(tokens, experts, nonzeros):
    logits = np.random.default_rng(tokens).normal(size=(tokens, experts))
    weights = np.ones(tokens), np.full(experts, tokens / experts)
    options = {"reg_type": "sparsity_constrained", "max_nz": nonzeros, "stopThr": 1e-12, "numItermax": 10_000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it calls scipy
        expected = ot.smooth.smooth_ot_semi_dual(*weights, -logits, 1.0, **options)
    np.testing.assert_allclose(routers.sparse_plan(logits, nonzeros), expected, atol=1e-6)


def test_the_unified_score():
    expected = [
        [0.62622, 0.211682, 0.36605],
        [0.454846, 0.454846, 0.244348],
        [0.211682, 0.62622, 0.36605],
        [0.711018, 0.29694, 0.29694],
    ]
    score = routers.unified_scores(LOGITS)
    np.testing.assert_allclose(score, expected, atol=1e-6)
    np.testing.assert_allclose(routers.unified_scores(np.array([[1000.0, -1000.0]])), [[1, 0]], atol=1e-12)
    gates = softmax(LOGITS)
    np.testing.assert_allclose(routers.unified_scores(LOGITS, 0.0), gates)
    routing = routers.pairs(score, gates, 4)
    # Of the tied (1, 0) and (1, 1) the lower expert.
    assert np.argwhere(routing.dispatch.sum(axis=2)).tolist() == [[0, 0], [1, 0], [2, 1], [3, 0]]
    assert routers.pairs(score, gates, 0).dispatch.sum() == 0
    assert routers.pairs(score, gates, 5).dispatch.sum() == 5
    assert routers.pairs(score, gates, 99).dispatch.sum() == 12


def test_soft_moe():
    tokens = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    found = routers.soft(tokens, np.eye(2)[:, :, np.newaxis])
    np.testing.assert_allclose(
        found.dispatch[:, :, 0].T, [[0.490629, 0.180492, 0.328879], [0.168242, 0.457329, 0.374429]], atol=1e-6
    )
    np.testing.assert_allclose(
        found.combine[:, :, 0], [[0.731058, 0.268942], [0.268942, 0.731058], [0.450166, 0.549834]], atol=1e-6
    )
    slots = np.einsum("tks,tf->ksf", found.dispatch, tokens)
    np.testing.assert_allclose(slots[:, 0], [[1.477265, 1.676499], [1.29153, 2.412375]], atol=1e-6)
    answers = np.einsum("tks,ksf->tf", found.combine, slots)
    np.testing.assert_allclose(answers, [[1.427313, 1.874407], [1.341482, 2.214467], [1.375141, 2.081109]], atol=1e-6)
