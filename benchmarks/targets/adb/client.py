"""adbutils' client, mended: it ends with what it has opened, and says nothing when it starts adb's server.

adbutils 2.12 leaves connections open when a request is refused, and lets `adb start-server` write to the terminal.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess

import adbutils
from adbutils.errors import AdbConnectionError, AdbError

__all__ = ["WAIT_S", "Client"]

WAIT_S = 20.0
_START_S = 20.0


class Client(adbutils.AdbClient):  # type: ignore[misc]
    """A client of the server that runs, or that is started."""

    def __init__(self, host: str | None = None, port: int | None = None) -> None:
        """`host`, `port`: of adb's server; None: where ANDROID_ADB_SERVER_HOST and ..._PORT say, or as adb has them."""
        super().__init__(host, port, socket_timeout=WAIT_S)
        self._made: list[adbutils.AdbConnection] = []

    def make_connection(self, timeout: float | None = None) -> adbutils.AdbConnection:
        """Connect to the server; start one on this machine where none listens.

        Raises:
            AdbConnectionError: there is none, and none can be started.
        """
        if not self.listens() and not self._started():
            raise AdbConnectionError("adb's server does not answer, and cannot be started")
        self._made = [one for one in self._made if not one.closed]
        made = super().make_connection(timeout)
        self._made.append(made)
        return made

    def cut(self) -> None:
        """End what is open from another thread than the one that waits for it."""
        for one in list(self._made):
            with contextlib.suppress(OSError, AdbError):
                one.conn.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what is open."""
        while self._made:
            with contextlib.suppress(OSError):
                self._made.pop().close()

    def __enter__(self) -> Client:
        """Return itself, to be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open."""
        self.close()

    def listens(self) -> bool:
        """Return whether a server answers, without starting one."""
        try:
            socket.create_connection((self.host, self.port), WAIT_S).close()
        except OSError:
            return False
        return True

    def _started(self) -> bool:
        command = [adbutils.adb_path(), "-P", str(self.port), "start-server"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, timeout=_START_S, cwd=os.sep)
        return self.listens()
