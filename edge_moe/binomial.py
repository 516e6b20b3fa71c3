"""Exact binomial tails and the bounds that follow from them, with numpy alone: a device has no scipy.

From `math.lgamma` alone a term of ten thousand samples is right to eleven digits, for large numbers cancel. So its
error against Stirling's formula is taken, as in Loader, "Fast and Accurate Computation of Binomial Probabilities"
(2000): then every digit but the last few holds, however many samples there are.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["binomial_tail", "samples_needed", "upper_bound"]

_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)  # of the error of Stirling's formula, in 1/n, 1/n^3, ...
_SMALL = 30  # up to here lgamma cancels next to nothing
_HALVINGS = 200  # more than it takes to leave no double between two bounds


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X <= k) for X ~ Binomial(n, p).

    Args:
        k: from 0; n and more give 1.
        n: samples, at least 1.
        p: in [0, 1].
    """
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    start = min(k, int((n + 1) * p))  # the largest of the terms: the others are its multiples, and none vanishes early
    odds = p / (1 - p)
    below = np.arange(start, 0, -1.0)
    above = np.arange(start, k, 1.0)
    down = np.cumprod(below / ((n - below + 1) * odds))
    up = np.cumprod((n - above) / (above + 1) * odds)
    return min(1.0, _term(start, n, p) * math.fsum((1.0, down.sum(), up.sum())))


def upper_bound(k: int, n: int, delta: float) -> float:
    """Return the upper Clopper-Pearson bound of a share of which `k` of `n` were seen.

    It is BetaInv(1 - delta; k + 1, n - k). In at most `delta` of all draws it is below the share, whatever that is.

    Args:
        k: from 0 to n.
        n: samples, at least 1.
        delta: in (0, 1).
    """
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if binomial_tail(k, n, middle) > delta else (low, middle)
    return high


def samples_needed(epsilon: float, delta: float) -> int:
    """Return how many samples without any loss it takes to show that at most `epsilon` is lost, in (0, 1) both."""
    count = math.ceil(math.log(delta) / math.log1p(-epsilon))
    return count + 1 if (1 - epsilon) ** count > delta else count


def _term(k: int, n: int, p: float) -> float:
    """Return P(X = k), 0 <= k <= n, 0 < p < 1."""
    if k == 0:
        return math.exp(n * math.log1p(-p))
    if k == n:
        return math.exp(n * math.log(p))
    logarithm = _stirling(n) - _stirling(k) - _stirling(n - k) - _deviance(k, n * p) - _deviance(n - k, n * (1 - p))
    return math.exp(logarithm) * math.sqrt(n / (2 * math.pi * k * (n - k)))


def _stirling(n: int) -> float:
    """Return log n! minus Stirling's formula for it, n >= 1."""
    if n <= _SMALL:
        return math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(2 * math.pi)
    return math.fsum(factor / float(n) ** (2 * i + 1) for i, factor in enumerate(_SERIES))


def _deviance(x: float, expected: float) -> float:
    """Return x log(x / expected) + expected - x, also where the two are close: by the series of Loader's paper."""
    difference = x - expected
    v = difference / (x + expected)
    if abs(v) >= 0.1:
        return x * math.log(x / expected) - difference
    total, power, factor = difference * v, 2 * x * v, 1
    while True:
        power *= v * v
        factor += 2
        more = total + power / factor
        if more == total:
            return total
        total = more
