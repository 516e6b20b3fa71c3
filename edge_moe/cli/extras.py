"""Saying what is missing before the work starts, not when it is nearly done."""

from __future__ import annotations

import importlib.util

from edge_moe.errors import MissingExtraError

__all__ = ["require"]


def require(extra: str, purpose: str, *packages: str) -> None:
    """Raise MissingExtraError unless every one of `packages`, which `extra` installs, can be found."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)
