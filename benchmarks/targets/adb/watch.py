"""How a phone is while something runs on it without a pause, window by window."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from edge_moe.benchmarks import sustained
from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.targets.adb.state import state
from edge_moe.benchmarks.wire import Facts
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["Watch"]


class Watch:
    """A thread that looks at the end of every window, with a connection of its own, as long as it is entered."""

    def __init__(self, phone: Phone, cpus: tuple[int, ...], progress: Progress, step: str) -> None:
        """`cpus`: that are measured on; `step`: is advanced by every window."""
        self._phone, self._cpus, self._progress, self._step = phone, cpus, progress, step
        self.seen: list[tuple[float, Facts]] = []  # how things stood, and when, in seconds since it was entered
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def at(self, seconds: float) -> Facts:
        """Return how things stood nearest to this moment."""
        _, facts = min(self.seen, key=lambda one: abs(one[0] - seconds), default=(0.0, Facts()))
        return facts

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        phone = Phone(self._phone.name, self._phone.serial)
        start = time.monotonic()
        try:
            while not self._over.wait(sustained.WINDOW_S):
                self.seen.append((time.monotonic() - start, state(phone).facts(self._cpus)))
                self._progress.advance(self._step)
        except BackendError:  # the one who runs says what is wrong
            return
        finally:
            phone.close()
