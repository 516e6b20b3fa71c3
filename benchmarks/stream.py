"""A target whose measuring is done by another process, here or, through it, on another machine.

The process prints the lines of `rounds.jsonl`: its opening, then, when it is told on its standard input the number of
the first round that is wanted, one round a line, each when it is done. Where the plan has seconds without a pause, it
then waits to be told "sustained", and prints what it was answered in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec

from edge_moe.benchmarks.line import Line
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Opening, Round, Sustained
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["SUSTAINED", "Streamed"]

T = TypeVar("T")

SUSTAINED = "sustained"  # in JSON, what the process is told after the rounds, or in their place


class Streamed(Session):
    """A session that reads what a command prints."""

    def __init__(self, command: Sequence[str] | Line, what: str) -> None:
        """Read the opening of a process, which is ended if there is none.

        Args:
            command: as of `Line`; or the process, to which something was said already.
            what: the target's name, for errors.

        Raises:
            BackendError: it cannot be started, or said something else.
        """
        self._line, self._what = command if isinstance(command, Line) else Line(command, what), what
        try:
            self.opening = self._decoded(self._line.line(), Opening, "opening")
            if self.opening.schema_version != SCHEMA_VERSION:
                raise BackendError(
                    f"{what} answers by schema {self.opening.schema_version}; this edge-moe reads {SCHEMA_VERSION}: "
                    "set it up anew, or update edge-moe"
                )
        except BaseException:
            self._line.end()
            raise

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Yield the rounds as they are printed, until the process ends; or waits: read no more than the plan has."""
        self._line.write([b"%d\n" % first])
        while (line := self._line.line_or_end()) is not None:
            yield self._decoded(line, Round, "round")
            progress.advance(step)

    def sustained(self, progress: Progress, step: str) -> tuple[Sustained, ...]:
        """Have the process run without a pause, and read the line that it prints when all is over."""
        self._line.write([msgspec.json.encode(SUSTAINED) + b"\n"])
        found = self._decoded(self._line.line(), tuple[Sustained, ...], "sustained run")
        for _ in (window for one in found for window in one.windows):
            progress.advance(step)
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the process end."""
        self._line.end()

    def _decoded(self, line: bytes, kind: type[T], words: str) -> T:
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BackendError(f"{self._what} said what is no {words}: {error}; report this") from None
