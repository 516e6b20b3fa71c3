"""The command line: thin, one file a group of commands, imported when it is used.

Results go to stdout; progress and errors, in one line, to stderr. Exit code 0: done, 1: failed, 2: wrong usage.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from edge_moe.cli.app import run_app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich"):
            raise
        print(
            f"edge-moe: error: the command line needs {error.name}; run: pip install 'edge-moe[cli]'", file=sys.stderr
        )
        sys.exit(1)
    sys.exit(run_app())
