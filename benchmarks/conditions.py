"""What else went on while it was measured, summed up from what every round saw, and why the figures are doubtful.

A figure from a busy or throttled machine is not thrown away; whoever reads the results is told what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_moe.benchmarks.wire import Seen

__all__ = ["Conditions", "judge"]

_OTHERS = 0.05  # of the measured CPUs' time; above it, somebody else's work is in the figures
_PROBE_SPREAD = 1.10  # slowest over fastest round of the probe; above it, the processor did not keep its speed


@dataclass(frozen=True)
class Conditions:
    """What else went on while it was measured. None: nobody tells."""

    cpus: tuple[int, ...] | None  # that the process was pinned to; None: not pinned
    load_before: float | None  # 1-minute mean of runnable processes
    load_after: float | None
    others_share: float | None  # of the CPUs measured on, what other processes and the hypervisor took
    probe: tuple[float, ...]  # [R] the same computation in every round, milliseconds: how steady the clock was
    throttled: int | None  # times that the processor or the system's quota slowed it down
    remarks: tuple[str, ...]  # why these figures are doubtful, in words; empty: nothing was seen


def judge(
    rounds: Sequence[Seen | None],
    *,
    cpus: tuple[int, ...] | None = None,
    load: float | None = None,
    remarks: Sequence[str] = (),
) -> Conditions:
    """Sum up all rounds, and say in words what makes the figures doubtful.

    Args:
        rounds: what each saw; None: nothing.
        cpus: that the process was pinned to.
        load: before the first round.
        remarks: what is said against the figures already.
    """
    seen = [one for one in rounds if one is not None]
    elapsed = sum(one.elapsed_s for one in seen if one.elapsed_s is not None)
    others = [one.others_s for one in seen if one.others_s is not None]
    share = min(1.0, sum(others) / elapsed) if elapsed and len(others) == len(seen) else None
    probe = tuple(one.probe_ms for one in seen if one.probe_ms is not None)
    counted = [one.throttled for one in seen if one.throttled is not None]
    throttled = sum(counted) if counted else None
    said = list(remarks)
    if share is not None and share > _OTHERS:
        said.append(f"busy: other work took {share:.0%} of the CPUs that were measured on; stop it and measure again")
    spread = max(probe) / min(probe) if probe and min(probe) > 0 else 1.0
    if spread > _PROBE_SPREAD:
        said.append(
            f"unsteady: the same computation took {spread - 1:.0%} longer in one round than in another; the processor "
            "was throttled, or shared with somebody that this system cannot see"
        )
    if throttled:
        said.append(f"throttled: the processor, or a quota of this system, slowed the work down {throttled} times")
    said += dict.fromkeys(remark for one in seen for remark in one.remarks)
    return Conditions(
        cpus=cpus,
        load_before=load,
        load_after=seen[-1].load if seen else None,
        others_share=share,
        probe=probe,
        throttled=throttled,
        remarks=tuple(said),
    )
