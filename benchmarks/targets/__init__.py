"""Targets: where a bundle is measured. One file a target behind one small interface, see base.py."""

from __future__ import annotations

from edge_moe.benchmarks.targets.base import Availability, Plan, Round, Session, SetPlan, SetRound, Setting, Target
from edge_moe.errors import UsageError

__all__ = [
    "TARGETS",
    "Availability",
    "Plan",
    "Round",
    "Session",
    "SetPlan",
    "SetRound",
    "Setting",
    "Target",
    "get",
]

TARGETS = ("host",)


def get(name: str) -> Target:
    """Return the target called `name`; raise UsageError for an unknown one."""
    if name == "host":
        from edge_moe.benchmarks.targets.host import Host

        return Host()
    raise UsageError(f"unknown device {name!r}; expected one of {', '.join(TARGETS)} (see 'edge-moe devices')")
