"""Ctrl-C and SIGTERM: one line at once, from the first line of the command line on, and an exit code.

What a signal does depends on what it meets:

- An import is under way, or no command is at work yet: the process ends on the spot. An exception would be swallowed by
  a library that tries what is installed, or told as a traceback by what runs before and after a command.
- A command is at work: KeyboardInterrupt is raised, so that it clears up, or makes the best of what it has.
- A signal came before: within a second it is the same one, which a terminal and a shell, or a person, sent twice. Later
  it is for a command that does not come to an end, and ends the process on the spot.

SIGINT ends with exit code 130, SIGTERM with 143, as a shell reports them. A signal that was ignored when the process
began, as SIGINT is for a job in the background of a script, stays ignored.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
from time import monotonic, sleep

TYPE_CHECKING = False  # as in typing: nothing is imported here that takes a while
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

__all__ = ["Stop", "stop"]

_SAME_S = 1.0  # two signals within this time are one
_AGAIN_S = 0.02
_IMPORTS = "<frozen importlib._bootstrap>"
_UNTOUCHED = "stopped; what was there before is untouched"
_GOES_ON = f"{_UNTOUCHED}, and what was made so far is kept: repeat the command to go on"


class Stop:
    """What this process knows of being stopped."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.raises = False  # whether a command is at work that a KeyboardInterrupt can reach
        self._signal = 0  # the first that came
        self._since = 0.0
        self._said = False
        self._again = False  # the same signal is delivered once more, for it got lost
        self._process = self._thread = 0  # that listen
        self.keeps: Callable[[], bool] | None = None  # whether work is kept for the next time

    @property
    def is_heard(self) -> bool:
        """Whether a signal came."""
        return self._signal != 0

    @property
    def exit_code(self) -> int:
        """Of a process that was stopped."""
        return 128 + (self._signal or signal.SIGINT)

    @property
    def words(self) -> str:
        """What to tell a person whose command was stopped."""
        stands = _of_work("published")
        if stands is not None:
            return f"stopped; {stands} stands"
        try:
            return _GOES_ON if self.keeps is not None and self.keeps() else _UNTOUCHED
        except OSError:
            return _UNTOUCHED

    def listen(self) -> None:
        """Answer SIGINT and SIGTERM from now on."""
        self._process, self._thread = os.getpid(), _thread.get_ident()
        for one in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(one) != signal.SIG_IGN:
                signal.signal(one, self._hear)
        sys.unraisablehook = self._lost

    def begin(self) -> None:
        """Know nothing of commands that ran before in this process."""
        self.keeps, self._said = None, False
        _of_work("forget_published")

    def going_on(self, keeps: Callable[[], bool]) -> _GoingOn:
        """Return a block; if the command is stopped in it, repeating it goes on, provided that `keeps()`: say so then.

        That is asked at the very end, when a command that clears up has done so.
        """
        return _GoingOn(self, keeps)

    def told(self) -> None:
        """Remember that the person knows."""
        self._said = True

    def leave(self, code: int) -> NoReturn:
        """End this process after a command returned `code`, without the seconds that libraries take for it."""
        if not self._signal or code != self.exit_code:
            sys.exit(code)
        self._end()

    def now(self) -> NoReturn:
        """End this process on the spot, and with it those that it started."""
        pool = sys.modules.get("edge_moe.pool")
        if pool is not None:
            pool.kill_all()
        if not self._said:
            self._said = True
            # Where a bar was being drawn: its line is cleared, and the cursor shown that it hid.
            start = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""
            try:  # noqa: SIM105  (contextlib is not imported here)
                os.write(2, f"{start}edge-moe: error: {self.words}\n".encode())
            except OSError:  # nobody is there to be told
                pass
        self._end()

    def _end(self) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # nobody reads, or it is being written to: what is left is not waited for
                continue
        os._exit(self.exit_code)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork, which has this handler too: it ends with the process that made it
            return
        again, self._again = self._again, False
        if self._signal and not again:
            if monotonic() - self._since > _SAME_S:
                self.now()
            return
        if not self._signal:
            self._signal, self._since = number, monotonic()
        if not self.raises or _imports(frame):
            self.now()
        raise KeyboardInterrupt

    def _lost(self, unraisable: Any) -> None:
        """Deliver a KeyboardInterrupt again that was raised where Python drops exceptions, as in a `__del__`."""
        if unraisable.exc_type is KeyboardInterrupt and self._signal:
            _thread.start_new_thread(self._deliver, ())
        else:
            sys.__unraisablehook__(unraisable)

    def _deliver(self) -> None:
        sleep(_AGAIN_S)
        self._again = True
        signal.pthread_kill(self._thread, self._signal)  # not to this thread: it may be asleep


class _GoingOn:
    """See `Stop.going_on`. What is kept is asked for after an exception has left the block."""

    def __init__(self, stop: Stop, keeps: Callable[[], bool]) -> None:
        self._stop, self._keeps = stop, keeps

    def __enter__(self) -> None:
        self._stop.keeps = self._keeps

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self._stop.keeps = None


def _of_work(name: str) -> Any:
    """Call what `edge_moe.work` has under `name`; None where that was not imported, or not to its end."""
    call = getattr(sys.modules.get("edge_moe.work"), name, None)
    return None if call is None else call()


def _imports(frame: FrameType | None) -> bool:
    """Return whether an import is under way in `frame` or in what called it."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


stop = Stop()
