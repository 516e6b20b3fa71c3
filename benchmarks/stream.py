"""A target whose measuring is done by another process, here or, through it, on another machine.

The process prints the lines of `rounds.jsonl`: its opening, then, when it is told on its standard input the number of
the first round that is wanted, one round a line, each when it is done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec

from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Opening, Round
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["Streamed"]

T = TypeVar("T")


class Streamed(Session):
    """A session that reads what a command prints."""

    def __init__(self, command: Sequence[str], what: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the command and read its opening.

        Args:
            command: program and arguments; it gets no signal of the terminal's, and ends when its output is closed.
            what: the target's name, for errors.
            environment: of the command; None: this process's.

        Raises:
            BackendError: it cannot be started, or said something else.
        """
        self._what = what
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the session)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise BackendError(f"{what} cannot be started: {command[0]}: {error.strerror}") from None
        try:
            self.opening = self._line(Opening)
            if self.opening.schema_version != SCHEMA_VERSION:
                raise BackendError(
                    f"{what} answers by schema {self.opening.schema_version}; this edge-moe reads {SCHEMA_VERSION}: "
                    "set it up anew, or update edge-moe"
                )
        except BaseException:
            self._end()
            raise

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Yield the rounds as they are printed, until the process ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is told below
            self._process.stdin.write(b"%d\n" % first)
            self._process.stdin.close()
        while (line := self._read()) != b"":
            yield self._decoded(line, Round)
            progress.advance(step)
        if self._process.wait() != 0:
            raise BackendError(f"{self._what} failed: {self._last_words()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the process end."""
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it began a group: what it started itself goes, too
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()
        self._errors.close()

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _line(self, kind: type[Opening]) -> Opening:
        line = self._read()
        if line == b"":
            self._process.wait()
            raise BackendError(f"{self._what} failed: {self._last_words()}")
        return self._decoded(line, kind)

    def _decoded(self, line: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BackendError(f"{self._what} said what is no {kind.__name__.lower()}: {error}; report this") from None

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        code = self._process.returncode
        end = f"it ended by signal {-code}" if code and code < 0 else f"it ended with exit code {code}"
        return lines[-1] if lines else f"it said nothing, and {end}"
