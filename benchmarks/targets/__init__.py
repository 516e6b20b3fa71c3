"""Targets: where a bundle is measured. A file here, or a folder, is one kind; nothing else has to be told of it.

The file `arm.py` is the kind `arm`, `ethos_u.py` is `ethos-u`. It has TARGET, the class of the kind, and imports what
it needs when it is opened: listing the kinds imports every one.
"""

from __future__ import annotations

import importlib
import pkgutil

from edge_moe.benchmarks.target import Target
from edge_moe.errors import UsageError

__all__ = ["get", "kinds", "register", "sustaining"]

_registered: dict[str, type[Target]] = {}


def kinds() -> tuple[str, ...]:
    """Return every kind of target, this host first."""
    found = [one.name.replace("_", "-") for one in pkgutil.iter_modules(__path__) if not one.name.startswith("_")]
    return tuple(sorted({*found, *_registered}, key=lambda kind: (kind != "host", kind)))


def register(target: type[Target]) -> None:
    """Add a kind that lives elsewhere, or replace that of the same name."""
    _registered[target.kind] = target


def get(name: str) -> Target:
    """Return the target called `name`, kind or kind:parameter.

    Raises:
        UsageError: there is no such kind, or it has no such parameter.
    """
    kind, _, parameter = name.partition(":")
    if kind not in kinds():
        raise UsageError(f"unknown device {name!r}; expected one of {', '.join(kinds())} (see 'edge-moe devices')")
    return _class(kind)(parameter)


def sustaining() -> tuple[str, ...]:
    """Return the kinds that run predictions without a pause."""
    return tuple(kind for kind in kinds() if _class(kind).sustains)


def _class(kind: str) -> type[Target]:
    if kind in _registered:
        return _registered[kind]
    found: type[Target] = importlib.import_module(f"{__name__}.{kind.replace('-', '_')}").TARGET
    return found
