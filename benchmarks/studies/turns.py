"""Comparing on a noisy machine: variants take turns, and what is reported is their ratio inside one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from edge_moe.benchmarks.samples import Summary, summary
from edge_moe.progress import Progress

__all__ = ["Goal", "at_least", "at_most", "goals_table", "take_turns"]

_BLOCK, _WARM_UP = 20, 3


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio and what it should be."""

    what: str
    ratio: float
    bar: str
    met: bool


def take_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, name: str, progress: Progress, block: int = _BLOCK
) -> dict[str, Summary]:
    """Time blocks of calls, every variant once a round, in an order drawn anew."""
    raw: dict[str, list[float]] = {variant: [] for variant in calls}
    draw = np.random.default_rng(0)
    progress.start(name, rounds)
    for _ in range(rounds):
        for variant in draw.permutation(list(calls)):
            call = calls[str(variant)]
            for _ in range(_WARM_UP):
                call()
            for _ in range(block):
                start = perf_counter()
                call()
                raw[str(variant)].append((perf_counter() - start) * 1000)
        progress.advance(name)
    return {variant: summary(tuple(samples)) for variant, samples in raw.items()}


def at_least(what: str, ratio: float, bar: float) -> Goal:
    """Return the bar `ratio` >= `bar`."""
    return Goal(what=what, ratio=ratio, bar=f">= {bar:g}", met=ratio >= bar)


def at_most(what: str, ratio: float, bar: float) -> Goal:
    """Return the bar `ratio` <= `bar`."""
    return Goal(what=what, ratio=ratio, bar=f"<= {bar:g}", met=ratio <= bar)


def goals_table(bars: Sequence[Goal]) -> list[str]:
    """Return the lines of a markdown table."""
    lines = ["| ratio inside this run | found | bar | met |", "|---|---:|---:|---|"]
    return lines + [f"| {b.what} | {b.ratio:.3f} | {b.bar} | {'yes' if b.met else 'NO'} |" for b in bars]
