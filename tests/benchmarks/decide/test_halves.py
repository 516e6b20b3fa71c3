"""Halves that are alike."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_moe.benchmarks.decide.halves import halves


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
