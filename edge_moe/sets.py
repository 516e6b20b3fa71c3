"""Which set of artifacts: a backend and a recipe, and how people write it: backend/recipe.

The one place that reads and writes these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge_moe.errors import UsageError

__all__ = ["FLOAT", "Pattern", "SetKey", "in_turn", "named", "patterns", "select"]

FLOAT = "fp32"  # the recipe that quantizes nothing: the reference of its backend


class SetKey(NamedTuple):
    """One set: of which backend, by which recipe."""

    backend: str
    recipe: str

    @classmethod
    def parse(cls, text: str) -> SetKey:
        """Read "litert/int8"; raise UsageError for anything else."""
        backend, slash, recipe = text.partition("/")
        if not (backend and slash and recipe) or "/" in recipe:
            raise UsageError(f"{text!r} is no set of artifacts; expected backend/recipe, such as litert/int8")
        return cls(backend, recipe)

    def __str__(self) -> str:
        """Write it as people do, and as the folder in a bundle is called."""
        return f"{self.backend}/{self.recipe}"

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.recipe == FLOAT

    @property
    def reference(self) -> SetKey:
        """What the set is compared with."""
        return SetKey(self.backend, FLOAT)


class Pattern(NamedTuple):
    """Some sets: those of some backends, those by a recipe, or one."""

    backends: tuple[str, ...] = ()  # none: any
    recipe: str | None = None  # None: any

    def matches(self, key: SetKey) -> bool:
        """Return whether `key` is meant."""
        return (not self.backends or key.backend in self.backends) and self.recipe in (None, key.recipe)

    def __str__(self) -> str:
        """Write it for a person."""
        return f"{' or '.join(self.backends) or 'any backend'}/{self.recipe or 'any recipe'}"


def patterns(
    sets: Sequence[str] = (), backends: Sequence[str] = (), recipes: Sequence[str] = ()
) -> tuple[Pattern, ...]:
    """Read what a person named: sets, or by the short forms; of nothing named, which means every set, ().

    Args:
        sets: "litert/int8", or "onnx" for all of a backend's.
        backends: "litert".
        recipes: "int8" of the backends that are named, or of any; "onnx/int8" of one.

    Raises:
        UsageError: a name that cannot be one; sets beside a short form; a recipe of a backend that is not named.
    """
    if sets:
        if backends or recipes:
            raise UsageError(
                "--set is given with --backend or --recipe, which are its short forms; expected one or the other"
            )
        return tuple(dict.fromkeys(_pattern(text) if "/" in text else Pattern((text,)) for text in sets))
    if not recipes:
        return tuple(dict.fromkeys(Pattern((backend,)) for backend in backends))
    found = []
    for text in recipes:
        wish = _pattern(text) if "/" in text else Pattern(tuple(backends), text)
        if other := [one for one in wish.backends if backends and one not in backends]:
            raise UsageError(
                f"recipe {text!r} is of backend {other[0]!r}; expected one of {', '.join(backends)}, or add --backend"
            )
        found.append(wish)
    return tuple(dict.fromkeys(found))


def _pattern(text: str) -> Pattern:
    backend, recipe = SetKey.parse(text)
    return Pattern((backend,), recipe)


def named(backend: str | None = None, recipe: str | None = None) -> tuple[Pattern, ...]:
    """Read the short forms as `patterns`, each named once or not at all.

    Raises:
        UsageError: one is no name, or none that can be one.
    """
    for what, name in (("backend", backend), ("recipe", recipe)):
        if not isinstance(name, str | None):
            raise UsageError(f"{what} is {name!r}; expected its name, as in 'litert/int8', or None")
    return patterns((), () if backend is None else (backend,), () if recipe is None else (recipe,))


def select(keys: Iterable[SetKey], wanted: Sequence[Pattern], what: str = "the bundle") -> list[SetKey]:
    """Return those of `keys` that one of `wanted` means, in their order; all where nothing is wanted.

    Raises:
        UsageError: a pattern means none of them; it names `what` has been looked through.
    """
    there = list(keys)
    for one in wanted:
        if not any(map(one.matches, there)):
            raise UsageError(f"{what} has no artifacts for {one}; it has {', '.join(map(str, there))}")
    return [key for key in there if not wanted or any(one.matches(key) for one in wanted)]


def in_turn(keys: Iterable[SetKey], wanted: Sequence[Pattern], what: str = "the bundle") -> list[SetKey]:
    """Return the same as `select`, those first that were named first: for who takes one of them."""

    def place(key: SetKey) -> tuple[int, int]:
        turn, by = next((turn, one) for turn, one in enumerate(wanted) if one.matches(key))
        return turn, by.backends.index(key.backend) if by.backends else 0

    chosen = select(keys, wanted, what)
    return sorted(chosen, key=place) if wanted else chosen
