"""What answers on a board: this edge-moe's own sources, sent with every request, so that none is out of date."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import edge_moe
from edge_moe import benchmarks, converters
from edge_moe.benchmarks.targets.ssh.connection import below

__all__ = ["sources"]

_ROOTS = {"edge_moe": edge_moe, "edge_moe/benchmarks": benchmarks, "edge_moe/converters": converters}


@cache
def sources() -> dict[str, Path]:
    """Return the package's modules, by where they lie when it is installed: here, two folders may be elsewhere."""
    found: dict[str, Path] = {}
    for name, package in _ROOTS.items():
        (folder,) = package.__path__
        found |= below(Path(folder), name, "*.py")
    return found
