"""Exact binomial tails and bounds, beside exact fractions, scipy and the golden numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from edge_moe.binomial import binomial_tail, samples_needed, upper_bound


@pytest.mark.parametrize("n", [1, 2, 29, 31, 360])
@pytest.mark.parametrize("p", [Fraction(1, 1000), Fraction(1, 3), Fraction(999, 1000)])
def test_exactly(n, p):
    terms = [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]
    for k in sorted({0, 1, n // 2, n - 1, n}):
        assert binomial_tail(k, n, float(p)) == pytest.approx(float(sum(terms[: k + 1])), abs=1e-13)


def test_as_scipy_has_it():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        n, p = int(rng.choice([1, 7, 30, 31, 299, 1250, 10_000])), float(10 ** -rng.uniform(0, 4))
        k = int(min(n, rng.choice([0, n * p, 2 * n * p * rng.random(), n - 1])))
        assert binomial_tail(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-12), (k, n, p)


def test_ends():
    assert binomial_tail(5, 5, 0.3) == binomial_tail(0, 5, 0.0) == 1.0
    assert binomial_tail(4, 5, 1.0) == 0.0
    assert binomial_tail(0, 100_000, 0.5) == 0.0  # of what no double holds
    assert binomial_tail(60_000, 100_000, 0.5) == pytest.approx(1.0)


@pytest.mark.parametrize(("k", "n", "percent"), [(0, 1250, 0.239), (1, 1250, 0.379), (5, 1250, 0.839), (0, 360, 0.829)])
def test_golden_bounds(k, n, percent):
    assert 100 * upper_bound(k, n, 0.05) == pytest.approx(percent, abs=5e-4)


def test_bounds_are_those_of_the_beta_distribution():
    for k, n, delta in ((0, 10, 0.05), (3, 50, 0.001), (38, 10_000, 0.05), (9, 10, 0.01), (600, 1250, 0.002)):
        assert upper_bound(k, n, delta) == pytest.approx(stats.beta.ppf(1 - delta, k + 1, n - k), abs=1e-12)
    assert upper_bound(7, 7, 0.05) == 1.0


@pytest.mark.parametrize(("epsilon", "needed"), [(0.01, 299), (0.005, 598), (0.001, 2995)])
def test_how_many_it_takes(epsilon, needed):
    assert samples_needed(epsilon, 0.05) == needed
    assert binomial_tail(0, needed, epsilon) <= 0.05 < binomial_tail(0, needed - 1, epsilon)
