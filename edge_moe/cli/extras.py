"""Which extra brings which package, so that what is missing is said before the work starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from edge_moe.backends import missing, names, record
from edge_moe.errors import BackendError, MissingExtraError
from edge_moe.sets import patterns

__all__ = ["extra_of", "require", "require_conversion", "tools"]

# What a conversion imports whatever the backend; matplotlib draws the layers when a part is measured, at the end.
_ANY = ("torch", "torchvision", "safetensors", "scipy", "matplotlib")
# The extra that brings a package which a command imports when it is already at work; the records have the backends'.
_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "safetensors": "train",
    "sklearn": "train",
    "scipy": "bench",
    "matplotlib": "bench",
    "psutil": "bench",
    "threadpoolctl": "bench",
    "plotly": "bench",
    "jinja2": "bench",
    "starlette": "web",
    "uvicorn": "web",
    "segno": "web",
}


def extra_of(module: str) -> str | None:
    """Return the extra that brings a module which is imported by that name; None for one that none does."""
    of_backends = {name: extra for one in names() for name, extra in record(one).imports.items()}
    return (of_backends | _EXTRAS).get(module)


def tools(backend: str) -> tuple[str, ...]:
    """Return the modules that a conversion for `backend` imports; raise UsageError for an unknown one."""
    return (*_ANY, *record(backend).imports)


def require(extra: str, purpose: str, *packages: str) -> None:
    """Raise MissingExtraError unless every one of `packages`, which `extra` installs, can be found."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)


def require_conversion(purpose: str, sets: Sequence[str], backends: Sequence[str], recipes: Sequence[str]) -> None:
    """Raise MissingExtraError unless the backends that are named, or the first there is, can be converted for.

    Raises:
        UsageError: names that cannot be, or an unknown backend.
        BackendError: tools that are no packages are not set up.
    """
    wanted = [name for one in patterns(sets, backends, recipes) for name in one.backends] + list(backends)
    for backend in dict.fromkeys(wanted or names()[:1]):
        require("convert", f"{purpose} --backend {backend}", *tools(backend))
        if problem := missing(backend):
            raise BackendError(f"{purpose} --backend {backend} cannot begin: {problem}")
