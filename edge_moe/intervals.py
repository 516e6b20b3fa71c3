"""Every interval of the project, 95% each: of accuracies, of differences, of means, of quantiles and of ratios.

Needs scipy, which the extras train, convert and bench bring: what runs on a device forms no interval and imports
neither this module nor `points`, which does.

Samples that belong together, such as versions of one original, say less than as many that do not: where their groups
are given, the intervals are over groups.

Axis letters: N samples, G groups, M quantities, B resamples, C resamples of a chunk, R rounds, T timed images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import stats

from edge_moe.errors import DataError

__all__ = [
    "accuracy_interval",
    "grouped",
    "intervals_of_means",
    "intervals_of_quantiles",
    "over_groups",
    "paired_difference",
    "ratio_of_costs",
    "wilson",
]

Doubles = npt.NDArray[np.float64]
Groups = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int32]  # half of the memory that has to be moved, which is what takes the time

_CONFIDENCE = 0.95
_TAILS = (0.025, 0.975)
# Of means and quantiles. A difference of accuracies gets more: it is what a mixture is judged by, and costs nothing.
_RESAMPLES = 2000
_CELLS = 1 << 21  # of a chunk of resamples: 16 MiB


def over_groups(groups: int, samples: int, what: str = "Intervals") -> str:
    """Return the note that belongs to intervals, or `what` else, over groups."""
    return f"{what} are over the {groups:,} originals of which these {samples:,} images are versions."


def grouped(values: npt.ArrayLike, groups: Groups) -> tuple[Doubles, Doubles]:
    """[N] or [N, M] values and [N] groups -> their sums by group, [G] or [G, M], and the number in each, [G].

    Raises:
        DataError: not a group for each sample.
    """
    rows = np.asarray(values, dtype=np.float64)
    index = _indices(groups, len(rows))
    sizes = np.bincount(index).astype(np.float64)
    sums = np.zeros((len(sizes), *rows.shape[1:]))
    np.add.at(sums, index, rows)
    return sums, sizes


def _indices(groups: Groups, samples: int) -> npt.NDArray[np.intp]:
    """[N] groups by any names -> [N] the same, numbered from 0 to G - 1."""
    if len(groups) != samples:
        raise DataError(f"expected a group for each of {samples} samples, found {len(groups)}")
    return np.unique(groups, return_inverse=True)[1]


# --- of accuracies ---


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a proportion, `successes` of `n`.

    Raises:
        DataError: n is 0.
    """
    if n < 1:
        raise DataError("a proportion of no samples has no interval; expected at least one sample")
    found = stats.binomtest(successes, n).proportion_ci(_CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def accuracy_interval(correct: npt.ArrayLike, groups: Groups | None = None) -> tuple[float, float]:
    """[N] whether each sample was right, and [N] its group -> the 95% interval of the accuracy.

    Without groups Wilson's. With groups Wilson's for the number of samples that, each by itself, would tell as much:
    N / d, where the design effect d is the variance of the accuracy over groups by that over samples (Rao and Scott
    1992, "A simple method for the analysis of clustered binary data", Biometrics 48). It is held between 1, for groups
    do not add knowledge, and N / G; where no sample differs from the others nothing tells d, and it is the latter.

    Raises:
        DataError: there are no samples, or not a group for each.
    """
    right = np.asarray(correct, dtype=np.bool_)
    n = right.size
    if groups is None or n == 0:
        return wilson(int(right.sum()), n)
    share = float(right.mean())
    sums, sizes = grouped(right, groups)
    g = len(sizes)
    most = n / g
    simple = share * (1 - share) / n
    if g < 2 or simple == 0:
        return _effective_wilson(share, n / most)
    robust = g / (g - 1) * float(((sums - share * sizes) ** 2).sum()) / n**2
    return _effective_wilson(share, n / max(1.0, robust / simple))


def _effective_wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's interval of an effective number of samples: scipy's takes whole numbers alone."""
    z2 = float(stats.norm.ppf(_TAILS[1])) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At 0 and n of n the bounds are 0 and 1 exactly, but not in floating point.
    return min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)


def paired_difference(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    seed: int = 0,
    *,
    groups: Groups | None = None,
    resamples: int = 10_000,
) -> tuple[float, float, float]:
    """[N] and [N] whether A and B were right on the same samples -> accuracy of A minus B, and its 95% interval.

    A percentile bootstrap over samples, or over `groups` [N]. A sample adds -1, 0 or 1, so that the numbers of each in
    a resample are a multinomial draw: no resample is ever written out, as `scipy.stats.bootstrap` would (of 10,000
    samples 2.4 s instead of 3 ms). A group adds what its samples do to the sum, and their number to what the sum is
    divided by; there are as few kinds of it.

    Raises:
        DataError: there are no samples, not the same number, or not a group for each.
    """
    a, b = np.asarray(correct_a, dtype=np.int64), np.asarray(correct_b, dtype=np.int64)
    if a.shape != b.shape or a.size == 0:
        raise DataError(f"expected two answers to the same samples, found {a.size} and {b.size}")
    n = a.size
    gained, lost = int((a > b).sum()), int((a < b).sum())
    draw = np.random.default_rng(seed)
    if groups is None:
        shares = np.array([gained, lost, n - gained - lost]) / n
        draws = draw.multinomial(n, shares, size=resamples)
        differences = (draws[:, 0] - draws[:, 1]) / n
    else:
        sums, sizes = grouped(a - b, groups)
        kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
        draws = draw.multinomial(len(sizes), counts / len(sizes), size=resamples)
        differences = (draws @ kinds[:, 0]) / (draws @ kinds[:, 1])
    low, high = np.quantile(differences, _TAILS)
    return (gained - lost) / n, float(low), float(high)


# --- of costs ---


def ratio_of_costs(theirs: npt.ArrayLike, ours: npt.ArrayLike) -> tuple[float, float | None, float | None]:
    """[R, T] and [R, T] costs by rounds -> cost of theirs / ours, and its 95% interval, were other rounds measured.

    The geometric mean over rounds of the mean of theirs / the mean of ours: in a round both met the same moments of the
    machine. The interval is Student's t of the same, on the logarithms; rounds are few, and a bootstrap over few is too
    sure of itself. None: one round has no interval.

    Raises:
        DataError: no rounds, not the same number of them, or one in which either cost nothing.
    """
    means = [np.asarray(one, dtype=np.float64).mean(axis=1) for one in (theirs, ours)]
    rounds = len(means[0])
    if rounds != len(means[1]) or rounds < 1:
        raise DataError(f"expected costs of the same rounds, found {rounds} and {len(means[1])}")
    if not all((one > 0).all() for one in means):
        raise DataError("what costs nothing has no ratio to anything; expected costs above 0 in every round")
    logs = np.log(means[0]) - np.log(means[1])
    middle = float(logs.mean())
    with np.errstate(over="ignore"):  # rounds that differ by hundreds of orders of magnitude leave all open
        if rounds < 2:
            return float(np.exp(middle)), None, None
        half = float(stats.t.ppf(_TAILS[1], rounds - 1) * stats.sem(logs))
        return float(np.exp(middle)), float(np.exp(middle - half)), float(np.exp(middle + half))


# --- of means and quantiles of many quantities over the same samples ---


def intervals_of_means(
    values: Doubles, seed: int, resamples: int = _RESAMPLES, groups: Groups | None = None
) -> tuple[Doubles, Doubles]:
    """[N, M] -> the bounds [M] and [M] of a 95% percentile bootstrap interval of each mean.

    All M are resampled together. With `groups` [N] whole groups are taken: a mean is then a quotient of two sums.

    Raises:
        DataError: there are no samples, or not a group for each.
    """
    _check(values)
    sums, sizes = (values, np.ones(len(values))) if groups is None else grouped(values, groups)
    means = [
        taken @ sums / (taken @ sizes)[:, np.newaxis] for taken in _resamples(len(sizes), seed, resamples, len(sizes))
    ]
    low, high = np.quantile(np.concatenate(means), _TAILS, axis=0)
    return low, high


def intervals_of_quantiles(
    values: Doubles, q: float, seed: int, resamples: int = _RESAMPLES, groups: Groups | None = None
) -> tuple[Doubles, Doubles]:
    """[N, M] -> the bounds [M] and [M] of a 95% percentile bootstrap interval of each quantile `q`.

    Quantiles are interpolated as numpy does. All M are resampled together. With `groups` [N] whole groups are taken.

    Raises:
        DataError: there are no samples, or not a group for each.
    """
    _check(values)
    n, m = values.shape
    index = np.arange(n) if groups is None else _indices(groups, n)
    order = np.argsort(values, axis=0)
    columns = [(values[order[:, k], k], index[order[:, k]]) for k in range(m)]
    found = [
        [_weighted_quantiles(ordered, np.take(taken, unit, axis=1), q) for ordered, unit in columns]
        for taken in _resamples(int(index.max()) + 1, seed, resamples, n)
    ]
    low, high = np.quantile(np.concatenate(found, axis=1), _TAILS, axis=1)
    return low, high


def _check(values: Doubles) -> None:
    if len(values) < 1:
        raise DataError("what holds for no images has no interval; expected at least one image")


def _resamples(units: int, seed: int, resamples: int, width: int) -> Iterator[Counts]:
    """Yield [C, units]: how often each unit is taken by each of C resamples, until there were `resamples`.

    By counts the means of a chunk are one matrix product. `scipy.stats.bootstrap` takes every value of every resample
    by itself, for each quantity anew, and keeps groups together only where all are of one size: for 96 means over 5,000
    images 4.2 s and, without batches, 7.7 GB, instead of 0.2 s and 16 MiB.

    Args:
        units: samples, or groups.
        seed: of the draws.
        resamples: B.
        width: numbers that a resample takes room for.
    """
    draw = np.random.default_rng(seed)
    chunk = max(1, _CELLS // width)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = draw.integers(units, size=(rows, units)) + units * np.arange(rows)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.int32)


def _weighted_quantiles(ordered: Doubles, times: Counts, q: float) -> Doubles:
    """[N] values in ascending order, and [C, N] how often each is there -> [C] quantiles of what is there."""
    c, n = times.shape
    upto = np.cumsum(times, dtype=np.int32)  # through all resamples, one after the other
    ends = upto[n - 1 :: n]
    there = np.diff(ends, prepend=0)
    position = q * (there - 1)
    below = position.astype(np.int32)

    def at(place: Counts) -> Doubles:
        """[C] -> the value at that place, from 0, of each resample in order."""
        result: Doubles = ordered[np.searchsorted(upto, ends - there + place, side="right") - n * np.arange(c)]
        return result

    lower, upper = at(below), at(np.minimum(below + 1, there - 1))
    result: Doubles = lower + (position - below) * (upper - lower)
    return result
