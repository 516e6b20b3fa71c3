"""Every backend's recipes, by name. The manifest records the name and all settings.

What pays on a device is measured, not assumed: `benchmarks/recipes.py` runs every recipe here at full size.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from edge_moe import backends
from edge_moe.converters.recipe import FLOAT, Recipe, Seen
from edge_moe.errors import UsageError
from edge_moe.sets import Pattern

__all__ = ["FLOAT", "Book", "book", "choose", "get"]


class Book(NamedTuple):
    """The recipes of one backend: what its recipes module has to offer."""

    recipes: dict[str, Recipe]  # by name
    orders: Mapping[str, tuple[str, ...]]  # row of the committed table -> candidates, the best there first
    safest: str  # the candidate that follows fp32 most closely
    stock: Recipe  # what the quantizer does by itself, to compare with
    seen: Seen  # how far right kernels differ
    goals: Mapping[str, float]  # part -> how many times faster than fp32 the first candidate should be; may be empty
    stock_goal: float | None  # the same against `stock`

    @property
    def candidates(self) -> tuple[str, ...]:
        """What may be shipped on one target or another where none was asked for, in the order of the first row."""
        return tuple(dict.fromkeys(name for order in self.orders.values() for name in order))

    def order(self, row: str) -> tuple[str, ...]:
        """Return the candidates in the order of `row`; of one that is not in the table, that of the first."""
        return self.orders.get(row) or next(iter(self.orders.values()))

    def safer(self, recipe: str) -> str | None:
        """Return the safest where it is another, and some target has both among its candidates; None: there is none.

        What an NPU takes as a whole is no help to a processor, and the other way round.
        """
        alike = any({recipe, self.safest} <= set(order) for order in self.orders.values())
        return self.safest if alike and recipe != self.safest else None


def book(backend: str) -> Book:
    """Return the recipes of `backend`; raise UsageError for an unknown one."""
    module: Any = importlib.import_module(backends.record(backend).recipes)
    return Book(
        recipes={one.name: one for one in module.RECIPES},
        orders=module.ORDERS,
        safest=getattr(module, "SAFEST", next(iter(module.ORDERS.values()))[-1]),
        stock=module.STOCK,
        seen=module.SEEN,
        goals=getattr(module, "GOALS", {}),
        stock_goal=getattr(module, "STOCK_GOAL", None),
    )


def get(backend: str, name: str) -> Recipe:
    """Return the recipe of `backend` called `name`; raise UsageError for an unknown one."""
    known = book(backend).recipes
    if name not in known:
        raise UsageError(
            f"unknown recipe {name!r} for {backend}; expected one of {', '.join(known)} "
            "('edge-moe recipes' explains them)"
        )
    return known[name]


def choose(wanted: Iterable[Pattern], named: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the backends that are `named` or `wanted`, in order, with the recipes asked for; none: its candidates.

    Raises:
        UsageError: an unknown backend or recipe.
    """
    chosen: dict[str, list[str]] = {backends.record(one).name: [] for one in named}
    for one in wanted:
        for backend in one.backends:
            names = chosen.setdefault(backends.record(backend).name, [])
            if one.recipe is not None:
                names.append(get(backend, one.recipe).name)
    return {backend: tuple(dict.fromkeys(names)) for backend, names in chosen.items()}
