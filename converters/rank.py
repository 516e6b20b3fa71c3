"""Ranking sets for a target: which are tried, in which order, and which are shipped, the default first.

The order of a backend's candidates is that of the host on which its recipes were tuned, see its recipes module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edge_moe.converters import recipes
from edge_moe.converters.options import Wanted
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.report import Missed
from edge_moe.sets import FLOAT, SetKey

__all__ = ["choose", "next_to_try", "tried"]


def tried(wanted: Wanted, keep_float: tuple[str, ...]) -> dict[SetKey, Recipe]:
    """Return every set that may be tried, fp32 first in each backend, with its recipe and the layers to keep in float.

    Raises:
        UsageError: an unknown backend or recipe.
    """
    found = {}
    for backend, names in wanted.items():
        for name in dict.fromkeys((FLOAT, *(names or recipes.book(backend).candidates))):
            recipe = recipes.get(backend, name)
            kept = () if recipe.is_float else keep_float
            found[SetKey(backend, name)] = msgspec.structs.replace(recipe, keep_float=kept)
    return found


def next_to_try(missed: Mapping[SetKey, Sequence[Missed]], wanted: Wanted) -> list[SetKey]:
    """Return the sets to make next, none when it is enough; `missed` has the sets that were made.

    A backend for which recipes were asked for makes these. Another one makes the first of its candidates, and the next
    only when that misses a bar.
    """
    keys = []
    for backend, names in wanted.items():
        candidates = recipes.book(backend).candidates
        made = [SetKey(backend, name) for name in candidates if SetKey(backend, name) in missed]
        if SetKey(backend, FLOAT) not in missed:
            keys += [SetKey(backend, name) for name in dict.fromkeys((FLOAT, *(names or candidates[:1])))]
        elif not names and all(missed[key] for key in made):
            keys += [SetKey(backend, name) for name in candidates[len(made) :][:1]]
    return keys


def choose(missed: Mapping[SetKey, Sequence[Missed]], wanted: Wanted, *, ship_float: bool) -> list[SetKey]:
    """Return the sets to ship, the default first: of each backend those asked for, or the first without fault."""
    shipped = []
    for backend, asked in wanted.items():
        candidates = recipes.book(backend).candidates
        faultless = (name for name in candidates if missed.get(SetKey(backend, name)) == [])
        names = dict.fromkeys((*(asked or (next(faultless, candidates[-1]),)), FLOAT))
        shipped += [SetKey(backend, name) for name in names if name != FLOAT or ship_float]
    return shipped
