"""What follows from raw rounds: costs of parts and of operating points, computed when somebody asks.

Axis letters: N validation images, K experts, R rounds, T timed images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.prices import Overhead, per_image
from edge_moe.benchmarks.recorded import RecordedSet, StoredTrace
from edge_moe.benchmarks.samples import Rows, Summary, summary, typical
from edge_moe.benchmarks.units import Unit
from edge_moe.benchmarks.wire import Limit, Peer, Ran, SetRound
from edge_moe.bundle import Artifact, OperatingPoint
from edge_moe.evaluate import Decisions
from edge_moe.points import operating_point
from edge_moe.sets import SetKey
from edge_moe.trace import Trace

__all__ = ["MeasuredLimit", "MeasuredPeer", "PartCosts", "PointCosts", "SetResults"]


class MeasuredPeer(Peer, frozen=True):
    """An alternative, with its samples."""

    raw: Rows | None  # [R][T]; None: not measured


class MeasuredLimit(Limit, frozen=True):
    """A large matrix product, with its samples."""

    raw: tuple[float, ...]  # milliseconds, one a round or more

    @property
    def median_ms(self) -> float:
        """Of one product."""
        return float(np.median(self.raw))

    @property
    def gmacs(self) -> float:
        """10^9 multiply-accumulates a second; 0 where the clock saw no time pass."""
        return self.macs / self.median_ms / 1e6 if self.median_ms else 0.0


@dataclass(frozen=True)
class PartCosts:
    """One part by itself: what it reads handed over, the part run, its logits taken."""

    part: str
    macs: int
    raw: Rows  # [R][samples], the same images in the same order in every round
    others: Mapping[str, Rows] = field(default_factory=dict)  # the same runs in the target's other units
    waking: Rows = ()  # [R][times]: reading, checking and opening its artifact; empty: not measured
    bounds: tuple[float, float] | None = None  # between which an estimate lies; None: none, or none given

    @property
    def cost(self) -> float:
        """What the part is said to cost, see `typical`."""
        return typical(self.raw)


@dataclass(frozen=True, eq=False)
class PointCosts:
    """One operating point: whole predictions of prepared input tensors."""

    point: OperatingPoint  # measured on all N images
    raw: Rows | None  # [R][T]; None: the target runs parts only
    predicted: float  # for the same images: base + P(gate) gate + sum of P(expert k) expert k
    decided: Decisions  # what each of the N ran and was answered
    routed_alike: float | None = None  # share of the R x T predictions that ran what the trace says; None: not told

    @cached_property
    def mean(self) -> float:
        """`typical` of raw; what `predicted` says where raw is None."""
        return self.predicted if self.raw is None else typical(self.raw)

    @property
    def tau(self) -> float:
        """The threshold."""
        return self.point.tau

    @cached_property
    def spread(self) -> Summary | None:
        """Of all raw samples; None: only parts were run."""
        return None if self.raw is None else summary(self.raw)


@dataclass(frozen=True, eq=False)
class SetResults:
    """One backend and recipe, in one unit."""

    recorded: RecordedSet
    backend_version: str
    unit: Unit
    rounds: Sequence[SetRound]  # [R]
    timed: npt.NDArray[np.intp]  # [T] which of the N images
    labels: npt.NDArray[np.intp] | None  # [N]
    groups: npt.NDArray[np.int64] | None  # [N]

    @property
    def key(self) -> SetKey:
        """Which set it is."""
        return self.recorded.key

    @property
    def backend(self) -> str:
        """What executes the artifacts."""
        return self.key.backend

    @property
    def recipe(self) -> str:
        """How they were quantized."""
        return self.key.recipe

    @property
    def label(self) -> str:
        """What people call the set: backend/recipe."""
        return self.recorded.set

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Part -> file, digest, size."""
        return self.recorded.artifacts

    @property
    def trace(self) -> StoredTrace:
        """What decides about the N images, as it is stored."""
        return self.recorded.trace

    @property
    def digest(self) -> str:
        """Of all that decides the answers, see edge_moe.digest."""
        return self.recorded.digest

    @property
    def decided_by(self) -> str | None:
        """The set whose decisions stand in the trace; None: its own."""
        by = self.recorded.routing.set
        return None if by == self.label else by

    @property
    def whose_answers(self) -> str:
        """What to say after its label, where the answers are not its own: ", with the answers of litert/fp32"."""
        return "" if self.decided_by is None else f", with the answers of {self.decided_by}"

    @property
    def default_tau(self) -> float:
        """Of the bundle, when it was measured."""
        return self.recorded.default_tau

    @property
    def default_max_experts(self) -> int:
        """Of the bundle, when it was measured."""
        return self.recorded.default_max_experts

    @property
    def cold_start_ms(self) -> tuple[float, ...]:
        """One a process: from its start to its first answer."""
        return tuple(one.cold_start_ms for one in self.rounds if one.cold_start_ms is not None)

    @property
    def peak_rss_bytes(self) -> tuple[int, ...]:
        """One a process that runs this set and nothing else."""
        return tuple(one.peak_rss_bytes for one in self.rounds if one.peak_rss_bytes is not None)

    @cached_property
    def decisions(self) -> Trace:
        """The trace, restored."""
        return self.recorded.trace.restored()

    @cached_property
    def parts(self) -> tuple[PartCosts, ...]:
        """What each part costs by itself, by name."""
        name = self.unit.name
        found = []
        for part in sorted(self.rounds[0].parts):
            rows = {unit: tuple(one.parts[part][unit] for one in self.rounds) for unit in self.rounds[0].parts[part]}
            waking = tuple(one.waking[part][name] for one in self.rounds if name in one.waking.get(part, {}))
            found.append(
                PartCosts(
                    part=part,
                    macs=self.recorded.macs[part],
                    raw=rows.pop(name),
                    others=rows,
                    waking=waking,
                    bounds=self.rounds[0].bounds.get(part, {}).get(name),
                )
            )
        return tuple(found)

    @property
    def samples(self) -> dict[str, Rows]:
        """Part -> [R][samples]."""
        return {part.part: part.raw for part in self.parts}

    @cached_property
    def prices(self) -> dict[str, float]:
        """Part -> what it is said to cost."""
        return {part.part: part.cost for part in self.parts}

    @cached_property
    def points(self) -> tuple[PointCosts, ...]:
        """What each operating point costs, in the order in which they were asked for."""
        found, of_timed = [], self.decisions.rows(self.timed)
        for place, setting in enumerate(self.recorded.settings):
            tau, most = setting.tau, setting.max_experts
            told = [one.points[place] for one in self.rounds if one.points]
            decided, timed = self.decisions.at(tau, most), of_timed.at(tau, most)
            found.append(
                PointCosts(
                    point=operating_point(decided, self.labels, self.recorded.macs, tau, most, self.groups),
                    raw=tuple(one.costs[self.unit.name] for one in told if self.unit.name in one.costs) or None,
                    # What is not measured as a whole is known of every image, not of those alone that were timed.
                    predicted=float(per_image(timed if told else decided, self.prices).mean()),
                    decided=decided,
                    routed_alike=_alike([one.ran for one in told], timed),
                )
            )
        return tuple(found)

    def overhead(self, max_experts: int) -> Overhead:
        """Return what predictions cost beyond the sum of their parts, by the ends of the measured points.

        At tau = 1 every image exits, at tau = 0 none does. 0 where there is no measured prediction there. Of points
        with several max_experts those that are nearest to `max_experts` are taken.
        """
        found = {0.0: 0.0, 1.0: 0.0}
        for end in found:
            there = [one for one in self.points if one.point.tau == end and one.raw is not None]
            if there:
                nearest = min(there, key=lambda one: abs(one.point.max_experts - max_experts))
                found[end] = max(0.0, nearest.mean - nearest.predicted)
        return Overhead(exited=found[1.0], awake=found[0.0])

    @cached_property
    def agreement_there(self) -> tuple[float, float] | None:
        """Of the images that the target itself was asked about: the share answered, and routed, as the trace has it.

        At the bundle's default operating point. None: it hands out nothing, or the trace is another set's.
        """
        there = self.recorded.there
        if there is None or self.decided_by is not None:
            return None
        at = self.default_tau, self.default_max_experts
        ours = self.decisions.rows(np.array(there.images, np.intp)).at(*at)
        theirs = there.trace.restored().at(*at)
        alike = (ours.active == theirs.active).all(axis=1)
        return float((ours.predictions == theirs.predictions).mean()), float(alike.mean())


def expected_runs(decisions: Decisions) -> list[Ran]:
    """Return for each image what runs for it, as a target tells it."""
    return [
        tuple(np.flatnonzero(active).tolist()) if ran else None
        for ran, active in zip(decisions.gate_ran.tolist(), decisions.active, strict=True)
    ]


def _alike(told: Sequence[Sequence[Ran]], decided: Decisions) -> float | None:
    expected = expected_runs(decided)
    pairs = [one == other for row in told for one, other in zip(row, expected, strict=True)]
    return sum(pairs) / len(pairs) if pairs else None
