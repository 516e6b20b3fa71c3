"""Tests of a mean loss by betting against it, for losses that may be negative, or that belong together in groups.

Somebody bets, group by group, that the mean loss is at most epsilon, and holds W in the end: the mean over the bets
lambda of the product over groups of 1 - lambda (the mean loss of the group - epsilon). Every group counts as much as
any other, however large it is: a scale read from the groups that were seen would make the bet unfair. No factor is
below 0. Where the mean loss is epsilon or more, the mean of every factor is at most 1, so that W exceeds 1 / delta in
at most delta of all draws (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting").

With numpy alone. Axis letters: N samples, M max_experts, C questions, G groups, L bets.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["groups_needed", "won", "won_by_counts", "won_by_groups"]

Doubles: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.integer]

_BETS = 80


def won(sums: Integers, sizes: Integers, epsilon: float, delta: float) -> bool:
    """[G] losses and [G] sizes of groups -> whether the mean loss is shown to be at most epsilon, but for delta."""
    return float(_log_mean(_log_factors(sums, sizes, epsilon))) >= -math.log(delta)


def won_by_counts(
    lost: Integers, gained: Integers, samples: int, epsilon: float, delta: float
) -> npt.NDArray[np.bool_]:
    """[C] losses of 1 and [C] of -1, of samples that stand each for itself -> [C] whether each mean is shown to be."""
    bets = _bets(epsilon)[:, np.newaxis]
    kinds, index = np.unique(np.stack([lost, gained], axis=1), axis=0, return_inverse=True)
    h, g = kinds.T
    logs = (
        (samples - h - g) * np.log1p(bets * epsilon)
        + h * np.log1p(bets * (epsilon - 1))
        + g * np.log1p(bets * (epsilon + 1))
    )
    found: npt.NDArray[np.bool_] = (_log_mean(logs) >= -math.log(delta))[index]
    return found


def won_by_groups(
    groups: Integers, moves: Integers, ends: Integers, sizes: Integers, epsilon: float, delta: float
) -> npt.NDArray[np.bool_]:
    """[C] the same of losses that change one after the other, in groups; after the first that is not, False.

    Args:
        groups: [N M] whose loss changes.
        moves: [N M] by how much.
        ends: [C] after which of these changes it is asked.
        sizes: [G] samples in each group.
        epsilon: of the promise.
        delta: of each test.
    """
    bets, sums = _bets(epsilon), np.zeros(len(sizes), np.int64)
    logs, begin, found = _log_factors(sums, sizes, epsilon), 0, np.zeros(len(ends), np.bool_)
    for question, end in enumerate((ends + 1).tolist()):
        for place in (begin + np.flatnonzero(moves[begin:end])).tolist():
            group = groups[place]
            old = sums[group] / sizes[group] - epsilon
            sums[group] += moves[place]
            new = sums[group] / sizes[group] - epsilon
            logs += np.log1p(-bets * new) - np.log1p(-bets * old)
        found[question] = float(_log_mean(logs)) >= -math.log(delta)
        if not found[question]:
            break
        begin = end
    return found


def groups_needed(epsilon: float, delta: float) -> int:
    """Return how many groups without any loss it takes for a bet to win."""
    gains = np.log1p(_bets(epsilon) * epsilon)  # [L] of one group

    def wins(groups: int) -> bool:
        return float(_log_mean(groups * gains)) >= -math.log(delta)

    low, high = 0, 1
    while not wins(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return high


def _bets(epsilon: float) -> Doubles:
    """[L] how much is bet: up to what leaves every factor above 0."""
    return np.geomspace(1e-3, 0.999 / (1 - epsilon), _BETS)


def _log_factors(sums: Integers, sizes: Integers, epsilon: float) -> Doubles:
    """[G] losses and [G] sizes of groups -> [L] log of the product of the factors of each bet."""
    kinds, counts = np.unique(sums / sizes - epsilon, return_counts=True)
    logs: Doubles = np.log1p(-_bets(epsilon)[:, np.newaxis] * kinds) @ counts
    return logs


def _log_mean(logs: Doubles) -> Doubles:
    """[L, ...] logarithms -> [...] log of the mean of what they are of: log W."""
    largest = logs.max(axis=0)
    found: Doubles = largest + np.log(np.exp(logs - largest).mean(axis=0))
    return found
