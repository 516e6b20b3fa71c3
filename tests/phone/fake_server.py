"""An adb server without phones, for what no adbd can be: unauthorised, without permissions, or not there at all.

It answers as adb 36 does, what is asked of a server and of a device that cannot answer itself; a device in the state
`device` takes every service and closes it at once.
"""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Mapping
from types import TracebackType

HOST = "127.0.0.1"
_VERSION = 41
_UNAUTHORIZED = (
    "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\nOtherwise check for a confirmation dialog on your device."
)
# As Linux's adb says it of a device that udev gave to nobody.
_UDEV, _HELP = "missing udev rules? user is in the plugdev group", "http://developer.android.com/tools/device.html"
NO_PERMISSIONS = f"no permissions ({_UDEV}); see [{_HELP}]"
_REFUSALS = {
    NO_PERMISSIONS: f"insufficient permissions for device: {_UDEV}\nSee [{_HELP}] for more information",
    "unauthorized": _UNAUTHORIZED,
    "authorizing": "device still authorizing",
    "connecting": "device still connecting",
    "offline": "device offline",
}


class FakeServer:
    """`with FakeServer({"X1": "unauthorized"}) as server`, then `AdbClient(server.host, server.port)`."""

    host = HOST

    def __init__(self, devices: Mapping[str, str] | None = None) -> None:
        """`devices`: serial -> state, as `adb devices` lists them; may be changed at any time."""
        self.devices = dict(devices or {})
        self.asked: list[str] = []
        self._server = _Server((HOST, 0), _Handler)
        self._server.fake = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def list(self, *, extended: bool) -> str:
        form = "{:<22} {} transport_id:{}\n" if extended else "{}\t{}\n"
        return "".join(form.format(*pair, number) for number, pair in enumerate(self.devices.items(), 1))

    def refusal(self, serial: str | None) -> str:
        """Return why a device cannot be had; nothing if it can."""
        if serial is None:
            if len(self.devices) != 1:
                return "more than one device/emulator" if self.devices else "no devices/emulators found"
            (serial,) = self.devices
        state = self.devices.get(serial)
        if state is None:
            return f"device '{serial}' not found"
        return _REFUSALS.get(state, "")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    fake: FakeServer


class _Handler(socketserver.BaseRequestHandler):
    """One connection: requests until one of them has an answer that ends it."""

    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while head := self._exactly(4):
                self._answer(self._exactly(int(head, 16)).decode())

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.request.recv(size - len(data))):
            data += piece
        return data

    def _say(self, word: str, text: str | None = None) -> None:
        said = "" if text is None else f"{len(text.encode()):04x}{text}"
        self.request.sendall(f"{word}{said}".encode())

    def _answer(self, asked: str) -> None:
        fake = self.server.fake
        fake.asked.append(asked)
        match asked.split(":"):
            case ["host", "version"]:
                return self._end(f"{_VERSION:04x}")
            case ["host", "devices" | "devices-l" as which]:
                return self._end(fake.list(extended=which == "devices-l"))
            case ["host", "connect" | "disconnect" as what, *address]:
                return self._end(f"failed to {what} to '{':'.join(address)}': Connection refused")
            case ["host", "tport", "serial", *serial] | ["host", "transport", *serial]:
                return self._transport(":".join(serial), told=b"\1" + bytes(7) if "tport" in asked else b"")
            case ["host", "tport" | "transport-any", *_]:
                return self._transport(None, told=b"\1" + bytes(7) if "tport" in asked else b"")
            case ["host-serial", *serial, what]:
                return self._of(":".join(serial), what)
            case ["host", what]:
                return self._of(None, what)
        self._say("OKAY")
        raise ValueError(asked)  # a device's own service: taken, and closed

    def _end(self, text: str) -> None:
        self._say("OKAY", text)
        raise ValueError

    def _transport(self, serial: str | None, *, told: bytes) -> None:
        if refusal := self.server.fake.refusal(serial):
            self._say("FAIL", refusal)
            raise ValueError(refusal)
        self._say("OKAY")
        self.request.sendall(told)

    def _of(self, serial: str | None, what: str) -> None:
        if refusal := self.server.fake.refusal(serial):
            self._say("FAIL", refusal)
            raise ValueError(refusal)
        return self._end(
            {"get-state": "device", "get-serialno": serial, "features": "shell_v2,cmd,stat_v2"}.get(what) or ""
        )
