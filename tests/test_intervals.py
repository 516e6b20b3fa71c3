"""Every interval: published values, written-out resampling, scipy's own, and coverage by simulation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from edge_moe import intervals
from edge_moe.errors import DataError
from edge_moe.intervals import (
    accuracy_interval,
    grouped,
    intervals_of_means,
    intervals_of_quantiles,
    over_groups,
    paired_difference,
    ratio_of_costs,
    wilson,
)


def versions(draw, originals=80, each=5, hard=0.3):
    """[N] whether each version was right, and [N] its original: some originals are hard in all their versions."""
    chance = np.where(draw.random(originals) < hard, 0.3, 0.97)
    right = draw.random((originals, each)) < chance[:, np.newaxis]
    return right.ravel(), np.repeat(draw.permutation(originals), each), (1 - hard) * 0.97 + hard * 0.3


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


# --- of costs ---


def test_a_ratio_by_hand():
    """Rounds of ratio 3, 12 and 6: logs are ln 6 - ln 2, ln 6 + ln 2, ln 6, their standard error ln 2 / sqrt 3."""
    value, low, high = ratio_of_costs([[2, 4], [20, 28], [6, 6]], [[1, 1], [1, 3], [0.5, 1.5]])
    assert value == pytest.approx(6)
    factor = 2 ** (4.30265 / 3**0.5)  # Student's t of two degrees of freedom, from a table
    assert (low, high) == pytest.approx((6 / factor, 6 * factor), rel=1e-5)
    assert ratio_of_costs([[2, 4]], [[1, 1]]) == (pytest.approx(3), None, None)
    assert ratio_of_costs([[2.0]] * 3, [[1.0]] * 3) == pytest.approx((2, 2, 2))
    same = [[1.0, 2.0], [3.0, 5.0]]
    assert ratio_of_costs(same, same) == (1, 1, 1)


def test_a_ratio_of_rounds_that_have_nothing_in_common():
    """Somebody else's file may say so: a logarithm that no double holds the power of is no error."""
    assert ratio_of_costs([[1e300], [1e-300]], [[1.0], [1.0]]) == (pytest.approx(1), 0, np.inf)
    assert ratio_of_costs([[1e300], [1e300]], [[1e-300], [1e-300]])[0] == np.inf
    assert ratio_of_costs([[1e300]], [[1e-300]]) == (np.inf, None, None)


def test_a_ratio_turned_round():
    theirs, ours = np.random.default_rng(0).uniform(1, 2, size=(2, 20, 5))
    value, low, high = ratio_of_costs(theirs, ours)
    assert ratio_of_costs(ours, theirs) == pytest.approx((1 / value, 1 / high, 1 / low))
    assert low < value < high


def test_coverage_of_a_ratio():
    """Of five rounds, each of them fast or slow for both."""
    draw = np.random.default_rng(6)
    covered = 0
    for _ in range(600):
        moment = draw.lognormal(0, 0.3, size=(5, 1))
        theirs = 3 * moment * draw.lognormal(0, 0.1, size=(5, 1)) * np.ones(4)
        _, low, high = ratio_of_costs(theirs, moment * np.ones(4))
        covered += low <= 3 <= high
    assert covered / 600 == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ([[1.0]], [[1.0], [2.0]], "the same rounds, found 1 and 2"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "the same rounds, found 0 and 0"),
        ([[0.0, 0.0]], [[1.0, 1.0]], "above 0"),
        ([[1.0]], [[0.0]], "above 0"),
    ],
)
def test_ratios_that_cannot_be(theirs, ours, words):
    with pytest.raises(DataError, match=words):
        ratio_of_costs(theirs, ours)


# --- of means and quantiles ---

draw = np.random.default_rng(5)


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
    found = intervals_of_quantiles(values[:, np.newaxis], q, 0, resamples)
    np.testing.assert_allclose(np.ravel(found), np.quantile(plain, [0.025, 0.975]), rtol=0.01)


def test_quantiles_are_resampled_together():
    values = draw.random((40, 1))
    low, high = intervals_of_quantiles(np.hstack([values, 10 * values, -values]), 0.5, 3)
    np.testing.assert_allclose([low[1], high[1]], [10 * low[0], 10 * high[0]])
    np.testing.assert_allclose([low[2], high[2]], [-high[0], -low[0]])


@pytest.mark.parametrize("groups", [None, np.arange(60) // 4])
def test_chunks_change_nothing(monkeypatch, groups):
    values = draw.random((60, 2))

    def found():
        means = intervals_of_means(values, 1, groups=groups)
        return np.array([*means, *intervals_of_quantiles(values, 0.9, 1, groups=groups)])

    at_once = found()
    for cells in (1, 7 * 60):
        monkeypatch.setattr(intervals, "_CELLS", cells)
        np.testing.assert_allclose(found(), at_once)


def test_no_images():
    with pytest.raises(DataError, match="at least one image"):
        intervals_of_means(np.zeros((0, 2)), 0)
    with pytest.raises(DataError, match="at least one image"):
        intervals_of_quantiles(np.zeros((0, 2)), 0.5, 0)
    with pytest.raises(DataError, match="for each of 3 samples, found 2"):
        intervals_of_quantiles(np.zeros((3, 1)), 0.5, 0, groups=np.arange(2))


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
    found = intervals_of_quantiles(values[:, np.newaxis], q, 0, groups=groups)
    expected = resampled_by_group(values, groups, lambda taken: np.quantile(taken, q))
    np.testing.assert_allclose(np.ravel(found), expected, rtol=0.012)


def test_no_other_module_forms_intervals():
    root = Path(__file__).parents[1]
    files = [file for folder in ("edge_moe", "converters", "benchmarks") for file in (root / folder).rglob("*.py")]
    using = [file.name for file in files if re.search(r"^\s*(from|import) scipy\b", file.read_text(), re.MULTILINE)]
    assert using == ["intervals.py"]


def test_the_note():
    assert over_groups(360, 1800) == "Intervals are over the 360 originals of which these 1,800 images are versions."
