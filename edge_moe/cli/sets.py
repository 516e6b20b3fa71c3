"""How sets of artifacts are named on the command line: --set, and its short forms --backend and --recipe."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from edge_moe.backends import names

__all__ = ["Backend", "Backends", "Recipe", "Recipes", "Set", "Sets", "split"]

Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Sets of artifacts: litert/int8, or litert for all of a backend's; several with commas. All of the "
        "bundle's by default.",
    ),
]
Backends: TypeAlias = Annotated[
    list[str] | None, typer.Option("--backend", help=f"{', '.join(names())}; several with commas.")
]
Recipes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--recipe", help="int8 of every backend, or onnx/int8 of one; several with commas."),
]

_FIRST = "Of several with commas the first that will do; the bundle's first by default."
Set: TypeAlias = Annotated[
    str | None, typer.Option("--set", help=f"litert/int8, or litert for the first of a backend. {_FIRST}")
]
Backend: TypeAlias = Annotated[str | None, typer.Option("--backend", help=_FIRST)]
Recipe: TypeAlias = Annotated[str | None, typer.Option("--recipe", help=_FIRST)]


def split(given: str | list[str] | None) -> tuple[str, ...]:
    """Return what was given by repeating an option, with commas, or both."""
    found: list[str] = []
    for text in [given] if isinstance(given, str) else given or ():
        found += [name.strip() for name in text.split(",") if name.strip()] or [text]  # nothing is no name either
    return tuple(found)
