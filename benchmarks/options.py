"""What a person may choose of a measurement, and whether it is in its range."""

from __future__ import annotations

import math

import msgspec

from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.checks import check_at_least_one, check_threads
from edge_moe.errors import UsageError

__all__ = ["FIVE_RUNS", "BenchOptions", "check_range"]

FIVE_RUNS = 5  # rounds at least, where these are to be held against each other


class BenchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose."""

    device: str = "host"
    sets: tuple[str, ...] = ()  # "litert/int8", or "onnx" for all of a backend's; none: all of the bundle's
    backends: tuple[str, ...] = ()  # the short forms, see edge_moe.sets.patterns
    recipes: tuple[str, ...] = ()
    # None: those of the bundle's operating points, or quantiles of alpha. 0 and 1 are always measured. A plain network
    # is measured at 1, whatever is given: nothing changes with tau.
    taus: tuple[float, ...] | None = None
    max_experts: tuple[int, ...] | None = None  # None: 1, 2 and the bundle's default, as far as there are experts
    routing: str | None = None  # a set whose decisions all are costed with; None: each with its own
    threads: int = 1
    timed_images: int = 100
    validation_images: int | None = None  # None: all
    checked_images: int = 200  # on which a target that hands out what parts compute is held against the trace
    rounds: int | None = None  # None: 5, or 1 where the target counts alike in every round
    cold_starts: int = 3
    peers: bool = False
    checkpoint: str | None = None  # for the peers that need one
    seed: int = 0
    sustained_minutes: float = 0.0  # each set without a pause, after the rounds; 0: not at all
    five_runs: bool = False  # whether the rounds, five at least, are held against each other, see `five_runs.py`

    @property
    def sustained_s(self) -> int:
        """The same in whole seconds, at least one of them."""
        return max(1, round(60 * self.sustained_minutes)) if self.sustained_minutes else 0


def check_range(options: BenchOptions, experts: int) -> None:
    """Raise UsageError where an option is out of range, for a network with this many experts."""
    for tau in options.taus or ():
        check_tau(tau)
    for max_experts in options.max_experts or ():
        check_max_experts(max_experts, experts)
    check_threads(options.threads)
    check_at_least_one(
        timed_images=options.timed_images,
        rounds=options.rounds,
        validation_images=options.validation_images,
    )
    for name in ("seed", "cold_starts", "checked_images"):
        if getattr(options, name) < 0:
            raise UsageError(f"{name} is {getattr(options, name)}; expected at least 0")
    if not 0 <= options.sustained_minutes < math.inf:  # nan is neither
        raise UsageError(f"sustained is {options.sustained_minutes:g}; expected minutes, more than 0")
    if options.five_runs and options.rounds is not None and options.rounds < FIVE_RUNS:
        raise UsageError(f"rounds is {options.rounds}; expected at least {FIVE_RUNS} for five runs, or none at all")
