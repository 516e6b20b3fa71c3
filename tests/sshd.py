"""A real sshd for tests, on loopback, for this user; `make test-devices` sees to OpenSSH's server.

Keys, known hosts and configuration are the test's own: an `ssh` before the system's on PATH names them. Everything else
is as it is for a person.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HOST = "board"
_SERVER = """
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
UsePAM no
StrictModes no
PidFile none
SetEnv XDG_CACHE_HOME={folder}/cache
"""
_CLIENT = """
Host {host} other
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
"""


class Sshd:
    """The server, and the way to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "there is no sshd: make test-devices"
        self._program, self._port, self._process = program, _free_port(), None
        for name in ("host", "key", "other"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "server").write_text(f"Port {self._port}\n{_SERVER.format(folder=folder)}")
        words = {"host": HOST, "port": self._port, "user": getpass.getuser(), "folder": folder}
        (folder / "client").write_text(_CLIENT.format(**words))
        (folder / "bin").mkdir()
        (folder / "bin/ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
        (folder / "bin/ssh").chmod(0o755)
        self.trust()
        self.let_in()

    @property
    def home(self) -> Path:
        """What is ours on the board."""
        return self.cache / "edge-moe/board"

    def trust(self, key: str = "host") -> None:
        """Let this key be known as the board's."""
        kind, text, *_ = (self.folder / f"{key}.pub").read_text().split()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self._port} {kind} {text}\n")

    def let_in(self, command: str = "") -> None:
        """Let our key in, to run anything, or `command` in its place."""
        options = f'command="{command}" ' if command else ""
        (self.folder / "authorized").write_text(options + (self.folder / "key.pub").read_text())

    def start(self) -> None:
        """Start it, and wait until it listens."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # which the package's own service makes
        command = [self._program, "-D", "-f", self.folder / "server", "-E", self.folder / "log"]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; what it had begun goes on without a connection."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def cut(self) -> None:
        """End all connections; what they had begun goes on without."""
        for one in psutil.Process(self._process.pid).children(recursive=True):
            if one.name().startswith("sshd"):
                one.kill()


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Give a server that runs; PATH has to begin with its `bin`."""
    server = Sshd(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
