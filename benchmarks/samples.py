"""Raw samples in a few numbers. Each of these words means one thing, wherever it stands.

typical, mean    the mean over images of each image's median over rounds: slow moments do not count, images do
median, p10, p90 of all samples, those of every round and every image: a half, a tenth, nine tenths lie below
p99              likewise: one in a hundred lies above

Axis letters: R rounds, S samples of a round.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Rows", "Summary", "summary", "typical"]

Rows: TypeAlias = tuple[tuple[float, ...], ...]  # [R][S]


@dataclass(frozen=True)
class Summary:
    """Of raw samples, in their unit."""

    median: float
    p10: float
    p90: float
    p99: float
    mean: float


def typical(raw: Rows) -> float:
    """[R][S] -> the mean over samples of each one's median over rounds."""
    return float(np.median(np.asarray(raw, dtype=np.float64), axis=0).mean())


def summary(raw: Iterable[float] | Rows) -> Summary:
    """Summarise raw samples, flat or in rows of any lengths."""
    flat = np.fromiter(_flat(raw), dtype=np.float64)
    p10, median, p90, p99 = map(float, np.percentile(flat, [10, 50, 90, 99]))
    return Summary(median=median, p10=p10, p90=p90, p99=p99, mean=float(flat.mean()))


def _flat(raw: Any) -> Iterable[float]:
    for value in raw:
        if isinstance(value, tuple | list):
            yield from value
        else:
            yield value
