"""Where results are printed."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["console"]

_WIDTH = 120  # where stdout is no terminal and does not tell


def console() -> Console:
    """Return a console for stdout that neither colours by guessing nor reads [markup] into file names and labels."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)
