"""Ranking the sets of a backend by what an image costs on a target; the committed order holds unless one is cheaper.

The committed order is a row of the table in the recipes module of each backend. A ranker measures for that row.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_moe.bundle import PartSpec
from edge_moe.converters.recipe import A53, A76, AVX2, VNNI
from edge_moe.processor import Processor, this_processor
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["CHEAPER", "Candidates", "Committed", "Cost", "Costs", "Ranker", "is_cheaper", "ranked", "row_of", "why"]

CHEAPER = 0.05  # by so much of the other's median; less is not worth a default that changes from run to run


class Cost(NamedTuple):
    """What one image costs, over the rounds of a measurement."""

    p10: float
    median: float
    p90: float


class Costs(NamedTuple):
    """What one image costs by each set; a set that could not be measured is missing."""

    unit: str  # for a person: "ms", "M instructions"
    of: Mapping[SetKey, Cost]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Sets of one backend to be ranked, and what runs how often."""

    files: Mapping[SetKey, Mapping[str, Path]]  # set -> part -> artifact
    specs: Mapping[str, PartSpec]  # of these parts
    inputs: Mapping[str, npt.NDArray[np.float32]]  # part -> [N, ...]: N of its inputs, each without its batch axis
    # Part -> how often it runs for an image. One expert stands for all, for they share one graph: its share is theirs.
    shares: Mapping[str, float]


class Ranker(Protocol):
    """Ranks for one target."""

    @property
    def row(self) -> str:
        """Of the committed table."""

    @property
    def where(self) -> str:
        """For a person: "on this host"."""

    @property
    def measures(self) -> bool:
        """Whether it can be asked for costs; if not, the committed order is all there is."""

    def costs(self, candidates: Candidates, progress: Progress) -> Costs:
        """Measure what an image costs by each of `candidates`, in turns.

        Raises:
            UsageError: the target cannot rank.
            BackendError: an artifact failed.
        """


@dataclass(frozen=True)
class Committed:
    """Takes the committed order as it is."""

    row: str
    where: str = ""
    measures: bool = False

    def costs(self, candidates: Candidates, progress: Progress) -> Costs:
        """Know nothing."""
        return Costs("", {})


def row_of(processor: Processor | None = None, machine: str | None = None) -> str:
    """Return the row of the committed table for a host; by default for this one.

    Args:
        processor: what the system tells of it.
        machine: its kind, as `platform.machine` names it.
    """
    flags = (processor or this_processor()).flags
    if (machine or platform.machine()).lower() in ("arm64", "aarch64"):
        return A53 if flags and "asimddp" not in flags else A76  # macOS has no flags to read, and no core without
    return VNNI if flags & {"avx512_vnni", "avx_vnni"} else AVX2


def is_cheaper(one: Cost, other: Cost) -> bool:
    """Return whether `one` is cheaper than `other` for sure: by CHEAPER in the median, and in nearly every round."""
    return one.median <= (1 - CHEAPER) * other.median and one.p90 < other.p10


def ranked(committed: Sequence[SetKey], costs: Mapping[SetKey, Cost]) -> list[SetKey]:
    """Return sets, the best first: in the order in which they are `committed`, but for those that are surely cheaper.

    Those without a cost come last, for nobody saw them run; where no set has one, the order is as it was.
    """
    left = [key for key in committed if key in costs]
    found = []
    while left:
        best = left[0]
        for key in left[1:]:
            if is_cheaper(costs[key], costs[best]):
                best = key
        left.remove(best)
        found.append(best)
    return found + [key for key in committed if key not in costs]


def why(order: Sequence[SetKey], committed: Sequence[SetKey], costs: Mapping[SetKey, Cost], where: str) -> str:
    """Return in one sentence why the first of `order`, which `ranked` gave, is the default."""
    best, first = order[0], committed[0]
    if not costs:
        return "the committed order holds: nothing could be measured"
    if best == first:
        return f"the committed order holds: nothing is {CHEAPER:.0%} cheaper than {first} {where}"
    if first not in costs:
        return f"{best} is the first that could be measured {where}; {first} could not"
    less = 1 - costs[best].median / costs[first].median
    return f"{best} is {less:.0%} cheaper than {first} {where}"
