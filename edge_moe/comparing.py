"""How `verify` compares: one line of its report, and how far two tensors are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_moe.anytime import Floats

__all__ = ["Check", "relative_error"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    set: str  # backend/recipe, or "bundle" for what all sets share
    what: str
    passed: bool
    detail: str
    skipped: bool = False  # it could not be made here, for a reason that is no fault: counts as passed


def relative_error(found: Floats, expected: Floats) -> float:
    """Return |found - expected| / |expected| in the L2 norm; NaN or infinity where an element is."""
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / (norm if norm > 0 else 1.0)
