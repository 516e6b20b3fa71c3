"""The interface between the harness and what executes artifacts: this host, an emulated core, a phone, an NPU.

A target is whatever answers a job: a job folder goes in, an opening and rounds come back. Everything else it may offer,
and a target that does not is used without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from edge_moe.backends import Backend, Tensor
from edge_moe.benchmarks.elsewhere import Elsewhere
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.set_up import SetUp
from edge_moe.benchmarks.units import Unit
from edge_moe.benchmarks.wire import Opening, Round, Sustained
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.errors import BackendError, UsageError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["Availability", "Prices", "Session", "Target"]


@dataclass(frozen=True)
class Availability:
    """Whether a target, or one of its backends, can be used here."""

    what: str
    usable: bool
    detail: str  # its version, or what to do


class Prices(NamedTuple):
    """What parts cost, raw."""

    unit: Unit
    samples: Mapping[SetKey, Mapping[str, Sequence[Sequence[float]]]]  # set -> part -> round -> one for each input


class Session(AbstractContextManager["Session"]):
    """A target at work on a job."""

    opening: Opening
    steps: int = 1  # of a round, for the progress

    @abstractmethod
    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Measure round `first`, counted from 0, and those that follow up to the plan's last; yield each when done.

        The order of what is in a round depends on the plan's seed and on its number.

        Raises:
            BackendError: an artifact failed.
        """

    def sustained(self, progress: Progress, step: str) -> tuple[Sustained, ...]:
        """Run sets for the plan's seconds without a pause, each that has a setting for it, after the rounds.

        Args:
            progress: is told of every window.
            step: the name of the step, which whoever calls has started.

        Raises:
            BackendError: this target does not, see `Target.sustains`; or an artifact failed.
        """
        raise BackendError(
            f"{self.opening.target} does not run predictions without a pause; repeat the command without --sustained, "
            "or on a device that does, such as host"
        )


class Target(ABC):
    """A place where a bundle is measured: `kind`, or `kind:parameter`."""

    kind: ClassVar[str]
    is_here: ClassVar[bool] = False  # whether it runs on this machine's own backends
    counts_exactly: ClassVar[bool] = False  # whether all rounds are alike, so that one is enough
    sustains: ClassVar[bool] = False  # whether its sessions run predictions without a pause
    own_backend: ClassVar[str | None] = None  # of the artifacts that it takes, where it takes those of one alone

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: what follows the colon.

        Raises:
            UsageError: a parameter that this kind does not have.
        """
        self.parameter = parameter

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.kind}:{self.parameter}" if self.parameter else self.kind

    def answers_as(self) -> str:
        """Return what its answers depend on and is known only now, beside `fingerprint`: which browser it is."""
        return ""

    @property
    def row(self) -> str:
        """Of the committed table of recipes, where it is not this host: what it is called there."""
        return self.name

    @abstractmethod
    def available(self) -> list[Availability]:
        """Return whether it can be used here, as a whole and for each backend, and what to do if not."""

    @abstractmethod
    def open(self, job: Job, progress: Progress) -> Session:
        """Make everything ready for the first round; what artifacts are compiled into stands in the opening.

        Raises:
            MissingExtraError: a backend or a package is not installed.
            BackendError, BundleError: an artifact cannot be used.
        """

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:  # noqa: B027  (most have nothing to say)
        """Return if these sets can be run there on so many threads: asked before minutes of other work.

        Raises:
            UsageError: an argument cannot be used.
            BackendError: the target or a set cannot be used; says what to do.
        """

    def examine(self, bundle: Bundle, sets: Sequence[ArtifactSet]) -> None:  # noqa: B027
        """Return if the artifacts of these sets can be run there: asked after `check`, before minutes of other work.

        Raises:
            BackendError: one cannot; says what to do.
        """

    def fingerprint(self) -> Any:
        """Return what its figures depend on beside the job: what is kept of a run is not mixed with another's."""
        return self.name

    def set_up(self) -> SetUp | None:
        """Return what has to be brought here before it can be used; None: nothing."""
        return None

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run one part on N inputs where the target runs it, and return its outputs by name, [N, ...] each.

        Args:
            bundle: that the artifacts are of.
            artifacts: the set.
            part: base, gate, expert_00 ...
            inputs: float32 [N, ...], each in the shape of the part's one input without its first axis.

        Raises:
            UsageError: this target does not hand out what parts compute.
        """
        raise self._keeps_outputs()

    @property
    def hands_out(self) -> bool:
        """Whether `outputs` can be asked for."""
        return type(self).outputs is not Target.outputs

    def tolerance(self, artifacts: ArtifactSet, part: str) -> float | None:
        """Return the relative error up to which what it computes of a part is right; None: as the bundle has it.

        A bundle's is for processors, whose right kernels hardly differ. What rounds elsewhere has one of its own: by
        what was seen of it, with a margin, and small enough that another function fails.
        """
        return None

    def backend(self, bundle: Bundle, name: str) -> Backend:
        """Return what runs artifacts of `bundle` there, as if it were here: for `verify` and `Runtime`.

        Raises:
            UsageError: this target does not hand out what parts compute.
            BackendError: it cannot be used.
        """
        if not self.hands_out:
            raise self._keeps_outputs()
        self.check((), 1)
        return Elsewhere(name, self.name, bundle, self.outputs)

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Measure what parts of several sets cost, in turns, before any of them is in a bundle: to rank the sets.

        Args:
            files: set -> part -> artifact; all sets are of one backend and have the same parts.
            specs: part -> its tensors, whatever the backend.
            inputs: part -> float32 [N, ...], each in the shape of the part's one input without its first axis.
            rounds: how often, at most; a target whose unit is deterministic does it once.
            progress: told of what is measured.

        Returns:
            The prices; a set that the target cannot run is missing.

        Raises:
            UsageError: this target cannot rank.
            MissingExtraError: a package is not installed.
            BackendError: an artifact failed.
        """
        raise UsageError(
            f"{self.name} cannot rank recipes; expected --for a device that can, such as host, or --no-measure for the "
            "committed order"
        )

    @property
    def ranks(self) -> bool:
        """Whether `price` can be asked for."""
        return type(self).price is not Target.price

    @property
    def no_ranking(self) -> str:
        """Why `price` cannot be asked for, where it cannot, and what to do."""
        return "it does not measure single parts; choose another device with --for, such as host"

    def ranked_by(self) -> Target:
        """Return what ranks recipes for it: itself, unless it stands for several of which one has to be named."""
        return self

    def _keeps_outputs(self) -> UsageError:
        return UsageError(
            f"{self.name} does not hand out what parts compute, so that its answers cannot be asked for or checked; "
            "expected a device that does, such as host"
        )
