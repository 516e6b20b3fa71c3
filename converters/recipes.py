"""Every backend's recipes, by name. The manifest records the name and all settings.

What pays on a device is measured, not assumed: `benchmarks/recipes.py` runs every recipe here at full size.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_moe import backends
from edge_moe.converters.recipe import FLOAT, Recipe, Seen
from edge_moe.errors import UsageError

__all__ = ["FLOAT", "Book", "Recipe", "book", "choose", "get"]


class Book(NamedTuple):
    """The recipes of one backend: what its recipes module has to offer."""

    recipes: dict[str, Recipe]  # by name
    candidates: tuple[str, ...]  # tried in turn where none was asked for; the first without fault is shipped
    stock: Recipe  # what the quantizer does by itself, to compare with
    seen: Seen  # how far right kernels differ


def book(backend: str) -> Book:
    """Return the recipes of `backend`; raise UsageError for an unknown one."""
    module: Any = importlib.import_module(backends.record(backend).recipes)
    return Book({one.name: one for one in module.RECIPES}, module.CANDIDATES, module.STOCK, module.SEEN)


def get(backend: str, name: str) -> Recipe:
    """Return the recipe of `backend` called `name`; raise UsageError for an unknown one."""
    known = book(backend).recipes
    if name not in known:
        raise UsageError(
            f"unknown recipe {name!r} for {backend}; expected one of {', '.join(known)} "
            "('edge-moe recipes' explains them)"
        )
    return known[name]


def choose(wanted: Sequence[str] | None, backends: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the recipes asked for, by backend; a backend for which none was named is not in it.

    `wanted`: "int8" for every one of `backends`, or "onnx/int8" for one of them.

    Raises:
        UsageError: an unknown recipe, or a recipe of a backend that is not among `backends`.
    """
    chosen: dict[str, list[str]] = {}
    for wish in wanted or ():
        backend, _, name = wish.rpartition("/")
        if backend and backend not in backends:
            raise UsageError(
                f"recipe {wish!r} is of backend {backend!r}; expected one of {', '.join(backends)}, or add --backend"
            )
        for one in (backend,) if backend else backends:
            chosen.setdefault(one, []).append(get(one, name).name)
    return {backend: tuple(dict.fromkeys(names)) for backend, names in chosen.items()}
