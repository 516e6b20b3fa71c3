"""The exceptions of edge-moe.

    EdgeMoeError                 every error that a user can cause or fix; the command line prints one line
    ├── UsageError               a wrong argument: tau, max_experts, a missing flag      (exit code 2)
    ├── DataError                an image or a data folder that cannot be used           (exit code 1)
    ├── CheckpointError          a checkpoint or a weight file that does not fit         (exit code 1)
    ├── BundleError              a bundle that is missing, malformed or altered          (exit code 1)
    │   └── IntegrityError       an artifact whose size or sha256 is not the manifest's
    ├── BackendError             a backend that is missing or that refuses an artifact   (exit code 1)
    ├── ConversionError          a part that could not be converted as asked             (exit code 1)
    │   └── LeftOutError         ... so that a bundle was written without that
    ├── OutputError              a target that exists, is not writable, or is full       (exit code 1)
    ├── MissingExtraError        a package that an optional extra would install          (exit code 1)
    └── StoppedError             Ctrl-C or SIGTERM, after what is worth it was kept       (exit code 130 or 143)

Messages name the thing, say what was expected, and say what to do next.
"""

from __future__ import annotations

from typing import Any

from edge_moe.text import one_line

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "ConversionError",
    "DataError",
    "EdgeMoeError",
    "IntegrityError",
    "LeftOutError",
    "MissingExtraError",
    "OutputError",
    "StoppedError",
    "UsageError",
]


class EdgeMoeError(Exception):
    """Base of every error that edge-moe raises on purpose.

    Its message is one line that a terminal can show, whatever is in the names that it quotes.
    """

    exit_code = 1

    def __init__(self, *words: object) -> None:
        """Take the message."""
        super().__init__(*(one_line(one) if isinstance(one, str) else one for one in words))


class UsageError(EdgeMoeError, ValueError):
    """An argument is outside what the call accepts."""

    exit_code = 2


class DataError(EdgeMoeError):
    """An image or a data folder cannot be used."""


class CheckpointError(EdgeMoeError):
    """A checkpoint, or a file of weights for one, is missing, malformed or does not fit."""


class BundleError(EdgeMoeError):
    """A bundle is missing, malformed, or of another schema version."""


class IntegrityError(BundleError):
    """A file of a bundle is not the one that its manifest describes."""


class BackendError(EdgeMoeError):
    """A backend is not installed, or refuses an artifact."""


class ConversionError(EdgeMoeError):
    """A part could not be converted with the fidelity or the delegation that was asked for."""


class LeftOutError(ConversionError):
    """A bundle was written, whole, but without some of the backends or sets that were asked for."""

    report: Any = None  # the parity report of the bundle, an edge_moe.converters.report.Report


class OutputError(EdgeMoeError):
    """The place to write to exists already, cannot be written, or is full."""


class StoppedError(EdgeMoeError):
    """A long job was stopped by its user; what it had is kept, and the message says where."""

    exit_code = 130  # of Ctrl-C; the command line ends with 143 where it was SIGTERM


class MissingExtraError(EdgeMoeError, ImportError):
    """A package is missing that one of the optional extras installs."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """State which package is missing, what for, and the extra that brings it."""
        super().__init__(f"{purpose} needs {package}, which is not installed; run: pip install 'edge-moe[{extra}]'")
        self._arguments = (package, extra, purpose)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        """Pickle what `__init__` takes: a conversion raises this in a process of its own."""
        return type(self), self._arguments
