"""What stands for the demo app on the phone: a process outside of the phone's own root, whose files are the app's.

An intent, which `am` leaves as a file, starts it where it does not run, and reaches it as a line of its input: the id
of a sweep. Its last argument is the folder of its own files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

_PACKAGE = "org.edgemoe.demo"
_LOOK_S = 0.02
_STOP = "force-stop"


class App:
    """The app, and the part of the system that starts it."""

    def __init__(
        self, command: list[str], sdcard: Path, state: Path, start: Callable[..., subprocess.Popen[bytes]]
    ) -> None:
        """`command`: that is run; `start`: runs one, see `Inside`."""
        self._command, self._intents, self._start = command, state / "intents", start
        self._files = sdcard / "Android/data" / _PACKAGE / "files"
        self._temporary = sdcard.parent.parent / "app"
        self._environment = {
            "PATH": os.environ["PATH"],
            "PHONE_STATE": str(state),
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={self._temporary}",
        }
        self._process: subprocess.Popen[bytes] | None = None
        if command:
            for folder in (self._temporary, self._files):
                folder.mkdir(parents=True)
            threading.Thread(target=self._serve, daemon=True).start()

    def signal(self, number: int) -> None:
        """Send a signal to the process; one that is killed is waited for."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()

    def _serve(self) -> None:
        while True:
            for intent in sorted(self._intents.iterdir()):
                if intent.name == _STOP:
                    self.signal(signal.SIGKILL)
                elif not intent.name.startswith("."):
                    self._deliver(intent.name)
                else:
                    continue
                intent.unlink()
            time.sleep(_LOOK_S)

    def _deliver(self, sweep: str) -> None:
        if self._process is None or self._process.poll() is not None:
            command = [*self._command, str(self._files)]
            self._process = self._start(command, self._environment, "app.log", stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{sweep}\n".encode())
            self._process.stdin.flush()
