"""A phone that adb reaches: commands, files over and back, and in words what is wrong when one fails."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import PurePosixPath
from shlex import quote
from typing import NamedTuple, NoReturn, TypeVar

import adbutils
from adbutils.errors import AdbConnectionError, AdbError, AdbTimeout

from edge_moe.benchmarks.targets.adb.client import Client
from edge_moe.errors import BackendError, UsageError

__all__ = ["Done", "Phone", "find"]

T = TypeVar("T")

_SHELL_S = 60.0
_ENABLE = "switch on 'USB debugging' in the phone's developer options"
# What adb's server says of a phone -> what is wrong, and what to do.
_STATES = {
    "unauthorized": "it does not trust this computer yet: unlock it, and confirm 'Allow USB debugging'",
    "authorizing": "it does not trust this computer yet: unlock it, and confirm 'Allow USB debugging'",
    "offline": "it is offline: pull the cable and plug it in again, or repeat 'adb connect'",
    "no": "this computer may not use its USB port: see 'adb devices', and install the rules of udev for phones",
    "recovery": "it is in recovery: start Android",
    "bootloader": "it is in its bootloader: start Android",
    "sideload": "it waits for an update: start Android",
}
_READY = "device"
_REPEAT = "repeat the command to go on"


class Done(NamedTuple):
    """What a command of the phone's shell came to."""

    code: int
    out: str
    errors: str

    @property
    def last(self) -> str:
        """What it said last."""
        lines = (self.errors.strip() or self.out.strip()).splitlines()
        return "".join(filter(str.isprintable, lines[-1])) if lines else f"exit code {self.code}"


def find(name: str, serial: str) -> str:
    """Return the serial of the phone that is meant: `serial`, or where that is empty the only one that is there.

    Raises:
        UsageError: none was named and there are several.
        BackendError: it is not there, or cannot be used; says what to do. `name`: of the target, for that.
    """
    with Client() as client:
        try:
            there = {one.serial: one.state for one in client.list()}
        except (AdbError, OSError) as error:
            raise BackendError(f"{name} cannot be reached: {error}; try: adb devices") from None
    if not serial:
        if not there:
            raise BackendError(f"{name} cannot be reached: no phone is connected; {_ENABLE}, and connect it")
        if len(there) > 1:
            each = " or ".join(f"{name}:{one}" for one in sorted(there))
            raise UsageError(f"{name} is one of several: name it, {each}")
        (serial,) = there
    if serial not in there:
        known = ", ".join(sorted(there)) or "none"
        raise BackendError(f"{name} is not connected (connected: {known}); {_ENABLE}, and connect it")
    if there[serial] != _READY:
        raise BackendError(f"{name} cannot be used: {_STATES.get(there[serial], f'adb calls it {there[serial]!r}')}")
    return serial


class Phone:
    """One phone, by its serial."""

    def __init__(self, name: str, serial: str) -> None:
        """`name`: of the target, for errors."""
        self.name, self.serial = name, serial
        self._lost = ""  # why nothing can be asked of it any more
        self._client = Client()
        self._device = self._client.device(serial)

    def run(self, command: str, *, timeout_s: float = _SHELL_S) -> Done:
        """Run a command of its shell to its end.

        Raises:
            BackendError: the phone is gone, or does not answer; says what to do.
        """

        def run() -> Done:
            done = self._device.shell2(command, timeout=timeout_s, v2=True)
            return Done(done.returncode, done.stdout, done.stderr)

        return self._do(run, f"'{command.split()[0]}' took more than {timeout_s:.0f} seconds")

    def shell(self, command: str, *, timeout_s: float = _SHELL_S) -> str:
        """Run a command that has to succeed, and return what it printed.

        Raises:
            BackendError: it failed, or the phone is gone.
        """
        done = self.run(command, timeout_s=timeout_s)
        if done.code != 0:
            raise BackendError(f"{self.name} failed: {done.last}")
        return done.out

    def push(self, data: bytes, there: str, *, executable: bool = False) -> None:
        """Write a file on the phone; folders that it lies in are made.

        Raises:
            BackendError: the phone is gone, or has no space.
        """
        mode = 0o755 if executable else 0o644
        self._do(lambda: self._device.sync.push(data, there, mode), "nothing went over", there=there, size=len(data))

    def pull(self, there: str) -> bytes:
        """Return a file of the phone, whole.

        Raises:
            BackendError: the phone is gone, or has no such file.
        """
        return self._do(lambda: bytes(self._device.sync.read_bytes(there)), "nothing came over")

    def talk(self, command: str, client: Client) -> adbutils.AdbConnection:
        """Start a command whose input and output are the connection's, as long as that lasts: until `client` is closed.

        Raises:
            BackendError: the phone is gone.
        """

        def start() -> adbutils.AdbConnection:
            connection = client.device(self.serial).open_transport()
            connection.send_command(f"exec:{command}")
            connection.check_okay()
            return connection

        return self._do(start, "it did not start")

    def free_bytes(self, folder: str | PurePosixPath) -> int:
        """Return how many bytes are free in a folder."""
        blocks, size = self.shell(f"stat -f -c '%a %S' {quote(str(folder))}").split()
        return int(blocks) * int(size)

    def close(self) -> None:
        """Close what is open."""
        self._client.close()

    def cut(self, why: str) -> None:
        """Let whoever waits for an answer wait no longer, and be told why."""
        self._lost = why
        self._client.cut()

    def _do(self, what: Callable[[], T], late: str, *, there: str = "", size: int = 0) -> T:
        try:
            if self._lost:
                raise EOFError
            return what()
        except (AdbTimeout, TimeoutError):
            self._client.close()
            raise BackendError(f"{self.name} does not answer: {late}; is it there still? {_REPEAT}") from None
        except (AdbError, OSError, EOFError, AssertionError, struct.error, ValueError) as error:  # one for each place
            self._client.close()  # which it leaves open then
            self._explain(error, there, size)

    def _explain(self, error: Exception, there: str, size: int) -> NoReturn:
        if self._lost:
            raise BackendError(self._lost) from None
        said = str(error).strip() or type(error).__name__
        if isinstance(error, AdbConnectionError):
            raise BackendError(f"{self.name} was lost: adb's server is gone ({said}); {_REPEAT}") from None
        try:
            with Client() as client:
                if not client.listens():  # one that is started now would know no phone for a moment
                    raise BackendError(f"{self.name} was lost: adb's server is gone; {_REPEAT}") from None
                state = {one.serial: one.state for one in client.list()}.get(self.serial)
        except (AdbError, OSError):
            raise BackendError(f"{self.name} was lost: adb's server is gone; {_REPEAT}") from None
        if state is None or state == "offline":
            raise BackendError(
                f"{self.name} was lost: {'it is offline' if state else 'it is not connected any more'}, was the cable "
                f"pulled? connect it and {_REPEAT}"
            ) from None
        if state != _READY:
            raise BackendError(f"{self.name} was lost: {_STATES.get(state, state)}; then {_REPEAT}") from None
        if there:
            folder = PurePosixPath(there).parent
            done = self.run(f"mkdir -p {quote(str(folder))}")
            if done.code != 0:
                raise BackendError(f"{self.name} does not take files: {done.last}") from None
            if (free := self.free_bytes(folder)) < size:
                raise BackendError(
                    f"{self.name} is full: {free >> 10} KiB are free, and a file has {size >> 10}; make room, and "
                    "repeat the command"
                ) from None
        raise BackendError(f"{self.name} failed: {said}; {_REPEAT}") from None
