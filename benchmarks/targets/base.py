"""The interface between the harness and what executes artifacts: this host, an emulated core, a phone, an NPU.

A target answers with costs per part, and per operating point where it can run whole predictions, in its own unit. What
is routed where is decided before, on this host, by the same artifacts; a target only costs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.backends import Tensor
from edge_moe.benchmarks.conditions import Seen
from edge_moe.benchmarks.results import Conditions, Cost, Limit, Machine, Peer, Unit
from edge_moe.bundle import ArtifactSet, Bundle
from edge_moe.progress import Progress

__all__ = ["Availability", "Plan", "Round", "Session", "SetPlan", "SetRound", "Setting", "Target"]


@dataclass(frozen=True)
class Availability:
    """Whether a target, or one of its backends, can be used here."""

    what: str
    usable: bool
    detail: str  # its version, or what to do


class Setting(NamedTuple):
    """An operating point to measure."""

    tau: float
    max_experts: int


@dataclass(frozen=True)
class SetPlan:
    """One backend and recipe to measure."""

    artifacts: ArtifactSet
    settings: tuple[Setting, ...]
    order: npt.NDArray[np.integer]  # [T, K] the experts of each timed image, the gate's first choice first


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    bundle: Bundle
    sets: tuple[SetPlan, ...]
    inputs: Sequence[Tensor]  # T input tensors [1, H, W, 3]
    threads: int
    rounds: int
    cold_starts: int  # one a round, in the first rounds; no more than there are rounds
    seed: int
    folder: Path  # for files that a target makes on the way; kept for as long as the run is not finished
    peers: bool = False  # also what one would do otherwise
    checkpoint: Path | None = None  # for the peers that need one


class SetRound(msgspec.Struct, frozen=True, kw_only=True):
    """One set in one round."""

    parts: dict[str, tuple[Cost, ...]]  # the same images in the same order in every round
    points: tuple[tuple[Cost, ...], ...] | None  # [settings][T]; None: this target runs parts only
    cold_start_ms: Cost | None
    peak_rss_bytes: int | None


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Everything once, in an order drawn anew."""

    sets: tuple[SetRound, ...]
    peers: tuple[tuple[Cost, ...] | None, ...]  # in the order of Session.peers
    limits: tuple[tuple[Cost, ...], ...]  # in the order of Session.limits
    seen: Seen | None


class Session(AbstractContextManager["Session"]):
    """A target at work on a plan."""

    machine: Machine
    peers: Sequence[Peer]  # without their samples
    limits: Sequence[Limit]
    steps: int  # of a round, for the progress

    @abstractmethod
    def round(self, number: int, progress: Progress, step: str) -> Round:
        """Measure everything once. The order depends on the plan's seed and on `number`, counted from 0.

        Raises:
            BackendError: an artifact failed.
        """

    @abstractmethod
    def version(self, artifacts: ArtifactSet) -> str:
        """Return name and version of the library that executes these artifacts where they are measured."""

    @abstractmethod
    def conditions(self, seen: Sequence[Seen]) -> Conditions:
        """Sum up what was seen in all rounds."""


class Target(ABC):
    """A place where a bundle is measured."""

    name: str
    unit: Unit

    @abstractmethod
    def available(self) -> list[Availability]:
        """Return whether it can be used here, as a whole and for each backend, and what to do if not."""

    @abstractmethod
    def open(self, plan: Plan, progress: Progress) -> Session:
        """Make everything ready for the first round.

        Raises:
            MissingExtraError: a backend or a package is not installed.
            BackendError, BundleError: an artifact cannot be used.
        """
