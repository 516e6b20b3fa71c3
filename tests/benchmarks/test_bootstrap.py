"""Halves that are alike, and intervals as scipy and plain resampling have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edge_moe.benchmarks.bootstrap import halves, interval_of_quantile, intervals_of_means
from edge_moe.errors import DataError

draw = np.random.default_rng(5)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 100),
    known=st.booleans(),
)
def test_halves_differ_by_at_most_one(labels, share, seed, known):
    n, labels = len(labels), np.array(labels)
    timed = np.random.default_rng(seed).permutation(n)[: int(share * n)]
    first = halves(n, timed.tolist(), labels if known else None, seed)
    assert np.array_equal(first, halves(n, timed.tolist(), labels if known else None, seed))

    def differ(of):
        return abs(int((first & of).sum()) - int((~first & of).sum()))

    was_timed = np.isin(np.arange(n), timed)
    assert differ(np.ones(n, bool)) <= 1
    assert differ(was_timed) <= 1
    for label in set(labels.tolist()) if known else ():
        assert differ((labels == label) & was_timed) <= 1
        assert differ((labels == label) & ~was_timed) <= 1


def test_halves_are_by_chance():
    shares = np.mean([halves(10, [0, 1, 2], None, seed) for seed in range(2000)], axis=0)
    # The first half has the odd timed image: 2 of 3, and 3 of the 7 others.
    np.testing.assert_allclose(shares, [2 / 3] * 3 + [3 / 7] * 7, atol=0.05)
    # Of classes with one image each, no name decides.
    shares = np.mean([halves(4, [], np.arange(4), seed) for seed in range(2000)], axis=0)
    np.testing.assert_allclose(shares, 0.5, atol=0.05)


def test_means_as_scipy():
    values = np.stack([draw.random(80) < 0.3, draw.gamma(2, 3, 80), np.full(80, 7.0)], axis=1)
    low, high = intervals_of_means(values, 0, resamples=20_000)
    for column, (below, above) in enumerate(zip(low, high, strict=True)):
        if column == 2:
            assert (below, above) == (7.0, 7.0)
            continue
        found = stats.bootstrap(
            (values[:, column],), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
        ).confidence_interval
        np.testing.assert_allclose([below, above], [found.low, found.high], rtol=0.02)


def test_means_are_resampled_together_and_repeat():
    values = draw.random((50, 1))
    both = intervals_of_means(np.hstack([values, 1 - values]), 3)
    np.testing.assert_allclose(both[0][0], 1 - both[1][1])
    assert np.array_equal(both, intervals_of_means(np.hstack([values, 1 - values]), 3))


@pytest.mark.parametrize(("n", "q"), [(1, 0.5), (2, 0.5), (3, 0.9), (40, 0.5), (41, 0.9), (40, 1.0), (40, 0.0)])
def test_quantiles_as_plain_resampling(n, q):
    values, resamples = draw.normal(10, 1, n), 20_000
    plain = np.quantile(values[draw.integers(n, size=(resamples, n))], q, axis=1)
    found = interval_of_quantile(values, q, 0, resamples)
    np.testing.assert_allclose(found, np.quantile(plain, [0.025, 0.975]), rtol=0.01)


def test_no_images():
    with pytest.raises(DataError, match="at least one image"):
        intervals_of_means(np.zeros((0, 2)), 0)
    with pytest.raises(DataError, match="at least one image"):
        interval_of_quantile(np.zeros(0), 0.5, 0)


# --- groups: versions of one original ---


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=40),
    share=st.floats(0, 1),
    seed=st.integers(0, 100),
    known=st.booleans(),
)
def test_halves_keep_groups_whole(sizes, share, seed, known):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    n, labels = len(groups), groups % 3  # versions of one original are of one class
    timed = np.random.default_rng(seed).permutation(n)[: int(share * n)].tolist()
    first = halves(n, timed, labels if known else None, seed, groups)
    assert set(groups[first]).isdisjoint(groups[~first])
    assert abs(len(set(groups[first])) - len(set(groups[~first]))) <= 1
    assert np.array_equal(first, halves(n, timed, labels if known else None, seed, groups))
    # Each half gets its share of the timed: of any two groups next to each other in number, one goes to each.
    was_timed = np.isin(np.arange(n), timed)
    most = max(int(was_timed[groups == one].sum()) for one in set(groups))
    assert abs(int((first & was_timed).sum()) - int((~first & was_timed).sum())) <= most


def test_halves_of_groups_are_by_chance():
    groups = np.repeat(np.arange(6), 2)
    shares = np.mean([halves(12, [0], None, seed, groups) for seed in range(2000)], axis=0)
    assert shares[0] == shares[1] == 1  # the one with a timed image is dealt first
    np.testing.assert_allclose(shares[2:], 2 / 5, atol=0.05)


def resampled_by_group(values, groups, summed, resamples=4000):
    rng, names = np.random.default_rng(11), np.unique(groups)
    rows = {name: np.flatnonzero(groups == name) for name in names}
    plain = [
        summed(values[np.concatenate([rows[name] for name in names[chosen]])])
        for chosen in rng.integers(len(names), size=(resamples, len(names)))
    ]
    return np.quantile(plain, [0.025, 0.975])


def test_means_over_groups_as_plain_resampling():
    groups = draw.permutation(np.repeat(np.arange(30), draw.integers(1, 6, 30)))
    own = draw.normal(10, 1, 30)
    values = np.stack([own[groups], draw.normal(10, 1, len(groups))], axis=1)
    low, high = intervals_of_means(values, 0, groups=groups)
    for column in range(2):
        expected = resampled_by_group(values[:, column], groups, np.mean)
        np.testing.assert_allclose([low[column], high[column]], expected, rtol=0.01)
    alone = intervals_of_means(values, 0)
    assert high[0] - low[0] > 1.5 * (alone[1] - alone[0])[0]


@pytest.mark.parametrize(("originals", "q"), [(2, 0.5), (12, 0.5), (12, 0.9), (12, 1.0), (12, 0.0)])
def test_quantiles_over_groups_as_plain_resampling(originals, q):
    groups = draw.permutation(np.repeat(np.arange(originals), draw.integers(1, 5, originals)))
    values = draw.normal(10, 1, originals)[groups] + draw.normal(0, 0.2, len(groups))
    found = interval_of_quantile(values, q, 0, groups=groups)
    expected = resampled_by_group(values, groups, lambda taken: np.quantile(taken, q))
    np.testing.assert_allclose(found, expected, rtol=0.012)
