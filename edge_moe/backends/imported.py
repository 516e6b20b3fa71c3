"""Importing what executes artifacts: one error where it is not installed, another where it is and cannot be loaded."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

import numpy as np

from edge_moe.backends.base import one_line
from edge_moe.errors import BackendError

__all__ = ["imported", "version_of"]

_QUOTED = 200  # characters of what the loader says


def imported(module: str, package: str) -> Any:
    """Return a module of a package, as pip names it.

    Raises:
        ModuleNotFoundError: the module itself is not installed.
        BackendError: it is, but cannot be loaded: what it is linked to is missing, damaged or of another version.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == module.partition(".")[0]:
            raise
        raise _unloadable(package, error) from None
    except Exception as error:  # ImportError and OSError of the loader; AttributeError where numpy is too new
        raise _unloadable(package, error) from None


def version_of(module: Any, package: str) -> str:
    """Return a module's version, by its own word: it may be of another package than usual, as of onnxruntime-gpu."""
    own = getattr(module, "__version__", None)
    return own if isinstance(own, str) else _installed(package) or "unknown version"


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a copy that no package manager knows of
        return None


def _unloadable(package: str, error: Exception) -> BackendError:
    version = _installed(package) or "of unknown version"
    return BackendError(
        f"{package} {version} is installed, but cannot be loaded beside numpy {np.__version__} "
        f"({one_line(error)[:_QUOTED]}); reinstall it, or versions that fit: pip install --upgrade {package} numpy"
    )
