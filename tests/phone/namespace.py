"""A process in namespaces of its own, seen from outside: it is asked over a socket, and ends with it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_WAIT_S = 20.0
_NEW = ("--user", "--map-root-user", "--net", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child")


class Namespace:
    """`tests.phone.inside` at work, in a folder that ends with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_WAIT_S)
        # The folder is named for who looks for what is left.
        inside = [sys.executable, "-m", "tests.phone.inside", str(theirs.fileno()), str(folder)]
        with theirs, (folder / "inside.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *_NEW, *inside],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        self._control.close()
        self._process.wait(_WAIT_S)
        shutil.rmtree(self._folder)

    def ask(self, do: str | None, listener: socket.socket | None = None, **given: Any) -> Any:
        """Return what it says; raise RuntimeError, with all logs, if it failed or has ended."""
        asked = json.dumps({**({"do": do} if do else {}), **given}).encode()
        try:
            socket.send_fds(self._control, [asked], [listener.fileno()] if listener else [])
            said = json.loads(self._control.recv(1 << 20) or "{}")
        except OSError as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        if "said" not in said:
            logs = "\n".join(f"{log.name}: {log.read_text(errors='replace')}" for log in self._folder.glob("*.log"))
            raise RuntimeError(f"{said.get('error', 'it has ended')}\n{logs}")
        return said["said"]

    def view(self) -> Path:
        """Return its folder as it is inside, with all that is mounted there."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return Path(f"/proc/{children.read_text().split()[0]}/root{self._folder}")
