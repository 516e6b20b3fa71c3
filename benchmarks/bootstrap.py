"""Two halves of a set of images, and 95% percentile intervals by resampling images.

Where images belong together in groups, as versions of one original do, whole groups are dealt out and resampled.

Axis letters: N images, G groups, M quantities, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_moe.errors import DataError
from edge_moe.intervals import grouped

__all__ = ["RESAMPLES", "halves", "interval_of_quantile", "intervals_of_means"]

RESAMPLES = 2000
_INTERVAL = (0.025, 0.975)
_CELLS = 1 << 21  # of a chunk of resamples: 16 MiB

Doubles = npt.NDArray[np.float64]
Groups = npt.NDArray[np.integer]


def halves(
    images: int,
    timed: Sequence[int],
    labels: npt.NDArray[np.integer] | None,
    seed: int,
    groups: Groups | None = None,
) -> npt.NDArray[np.bool_]:
    """Split images by chance into two halves; [N] whether an image is in the first.

    The timed ones are dealt out first, then the others, and each kind class by class: the halves differ by at most
    one image in number, in timed images, in each class of the timed and in each class of the others. Groups are dealt
    out whole, in the same way: those with most timed images first, and those of a kind by the class of their first.

    Args:
        images: N.
        timed: indices of the images that were timed.
        labels: [N] class of each image; None is not known.
        seed: of the split.
        groups: [N] which images stay together; None: each by itself.
    """
    if groups is not None:
        return _halves_of_groups(images, timed, labels, seed, groups)
    draw = np.random.default_rng(seed)
    untimed = np.ones(images, dtype=np.bool_)
    untimed[list(timed)] = False
    classes = np.zeros(images, dtype=np.intp) if labels is None else np.unique(labels, return_inverse=True)[1]
    # In an order drawn anew, so that of classes with one image not every second goes to the same half by its name.
    rank = draw.permutation(int(classes.max()) + 1)[classes]
    order = np.lexsort((draw.permutation(images), rank, untimed))
    first = np.zeros(images, dtype=np.bool_)
    first[order[::2]] = True
    return first


def _halves_of_groups(
    images: int, timed: Sequence[int], labels: npt.NDArray[np.integer] | None, seed: int, groups: Groups
) -> npt.NDArray[np.bool_]:
    draw = np.random.default_rng(seed)
    _, firsts, index = np.unique(groups, return_index=True, return_inverse=True)
    was_timed = np.zeros(images)
    was_timed[list(timed)] = 1
    classes = np.zeros(images, dtype=np.intp) if labels is None else np.unique(labels, return_inverse=True)[1]
    rank = draw.permutation(int(classes.max()) + 1)[classes[firsts]]
    order = np.lexsort((draw.permutation(len(firsts)), rank, -np.bincount(index, was_timed)))
    # There and back (A B B A), so that one half does not get the larger of every two.
    first = np.zeros(len(firsts), dtype=np.bool_)
    first[order[0::4]] = first[order[3::4]] = True
    dealt: npt.NDArray[np.bool_] = first[index]
    return dealt


def intervals_of_means(
    values: Doubles, seed: int, resamples: int = RESAMPLES, groups: Groups | None = None
) -> tuple[Doubles, Doubles]:
    """[N, M] -> the bounds [M] and [M] of a 95% percentile bootstrap interval of each mean.

    All M are resampled together. What a resample takes of each image is a row of counts, so that the means of a chunk
    of resamples are one matrix product. With `groups` [N] whole groups are taken: a mean is then a quotient of two.

    Raises:
        DataError: there are no images.
    """
    if len(values) < 1:
        raise DataError("the mean of no images has no interval; expected at least one image")
    sums, sizes = (values, None) if groups is None else grouped(values, groups)
    n = len(sums)
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    chunk = max(1, _CELLS // n)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = draw.integers(n, size=(rows, n)) + n * np.arange(rows)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        taken = counts.astype(np.float64)
        means[start : start + rows] = taken @ sums / (n if sizes is None else (taken @ sizes)[:, np.newaxis])
    low, high = np.quantile(means, _INTERVAL, axis=0)
    return low, high


def interval_of_quantile(
    values: Doubles, q: float, seed: int, resamples: int = RESAMPLES, groups: Groups | None = None
) -> tuple[float, float]:
    """[N] -> bounds of a 95% percentile bootstrap interval of the quantile `q`, interpolated as numpy does.

    Only the two order statistics around the quantile are drawn: of N uniform numbers the r-th smallest is
    Beta(r, N - r + 1) distributed, and the largest of r - 1 that lie below it is it times U^(1/(r-1)). The image that
    a resample has there is the one at that share of the sorted values. With `groups` [N] every resample of whole groups
    is written out.

    Raises:
        DataError: there are no images.
    """
    n = len(values)
    if n < 1:
        raise DataError("a quantile of no images has no interval; expected at least one image")
    if groups is not None:
        return _quantile_of_groups(values, q, seed, groups, resamples)
    draw = np.random.default_rng(seed)
    ordered, position = np.sort(values), q * (n - 1)
    below = int(position)
    if below + 1 < n:
        upper = draw.beta(below + 2, n - below - 1, resamples)
        lower = upper * draw.random(resamples) ** (1 / (below + 1))
    else:
        upper = lower = draw.beta(n, 1, resamples)
    at_lower, at_upper = (ordered[np.minimum((n * share).astype(np.intp), n - 1)] for share in (lower, upper))
    low, high = np.quantile(at_lower + (position - below) * (at_upper - at_lower), _INTERVAL)
    return float(low), float(high)


def _quantile_of_groups(values: Doubles, q: float, seed: int, groups: Groups, resamples: int) -> tuple[float, float]:
    draw = np.random.default_rng(seed)
    order = np.argsort(values)
    ordered, index = values[order], np.unique(groups, return_inverse=True)[1][order]
    g = int(index.max()) + 1
    found = np.empty(resamples)
    for number in range(resamples):
        times = np.bincount(draw.integers(g, size=g), minlength=g)[index]  # that each image is taken
        upto = np.cumsum(times)
        position = q * (upto[-1] - 1)
        # Of the resample, sorted, the entries around the quantile: the first images up to which more lie.
        lower, upper = ordered[np.searchsorted(upto, [int(position), min(int(position) + 1, upto[-1] - 1)], "right")]
        found[number] = lower + (position - int(position)) * (upper - lower)
    low, high = np.quantile(found, _INTERVAL)
    return float(low), float(high)
