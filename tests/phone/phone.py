"""A phone that a test may do anything to: `with Phone(tmp_path) as phone`, then `AdbClient(phone.host, phone.port)`.

Real are adbd, adb's server, the shell (mksh) and its commands (toybox), processes, signals and the disk; programs for
AArch64 are emulated. Made up are Android's own commands, and what it says of cores, temperatures and battery. All of it
lives in namespaces of its own, without any network, and ends with them.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import adbutils

from edge_moe.benchmarks.targets.adb.client import WAIT_S, Client
from tests.phone import parts, state
from tests.phone.namespace import ROOT, Namespace

__all__ = ["ROOT", "Phone"]

HOST, SERIAL = "127.0.0.1", "127.0.0.1:5555"
_DISK_BYTES = 256 << 20
_ADB = "ADBUTILS_ADB_PATH"


class Phone:
    """One phone, plugged in and authorised, with an adb server of its own."""

    host, serial = HOST, SERIAL

    def __init__(
        self,
        folder: Path,
        abi: str = "arm64-v8a",
        *,
        properties: dict[str, str] | None = None,
        disk_bytes: int = _DISK_BYTES,
        binfmt: bool = True,
        app: Sequence[str] = (),
    ) -> None:
        """Say what it is like.

        Args:
            folder: where one may be made that ends with the phone.
            abi: for which it runs programs.
            properties: that are others than `state.PROPERTIES`.
            disk_bytes: of each of its disks.
            binfmt: False: as on Linux before 6.7.
            app: what stands for the demo app's process, see `tests.phone.app`; empty: it is not installed.
        """
        self._parent, self._abi, self._properties = folder, abi, properties or {}
        self._disk_bytes, self._binfmt, self._app = disk_bytes, binfmt, list(app)
        self.port = 0

    def __enter__(self) -> Phone:
        folder = Path(tempfile.mkdtemp(prefix="phone-", dir=self._parent))
        self._state = folder / "state"
        state.write(self._state, self._abi, self._properties)
        self.set(app=bool(self._app))
        system, adb = parts.system(), Path(adbutils.__file__).parent / "binaries/adb"
        self._inner = Namespace(folder)
        self._ask = self._inner.ask
        self._before = os.environ.get(_ADB)
        # Without a server, adbutils starts one: on the port of everybody, outside of the namespaces. Here it cannot.
        os.environ[_ADB] = str(shutil.which("false"))
        try:
            paths = {"folder": str(folder), "system": str(system), "adb": str(adb)}
            self._ask(None, disk_bytes=self._disk_bytes, binfmt=self._binfmt, app=self._app, **paths)
            self.start_server()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End everything; nothing is left."""
        del os.environ[_ADB]
        if self._before is not None:
            os.environ[_ADB] = self._before
        self._inner.close()

    def start_server(self) -> None:
        """Start adb's server, where it was if it was, and let it know the phone."""
        with socket.create_server((HOST, self.port)) as listener:
            self.port = listener.getsockname()[1]
            self._ask("server", listener=listener)
        self.connect()

    def kill_server(self) -> None:
        """Kill it: nobody listens on `port`."""
        self._ask("kill_server")

    def connect(self, serial: str = SERIAL) -> None:
        """Let the server find the phone; under another address of 127.0.0.0/8 it is a second one."""
        with self.client() as client:
            client.connect(serial)
            client.wait_for(serial, timeout=WAIT_S)

    def client(self) -> Client:
        """Return a client of the server, to be closed."""
        return Client(HOST, self.port)

    def drop(self, *, listed: bool = True) -> None:
        """Cut the cable: the phone is `offline`, or, as one at USB, not listed any more."""
        self._ask("drop")
        if not listed:
            self._disconnect()

    def plug(self) -> None:
        """Connect it again, under the same serial."""
        self._ask("plug")
        self._disconnect()
        self.connect()

    def _disconnect(self) -> None:
        with self.client() as client:
            client.disconnect(SERIAL)

    def forget(self) -> None:
        """Let the phone not know this computer, as before its owner has confirmed the key: `unauthorized`."""
        self._ask("authorise", authorised=False)
        self._ask("drop")
        self._ask("plug")
        self._disconnect()
        with self.client() as client:
            client.connect(SERIAL)

    def confirm(self) -> None:
        """Let its owner confirm the key."""
        self._ask("authorise", authorised=True)
        self._ask("drop")
        self.plug()

    def drop_when(
        self, *, push: int | None = None, pull: int | None = None, command: str | None = None, after_s: float = 0.3
    ) -> None:
        """Cut once: after so many bytes of a push or pull, or `after_s` after a command with this text has begun."""
        given = {"push": push, "pull": pull, "command": command}
        ((kind, what),) = ((kind, what) for kind, what in given.items() if what is not None)
        self._ask("cut_when", kind=kind, what=what, after_s=after_s)

    def was_dropped(self) -> bool:
        """Return whether what `drop_when` waits for has happened."""
        return bool(self._ask("about")["was_cut"])

    def freeze(self) -> None:
        """Let nothing pass, and no connection end, as where a radio is out of reach."""
        self._ask("freeze", frozen=True)

    def thaw(self) -> None:
        """Let everything pass that waits."""
        self._ask("freeze", frozen=False)

    @property
    def tmp(self) -> Path:
        """What the device has as /data/local/tmp."""
        return self._inner.view() / "root/data/local/tmp"

    @property
    def emulates(self) -> bool:
        """Whether the kernel itself runs programs for AArch64, not only the shell those that a command names."""
        return bool(self._ask("about")["emulates"])

    def set(self, **values: object) -> None:
        """Change what the phone is like: names of `state.VALUES`."""
        for name, value in values.items():
            assert name in state.VALUES, name
            state.put(self._state / name, value)

    def get(self, name: str) -> str:
        """Return what a value is by now; commands change some."""
        return (self._state / name).read_text().strip()

    def write(self, file: str, value: object) -> None:
        """Change a file, `sys/...`, as the device reads it from now on."""
        state.put((self._state / file).resolve(), value)

    def deny(self, file: str) -> None:
        """Let the shell not read a file, `sys/...`."""
        (self._state / file).resolve().chmod(0)

    def fill(self, free_bytes: int, disk: str = "data/local/tmp") -> None:
        """Leave so many bytes of a disk; "sdcard" is the other."""
        self._ask("fill", disk=disk, free_bytes=free_bytes)

    @property
    def sweeps(self) -> Path:
        """Where the demo app has its sweeps."""
        return self._inner.view() / "root/sdcard/Android/data/org.edgemoe.demo/files/sweeps"

    def signal_app(self, number: int) -> None:
        """Send a signal to the demo app's process, where it runs."""
        self._ask("signal_app", number=number)

    def commands(self) -> list[str]:
        """Return the command lines that the device was given, in order."""
        return list(self._ask("about")["commands"])

    def processes(self) -> list[str]:
        """Return the command lines of what runs on the device now."""
        return list(self._ask("about")["processes"])

    def quiet(self, wait_s: float = 60.0) -> list[str]:
        """Return what still runs when all could have ended: nothing, if all is well."""
        end = time.monotonic() + wait_s
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        return left
