"""Intervals of accuracies and of differences: published values, written-out resampling, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.errors import DataError
from edge_moe.intervals import accuracy_interval, grouped, over_groups, paired_difference, wilson


def versions(draw, originals=80, each=5, hard=0.3):
    """[N] whether each version was right, and [N] its original: some originals are hard in all their versions."""
    chance = np.where(draw.random(originals) < hard, 0.3, 0.97)
    right = draw.random((originals, each)) < chance[:, np.newaxis]
    return right.ravel(), np.repeat(draw.permutation(originals), each), (1 - hard) * 0.97 + hard * 0.3


def test_sums_by_group():
    sums, sizes = grouped([1, 2, 4, 8], np.array([7, 3, 7, 3]))
    assert (sums.tolist(), sizes.tolist()) == ([10, 5], [2, 2])
    sums, sizes = grouped([[1, 1], [2, 0], [4, 0]], np.array([1, 0, 1]))
    assert (sums.tolist(), sizes.tolist()) == ([[2, 0], [5, 1]], [1, 2])
    with pytest.raises(DataError, match="for each of 2 samples, found 3"):
        grouped([1, 2], np.array([0, 1, 2]))


def test_without_groups_as_ever():
    right = np.random.default_rng(0).random(50) < 0.8
    assert accuracy_interval(right) == wilson(int(right.sum()), 50)
    assert accuracy_interval([True, False]) == wilson(1, 2)
    with pytest.raises(DataError, match="no samples"):
        accuracy_interval([])


def test_versions_that_are_all_alike_count_once():
    """Five copies of each sample tell what one of each does, but for g / (g - 1)."""
    right = np.random.default_rng(1).random(4000) < 0.8
    copies, groups = np.repeat(right, 5), np.repeat(np.arange(4000), 5)
    assert accuracy_interval(copies, groups) == pytest.approx(wilson(int(right.sum()), 4000), abs=1e-5)
    difference = paired_difference(copies, np.repeat(~right, 5), 3, groups=groups)
    assert difference == pytest.approx(paired_difference(right, ~right, 3), abs=2e-3)


def test_design_effect_by_hand():
    """(2 of 2), (0 of 2), (1 of 2): p = 1/2, robust variance 3/2 x 2 / 36 = 1/12, simple 1/24, d = 2, N / d = 3."""
    low, high = accuracy_interval([1, 1, 0, 0, 1, 0], np.array([0, 0, 1, 1, 2, 2]))
    z2 = 1.959963984540054**2
    half = np.sqrt(z2 * (0.25 / 3 + z2 / 36)) / (1 + z2 / 3)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))


def test_groups_never_add_knowledge():
    """Groups that are more alike than chance make them (1 of 2 in each) leave Wilson's interval as it is."""
    right, groups = np.tile([True, False], 20), np.repeat(np.arange(20), 2)
    assert accuracy_interval(right, groups) == pytest.approx(wilson(20, 40))
    assert accuracy_interval(right, np.arange(40)) == pytest.approx(wilson(20, 40), abs=5e-3)


@pytest.mark.parametrize("always", [True, False])
def test_all_or_none_right_is_one_answer_a_group(always):
    expected = wilson(10 * always, 10)
    assert accuracy_interval(np.full(40, always), np.repeat(np.arange(10), 4)) == pytest.approx(expected)
    assert accuracy_interval([True, False], np.zeros(2, int)) == pytest.approx((0.0546, 0.9454), abs=1e-4)  # of one


def test_coverage_of_an_accuracy():
    """With versions, 95% intervals hold what they promise only over originals."""
    draw = np.random.default_rng(2)
    with_groups = without = 0
    for _ in range(600):
        right, groups, truth = versions(draw)
        low, high = accuracy_interval(right, groups)
        with_groups += low <= truth <= high
        low, high = accuracy_interval(right)
        without += low <= truth <= high
    assert with_groups / 600 == pytest.approx(0.95, abs=0.025)
    assert without / 600 < 0.87


def test_coverage_of_a_difference():
    draw = np.random.default_rng(4)
    covered = {True: 0, False: 0}
    for trial in range(300):
        helped = draw.random(120) < 0.2  # originals that A gets right more often
        a = draw.random((120, 5)) < np.where(helped, 0.9, 0.7)[:, np.newaxis]
        b = draw.random((120, 5)) < np.where(helped, 0.2, 0.7)[:, np.newaxis]
        for over in covered:
            groups = np.repeat(np.arange(120), 5) if over else None
            _, low, high = paired_difference(a.ravel(), b.ravel(), trial, groups=groups, resamples=1000)
            covered[over] += low <= 0.2 * 0.7 <= high
    assert covered[True] / 300 == pytest.approx(0.95, abs=0.035)
    assert covered[False] / 300 < 0.88


def test_difference_over_groups_as_plain_resampling():
    """Groups of unlike sizes, every resample written out."""
    draw = np.random.default_rng(5)
    sizes = draw.integers(1, 6, 60)
    groups = np.repeat(np.arange(60), sizes)
    a, b = draw.random(len(groups)) < 0.8, draw.random(len(groups)) < 0.7
    shuffled = draw.permutation(len(groups))
    found = paired_difference(a[shuffled], b[shuffled], 1, groups=groups[shuffled])
    plain = []
    for chosen in draw.integers(60, size=(4000, 60)):
        rows = np.concatenate([np.flatnonzero(groups == one) for one in chosen])
        plain.append(a[rows].mean() - b[rows].mean())
    assert found[0] == pytest.approx(a.mean() - b.mean())
    assert found[1:] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.008)
    with pytest.raises(DataError, match="a group for each"):
        paired_difference(a, b, groups=groups[:-1])


def test_the_note():
    assert over_groups(360, 1800) == "Intervals are over the 360 originals of which these 1,800 images are versions."
