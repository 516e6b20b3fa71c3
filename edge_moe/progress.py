"""Telling a person how far a long job is. The library reports to a `Progress`; the command line shows bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

__all__ = ["Progress", "Silent", "shown_progress", "track"]

T = TypeVar("T")


class Progress(Protocol):
    """Where a long job reports. Steps are named; a name that comes again goes on where it was."""

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Announce a step of `total` units, `done` of which are done already."""

    def advance(self, name: str, note: str = "") -> None:
        """Report one more unit of the step `name`, with a short note such as a loss."""


class Silent:
    """Reports nothing."""

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, name: str, note: str = "") -> None:
        """Do nothing."""


class _Bars:
    """Shows one bar a step."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._tasks: dict[str, Any] = {}

    def start(self, name: str, total: int, done: int = 0) -> None:
        if name in self._tasks:
            self._display.update(self._tasks[name], total=total, completed=done)
        else:
            self._tasks[name] = self._display.add_task(name, total=total, completed=done, note="")

    def advance(self, name: str, note: str = "") -> None:
        self._display.update(self._tasks[name], advance=1, note=note)


class _Lines:
    """Writes a line now and then, for logs."""

    def __init__(self) -> None:
        self._steps: dict[str, _Step] = {}
        self._last = 0.0

    def start(self, name: str, total: int, done: int = 0) -> None:
        self._steps[name] = _Step(total, done, done, time.monotonic())

    def advance(self, name: str, note: str = "") -> None:
        step, now = self._steps[name], time.monotonic()
        step.done += 1
        if step.done == step.total or now - self._last > _LINE_SECONDS:
            self._last = now
            notes = ", ".join(filter(None, (note, step.left(now))))
            print(f"{name} {step.done}/{step.total} {notes}".rstrip(), file=sys.stderr, flush=True)


_LINE_SECONDS = 10


@dataclass
class _Step:
    total: int
    done: int
    before: int  # was done when it began
    begun: float  # by the clock, in seconds

    def left(self, now: float) -> str:
        """Return in words how long it will take; empty where that is not known yet, or next to nothing."""
        taken = now - self.begun
        seconds = taken / (self.done - self.before) * (self.total - self.done)
        return f"{_duration(seconds)} left" if taken >= 1 and seconds >= 1 else ""


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show progress on stderr while the block runs: bars on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Display(*columns, console=Console(file=sys.stderr)) as display:
        yield _Bars(display)


def track(items: Iterable[T], name: str, total: int, progress: Progress) -> Iterator[T]:
    """Yield `items`, reporting one unit of the step `name` after each."""
    progress.start(name, total)
    for item in items:
        yield item
        progress.advance(name)
