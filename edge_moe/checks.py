"""Checks of arguments that several modules share."""

from __future__ import annotations

from edge_moe.errors import UsageError

__all__ = ["check_at_least_one"]


def check_at_least_one(**counts: int | None) -> None:
    """Raise UsageError, naming the argument, unless each of `counts` is at least 1; None was not given and passes."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{name} is {count}; expected at least 1")
