"""Two halves of a set of images, and 95% percentile intervals by resampling images.

Axis letters: N images, M quantities, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_moe.errors import DataError

__all__ = ["RESAMPLES", "halves", "interval_of_quantile", "intervals_of_means"]

RESAMPLES = 2000
_INTERVAL = (0.025, 0.975)
_CELLS = 1 << 21  # of a chunk of resamples: 16 MiB

Doubles = npt.NDArray[np.float64]


def halves(
    images: int, timed: Sequence[int], labels: npt.NDArray[np.integer] | None, seed: int
) -> npt.NDArray[np.bool_]:
    """Split images by chance into two halves; [N] whether an image is in the first.

    The timed ones are dealt out first, then the others, and each kind class by class: the halves differ by at most
    one image in number, in timed images, in each class of the timed and in each class of the others.

    Args:
        images: N.
        timed: indices of the images that were timed.
        labels: [N] class of each image; None is not known.
        seed: of the split.
    """
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


def intervals_of_means(values: Doubles, seed: int, resamples: int = RESAMPLES) -> tuple[Doubles, Doubles]:
    """[N, M] -> the bounds [M] and [M] of a 95% percentile bootstrap interval of each mean.

    All M are resampled together. What a resample takes of each image is a row of counts, so that the means of a chunk
    of resamples are one matrix product.

    Raises:
        DataError: there are no images.
    """
    n = len(values)
    if n < 1:
        raise DataError("the mean of no images has no interval; expected at least one image")
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    chunk = max(1, _CELLS // n)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = draw.integers(n, size=(rows, n)) + n * np.arange(rows)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = counts.astype(np.float64) @ values / n
    low, high = np.quantile(means, _INTERVAL, axis=0)
    return low, high


def interval_of_quantile(values: Doubles, q: float, seed: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """[N] -> bounds of a 95% percentile bootstrap interval of the quantile `q`, interpolated as numpy does.

    Only the two order statistics around the quantile are drawn: of N uniform numbers the r-th smallest is
    Beta(r, N - r + 1) distributed, and the largest of r - 1 that lie below it is it times U^(1/(r-1)). The image that
    a resample has there is the one at that share of the sorted values.

    Raises:
        DataError: there are no images.
    """
    n = len(values)
    if n < 1:
        raise DataError("a quantile of no images has no interval; expected at least one image")
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
