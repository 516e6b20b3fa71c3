"""Networks of one's own: a function in any module that can be imported, named as "module:function".

A checkpoint stores that name, so that it can be opened again, in other processes and on other machines. A name in a
checkpoint must not be able to call just anything: only functions that `base_builder` marks are called.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edge_moe.checkpoint import Architecture
from edge_moe.errors import UsageError
from edge_moe.nn.parts import Base

__all__ = ["base_builder", "code_digest", "find_builder"]

_MARK = "__edge_moe_base_builder__"
Builder = TypeVar("Builder", bound=Callable[[Architecture], Base])


def base_builder(function: Builder) -> Builder:
    """Mark a function Architecture -> Base as one that a checkpoint may name."""
    setattr(function, _MARK, True)
    return function


def find_builder(name: str) -> Callable[[Architecture], Any]:
    """Import the function that `name`, "module:function", stands for. The current folder is searched as well.

    Raises:
        UsageError: there is no such module or function, or it is not marked with `base_builder`.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise UsageError(
            f"base {name!r}: module {module_name!r} cannot be imported ({error}); run where it lies, or install it"
        ) from None
    function = getattr(module, attribute, None)
    if not callable(function) or getattr(function, _MARK, False) is not True:
        raise UsageError(
            f"base {name!r}: {module_name} has no function {attribute!r} marked with @edge_moe.nn.base_builder; add one"
        )
    result: Callable[[Architecture], Any] = function
    return result


def code_digest(name: str) -> str:
    """Return the SHA-256 of the file in which the builder `name` is defined; "" for a base that comes with edge-moe."""
    if ":" not in name:
        return ""
    file = inspect.getsourcefile(inspect.unwrap(find_builder(name)))
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
