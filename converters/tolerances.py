"""How far a device may be off before `verify` says that it computes something else: one row a backend, in its recipes.

Right kernels differ in the last bits, for they add up in another order or round in other places. Where such a bit moves
a number over the border between two integers of 8 bits, a whole step follows, and in a deep network more and more of
them: two right processors can end as far apart as int8 is from fp32. How far is a matter of the network, the part and
the image, so there are two tolerances:

- by the table, ten times the largest difference that was seen between right kernels, for processors that nobody has
  looked at yet. A new target adds its name, and its differences where they are larger;
- by the part, where it is unsteady: twice as far as it moves, on the golden samples that it has a part in, when its
  input moves by as much as right kernels differ; never above a half.

All are relative L2 errors: of a part's output, fed the same numbers, and of the scores of the whole. The table is
measured by `python -m edge_moe.benchmarks.studies.kernels`; what it gave stands in docs/converting.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_moe.backends import OpenPart, Tensor
from edge_moe.converters import recipes
from edge_moe.verify import relative_error

__all__ = ["LARGEST", "part_tolerance", "tolerance"]

_MARGIN, _UNSTEADY_MARGIN = 10, 2
# One number of a small tensor that falls on the other side of a border between two integers: a step is the range, about
# 8 standard deviations of what is rounded, by 255, and the norm of 64 numbers is 8 of them.
_ONE_STEP = 8 / 255 / 8
_NUDGES = 4
LARGEST = 0.5  # of a part: at 1 and more, zeros would count as the same


def tolerance(backend: str, recipe: str) -> float:
    """Return the largest relative error at which an output of this set counts as the same.

    For int8 never less than one step makes: that none was taken between two processors is luck.
    """
    row = recipes.book(backend).seen
    return _MARGIN * row.fp32 if recipe == recipes.FLOAT else max(_MARGIN * row.int8, _ONE_STEP)


def part_tolerance(backend: str, recipe: str, part: OpenPart, given: Tensor, outputs: Sequence[str]) -> float:
    """Return the same for a part that is fed `given`, which is more where it is unsteady there, up to LARGEST."""
    part.invoke(given)
    exact = {name: part.output(name) for name in outputs}
    moved = 0.0
    for seed in range(_NUDGES):
        nudge = recipes.book(backend).seen.fp32 * np.random.default_rng(seed).uniform(-1, 1, given.shape)
        part.invoke((given * (1 + nudge)).astype(np.float32))
        moved = max(moved, *(relative_error(part.output(name), exact[name]) for name in outputs))
    return max(tolerance(backend, recipe), min(_UNSTEADY_MARGIN * moved, LARGEST))
