"""Ranking sets for a target: which are tried, in which order, and which are shipped, the default first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import msgspec

from edge_moe import backends
from edge_moe.converters import recipes
from edge_moe.converters.options import Wanted
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.report import Missed
from edge_moe.sets import FLOAT, SetKey

__all__ = ["Orders", "choose", "hopeless", "next_to_try", "orders", "tried"]

Orders: TypeAlias = Mapping[str, Sequence[SetKey]]  # backend -> its candidates, the best first


def orders(wanted: Wanted, row: str) -> dict[str, list[SetKey]]:
    """Return the candidates of each backend, as committed for `row`; none of one for which recipes were asked for."""
    return {
        backend: [] if names else [SetKey(backend, name) for name in recipes.book(backend).order(row)]
        for backend, names in wanted.items()
    }


def tried(wanted: Wanted, candidates: Orders, keep_float: tuple[str, ...]) -> dict[SetKey, Recipe]:
    """Return every set that may be tried, fp32 first in each backend, with its recipe and the layers to keep in float.

    Raises:
        UsageError: an unknown backend or recipe.
    """
    found = {}
    for backend, names in wanted.items():
        for name in dict.fromkeys((FLOAT, *names, *(key.recipe for key in candidates[backend]))):
            recipe = recipes.get(backend, name)
            kept = () if recipe.is_float else keep_float
            found[SetKey(backend, name)] = msgspec.structs.replace(recipe, keep_float=kept)
    return found


def next_to_try(
    missed: Mapping[SetKey, Sequence[Missed]],
    unmade: Collection[SetKey],
    wanted: Wanted,
    candidates: Orders,
    *,
    every: bool,
) -> list[SetKey]:
    """Return the sets to make next, none when it is enough.

    A backend for which recipes were asked for makes these. Another one makes `every` candidate, to rank them; or the
    first of them, and the next only when that cannot be made or misses a bar.

    Args:
        missed: the sets that were made, with the bars that they miss.
        unmade: those that cannot be made.
        wanted: what was asked for.
        candidates: of the backends of which nothing was.
        every: whether all of those are made.
    """
    keys: list[SetKey] = []
    for backend, names in wanted.items():
        order = candidates[backend]
        left = [key for key in order if key not in missed and key not in unmade]
        if SetKey(backend, FLOAT) not in missed:
            first = left if every else left[:1]
            keys += dict.fromkeys((SetKey(backend, FLOAT), *(SetKey(backend, name) for name in names), *first))
        elif all(missed[key] for key in order if key in missed):
            keys += left[:1]
    return keys


def hopeless(unmade: Mapping[SetKey, str], wanted: Wanted) -> dict[str, str]:
    """Return backend -> why, of those of which nothing that is wanted can be made."""
    found = {}
    for backend, names in wanted.items():
        tried_ = [SetKey(backend, name) for name in names or recipes.book(backend).candidates]
        if all(key in unmade for key in tried_):
            found[backend] = "; ".join(dict.fromkeys(unmade[key] for key in tried_))
    return found


def choose(
    missed: Mapping[SetKey, Sequence[Missed]],
    unmade: Collection[SetKey],
    wanted: Wanted,
    candidates: Orders,
    *,
    ship_float: bool,
) -> list[SetKey]:
    """Return the sets to ship, the default first: of each backend those asked for, or the first without fault.

    Where every candidate has one, it is the safest.
    """
    shipped = []
    for backend, asked in wanted.items():
        made = [key for key in candidates[backend] if key in missed]
        safest = SetKey(backend, recipes.book(backend).safest)
        best = next((key for key in made if not missed[key]), safest if safest in made else next(iter(made), None))
        keys = [SetKey(backend, name) for name in asked] + ([] if best is None else [best])
        keys = [*(key for key in keys if key not in unmade), SetKey(backend, FLOAT)]
        runs = ship_float and (FLOAT in asked or backends.record(backend).npu is None)  # an NPU has no use for it
        shipped += [key for key in dict.fromkeys(keys) if not key.is_float or runs]
    return shipped
