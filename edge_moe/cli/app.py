"""The commands, and how what goes wrong is told: one line on stderr, and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from edge_moe import __version__
from edge_moe.cli import (
    bench,
    choose,
    convert,
    devices,
    import_,
    init,
    pack,
    recalibrate,
    report,
    run,
    serve,
    simulate,
    train,
    upgrade,
)
from edge_moe.cli.extras import extra_of
from edge_moe.cli.stopping import stop
from edge_moe.errors import EdgeMoeError, StoppedError, UsageError
from edge_moe.output import reason
from edge_moe.text import one_line, printable

__all__ = ["app", "run_app"]

app = typer.Typer(
    name="edge-moe",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(
            f"edge-moe {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
        )
        raise typer.Exit


@app.callback()
def _whole(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Deploy single-gated Mixtures of Experts on devices: int8 artifacts, early exit, honest benchmarks."""


for group in (
    train,
    import_,
    init,
    convert,
    run,
    bench,
    devices,
    report,
    choose,
    recalibrate,
    simulate,
    serve,
    pack,
    upgrade,
):
    group.register(app)

_STOPPED = 130
# How torch begins what it says of a DataLoader worker that was killed, wherever that was noticed.
_DATA_WORKER = "DataLoader worker (pid"


def run_app() -> int:
    """Run the command line; return its exit code."""
    stop.begin()
    try:
        return _run()
    except Exception:
        if not stop.is_heard:  # else it is what a library made of the KeyboardInterrupt
            raise
        return _stopped(stop.words)


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        with _notes():
            result = app(_at_home(sys.argv[1:]), standalone_mode=False)
    except StoppedError as error:
        return _stopped(str(error))
    except EdgeMoeError as error:
        if not stop.is_heard:
            return _fail(str(error), error.exit_code)
        if _is_of_interrupt(error):
            raise
        return _stopped(f"{stop.words}; {error}")
    except (KeyboardInterrupt, Abort):
        result = _STOPPED
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "edge-moe"
        message = getattr(error, "format_message", error.__str__)()
        return _fail(f"{message} (see '{command} --help')", getattr(error, "exit_code", 2)) if message else 2
    except ModuleNotFoundError as error:
        extra = extra_of((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _fail(f"this command needs {error.name}; run: pip install 'edge-moe[{extra}]'", 1)
    except RuntimeError as error:
        if not str(error).startswith(_DATA_WORKER):
            raise
        return _fail(
            f"{str(error).rstrip('. ')}; if memory is what it lacked, use fewer --workers; repeat the command to go on",
            1,
        )
    except BrokenPipeError:  # who reads the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None and error.errno == errno.ENOSPC:  # all that is written to files says which
            return _fail("standard output: the disk is full; free some space, or send the output elsewhere", 1)
        return _fail(f"{error.filename or 'the system'}: {reason(error)}; check the path and its permissions", 1)
    if result == _STOPPED:  # which typer makes of Ctrl-C
        return _stopped(stop.words)
    return result if isinstance(result, int) else 0


def _at_home(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ~/ as the user's folder, also where the shell left it: quoted, or behind a sign.

    Raises:
        UsageError: one is empty, which as a path would be the current folder.
    """
    found = []
    for one in arguments:
        if not one:
            raise UsageError("an argument is empty, as of a variable that is not set; expected a name, or no argument")
        option, sign, value = one.partition("=") if one.startswith("--") else ("", "", one)
        is_home = value == "~" or value.startswith("~/")
        found.append(f"{option}{sign}{Path(value).expanduser()}" if is_home else one)
    return found


class _Notes(logging.Handler):
    """Shows what the library logs as notes on stderr, each once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._shown:
            self._shown.add(text)
            print(
                f"edge-moe: note: {printable(' '.join(text.split()))}", file=sys.stderr
            )  # above a bar, if there is one


@contextmanager
def _notes() -> Iterator[None]:
    logger, handler = logging.getLogger("edge_moe"), _Notes()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _is_of_interrupt(error: BaseException | None) -> bool:
    """Return whether `error` is what something made of the KeyboardInterrupt, and not what went wrong after it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _stopped(message: str) -> int:
    stop.told()  # no second line if the signal comes again
    return _fail(message, stop.exit_code)


def _fail(message: str, code: int) -> int:
    print(f"edge-moe: error: {one_line(message)}", file=sys.stderr)
    return code
