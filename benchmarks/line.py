"""A process here or, through it, on another machine, that is spoken to over its input and output.

Its input stays open as long as somebody reads what it prints, and brings an empty line every few seconds: a process on
another machine ends when its input does, or when nothing has come for `SILENCE_S`. One on another machine prints empty
lines as well, so that a network that fell silent is noticed here.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence

from edge_moe.errors import BackendError
from edge_moe.pool import also_ends, ended

__all__ = ["BEAT_S", "SILENCE_S", "Line"]

BEAT_S, SILENCE_S = 10.0, 60.0
_BLOCK = 1 << 16


class Line:
    """A process that is spoken to line by line; it ends with this one."""

    def __init__(
        self,
        command: Sequence[str],
        what: str,
        explain: Callable[[int, str], str] = lambda code, words: words.splitlines()[-1],
    ) -> None:
        """Start the command.

        Args:
            command: program and arguments; it gets no signal of the terminal's, and ends when its output is closed.
            what: the target's name, for errors.
            explain: its exit code, and what it wrote on stderr -> what is wrong, and what to do.

        Raises:
            BackendError: it cannot be started.
        """
        self._what, self._explain = what, explain
        self._left = bytearray()
        self.beats = False  # whether it prints empty lines, which are no answers, as long as it is there
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the session)
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise BackendError(f"{what} cannot be started: {command[0]}: {error.strerror}") from None
        also_ends(self.process)
        self._writing, self._over = threading.Lock(), threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def write(self, data: Iterable[bytes]) -> None:
        """Hand over bytes, whole; if the process is gone, whoever reads next is told why."""
        assert self.process.stdin is not None
        with self._writing, contextlib.suppress(BrokenPipeError):
            for piece in data:
                view = memoryview(piece)
                while view:
                    view = view[self.process.stdin.write(view) :]

    def line(self) -> bytes:
        """Return the next line that it prints, without its end.

        Raises:
            BackendError: there is none; says what the process died of.
        """
        line = self.line_or_end()
        if line is None:
            raise self.failed()
        return line

    def line_or_end(self) -> bytes | None:
        """Return the next line; None where the process ended well.

        Raises:
            BackendError: it failed, or fell silent.
        """
        while True:
            while (end := self._left.find(b"\n")) < 0:
                if not self._fill():
                    if self.process.wait() != 0:
                        raise self.failed()
                    last, self._left = bytes(self._left), bytearray()
                    return last or None
            line = bytes(self._left[:end]).rstrip(b"\r")
            del self._left[: end + 1]
            if line or not self.beats:
                return line

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes that it prints.

        Raises:
            BackendError: there are fewer.
        """
        while len(self._left) < count:
            if not self._fill():
                raise self.failed()
        data = bytes(self._left[:count])
        del self._left[:count]
        return data

    def failed(self) -> BackendError:
        """Return what the process died of, once it has ended."""
        code = self.process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip()
        if not words:
            end = f"it ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
            return BackendError(f"{self._what} failed: it said nothing, and {end}")
        last = words.splitlines()[-1]
        if code < 0:  # which nobody could say anything of
            return BackendError(f"{self._what} failed: it ended by signal {-code}; it had said last: {last}")
        return BackendError(f"{self._what} failed: {self._explain(code, words)}")

    def end(self) -> None:
        """End it, and what it started."""
        self._over.set()
        with contextlib.suppress(ProcessLookupError):  # it began a group: what it started itself goes, too
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()
        ended(self.process)
        self._errors.close()

    def _fill(self) -> bool:
        """Take over what it has printed; return whether there was anything before its end."""
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        if self.beats and not select.select([output], [], [], SILENCE_S)[0]:
            raise BackendError(
                f"{self._what} was lost: nothing was heard of it for {SILENCE_S:.0f} seconds; repeat the command to go "
                "on"
            )
        more = os.read(output, _BLOCK)
        self._left += more
        return more != b""

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError, ValueError):  # gone, or closed
                self.write([b"\n"])
