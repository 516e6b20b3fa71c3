"""The commands, and how what goes wrong is told: one line on stderr, and an exit code."""

from __future__ import annotations

import os
import sys

import typer
from typer.exceptions import Abort, TyperException

from edge_moe.cli import bench, choose, convert, import_, init, report, run, simulate, train
from edge_moe.cli.extras import EXTRAS
from edge_moe.errors import EdgeMoeError

__all__ = ["app", "run_app"]

app = typer.Typer(
    name="edge-moe",
    help="Deploy single-gated Mixtures of Experts on devices: int8 artifacts, early exit, honest benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (train, import_, init, convert, run, bench, report, choose, simulate):
    group.register(app)

_STOPPED = 130


def run_app() -> int:
    """Run the command line; return its exit code."""
    try:
        result = app(standalone_mode=False)
    except EdgeMoeError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, Abort):
        result = _STOPPED
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "edge-moe"
        message = getattr(error, "format_message", error.__str__)()
        return _fail(f"{message} (see '{command} --help')", getattr(error, "exit_code", 2)) if message else 2
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _fail(f"this command needs {error.name}; run: pip install 'edge-moe[{extra}]'", 1)
    except BrokenPipeError:  # who reads the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(
            f"{error.filename or 'the system'}: {error.strerror or error}; check the path and its permissions", 1
        )
    if result == _STOPPED:  # which typer makes of Ctrl-C
        return _fail("stopped; what was there before is untouched", _STOPPED)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"edge-moe: error: {' '.join(message.split())}", file=sys.stderr)
    return code
