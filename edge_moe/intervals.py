"""95% intervals of an accuracy, and of the difference of two on the same samples.

Samples that belong together, such as versions of one original, say less than as many that do not: where their groups
are given, the intervals are over groups.

Axis letters: N samples, G groups, R resamples.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edge_moe.errors import DataError

__all__ = ["accuracy_interval", "grouped", "over_groups", "paired_difference", "wilson"]

Groups = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

_Z95 = 1.959963984540054  # the normal distribution has 95% within this many standard deviations


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a proportion, `successes` of `n`.

    Raises:
        DataError: n is 0.
    """
    if n < 1:
        raise DataError("a proportion of no samples has no interval; expected at least one sample")
    return _wilson(successes / n, n)


def _wilson(share: float, n: float) -> tuple[float, float]:
    z2 = _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n of n the bounds are 0 and 1 exactly, but not in floating point.
    return min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)


def grouped(values: npt.ArrayLike, groups: Groups) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """[N] or [N, M] values and [N] groups -> their sums by group, [G] or [G, M], and the number in each, [G].

    Raises:
        DataError: not a group for each sample.
    """
    rows = np.asarray(values, dtype=np.float64)
    if len(rows) != len(groups):
        raise DataError(f"expected a group for each of {len(rows)} samples, found {len(groups)}")
    index = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(index).astype(np.float64)
    sums = np.zeros((len(sizes), *rows.shape[1:]))
    np.add.at(sums, index, rows)
    return sums, sizes


def over_groups(groups: int, samples: int, what: str = "Intervals") -> str:
    """Return the note that belongs to intervals, or `what` else, over groups."""
    return f"{what} are over the {groups:,} originals of which these {samples:,} images are versions."


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
        return _wilson(share, n / most)
    robust = g / (g - 1) * float(((sums - share * sizes) ** 2).sum()) / n**2
    return _wilson(share, n / max(1.0, robust / simple))


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
    a resample are a multinomial draw: no resample is ever written out. A group adds what its samples do to the sum,
    and their number to what the sum is divided by; there are as few kinds of it.

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
    low, high = np.quantile(differences, [0.025, 0.975])
    return (gained - lost) / n, float(low), float(high)
