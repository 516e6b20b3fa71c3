"""Importing what executes artifacts: one error where it is not installed, another where it is and cannot be loaded."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from typing import Any

import numpy as np

from edge_moe.backends.base import one_line
from edge_moe.errors import BackendError

__all__ = ["imported", "installed", "version_of"]

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


def installed(package: str) -> str | None:
    """Return the version of a package, or of another one with its module, such as onnxruntime-gpu; None: not known."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        module = package.replace("-", "_")
        if importlib.util.find_spec(module) is None:
            return None
    others = metadata.packages_distributions().get(module)
    return metadata.version(others[0]) if others else None  # a copy that no package manager knows of


def version_of(module: Any, package: str) -> str:
    """Return a module's version, by its own word: it may be of another package than usual, as of onnxruntime-gpu."""
    own = getattr(module, "__version__", None)
    return own if isinstance(own, str) else installed(package) or "unknown version"


def _unloadable(package: str, error: Exception) -> BackendError:
    version = installed(package) or "of unknown version"
    return BackendError(
        f"{package} {version} is installed, but cannot be loaded beside numpy {np.__version__} "
        f"({one_line(error)[:_QUOTED]}); reinstall it, or versions that fit: pip install --upgrade {package} numpy"
    )
