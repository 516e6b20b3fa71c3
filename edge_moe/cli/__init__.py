"""The command line: thin, one file a group of commands, imported when it is used.

Results go to stdout; progress and errors, in one line, to stderr. Exit code 0: done, 1: failed, 2: wrong usage, 130:
stopped by Ctrl-C, 143: stopped by SIGTERM.
"""

from __future__ import annotations

import os
import sys

from edge_moe.cli.stopping import stop

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code."""
    _open_streams()
    stop.listen()  # before what takes time to import
    try:
        from edge_moe.cli.app import run_app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich"):
            raise
        print(
            f"edge-moe: error: the command line needs {error.name}; run: pip install 'edge-moe[cli]'", file=sys.stderr
        )
        sys.exit(1)
    try:
        stop.raises = True
        code = run_app()
        stop.raises = False
    except KeyboardInterrupt:  # on the way into the command, or out of it
        stop.now()
    stop.leave(code)


def _open_streams() -> None:
    """Open what was closed of stdin, stdout and stderr, as /dev/null: else a file that is opened takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
