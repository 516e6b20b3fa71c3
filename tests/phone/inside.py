"""What runs first inside the namespaces: it builds the phone, starts adbd and adb's server, and does what it is told.

It is told by JSON over the socket that is its argument, and ends with that socket; with it ends all that it has
started, because it is the first process of a process namespace. Nothing but Python's own library is imported here.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.phone import root
from tests.phone.app import App
from tests.phone.proxy import Cable

PORT, _ADBD_PORT = 5555, 5600
_BANNER = ("ro.product.name", "ro.product.model", "ro.product.device")
_WAIT_S = 10.0
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 1, 64  # linux/sockios.h, linux/if.h


class Inside:
    """The phone, and the server that knows it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._folder, self._adb = Path(given["folder"]), given["adb"]
        self._root = self._folder / "root"
        self._known: list[subprocess.Popen[bytes]] = []
        self._server: subprocess.Popen[bytes] | None = None
        state, binfmt, usb = (self._folder / name for name in ("state", "binfmt", "usb"))
        for folder in (self._root, binfmt, usb):
            folder.mkdir()
        _loopback()
        system = Path(given["system"])
        self.emulates = given["binfmt"] and root.emulate(binfmt, system / "bin/qemu-aarch64")
        disk_bytes = given["disk_bytes"]
        root.build(self._root, system=system, state=state, disk_bytes=disk_bytes, emulates=self.emulates)
        threading.Thread(target=self._reap, daemon=True).start()
        self._start_adbd()
        self.app = App(given["app"], self._root / "sdcard", state, self._start)
        of = {name: (state / "properties" / name).read_text().strip() for name in _BANNER}
        banner = "".join(f"{name}={value};" for name, value in of.items())
        self.cable = Cable(("0.0.0.0", PORT), ("127.0.0.1", _ADBD_PORT), banner)

    def _start_adbd(self) -> None:
        shell = f"--map-user={root.SHELL_UID}", f"--map-group={root.SHELL_UID}"
        command = [str(shutil.which("unshare")), "--user", *shell, f"--root={self._root}", "--wd=/", "/system/bin/adbd"]
        environment = {
            "PATH": root.PATH, "ADBD_PORT": str(_ADBD_PORT), "QEMU_CPU": "cortex-a76", "HOME": "/",
            "ANDROID_ROOT": "/system", "ANDROID_DATA": "/data", "EXTERNAL_STORAGE": "/sdcard",
        }  # fmt: skip
        self._start(command, environment, "adbd.log", preexec_fn=root.without_vsock)
        _until(lambda: socket.create_connection(("127.0.0.1", _ADBD_PORT), 1).close())

    def _start(self, command: list[str], environment: dict[str, str], log: str, **options: Any) -> Any:
        options = {"stdin": subprocess.DEVNULL, **options}
        with (self._folder / log).open("ab") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, **options)
        self._known.append(process)
        return process

    def start_server(self, listener: int) -> None:
        home = str(self._folder)
        off = dict.fromkeys(("ADB_USB", "ADB_MDNS", "ADB_EMU", "ADB_MDNS_OPENSCREEN", "ADB_MDNS_AUTO_CONNECT"), "0")
        environment = {"HOME": home, "TMPDIR": home, "PATH": "", "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554", **off}
        command = [self._adb, "-L", f"acceptfd:{listener}", "server", "nodaemon"]
        self._server = self._start(command, environment, "adb.log", pass_fds=[listener])
        os.close(listener)

    def kill_server(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def processes(self) -> list[str]:
        """Return the command lines of what runs on the phone beside adbd."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if process.joinpath("root").readlink() == self._root and line and line != "/system/bin/adbd":
                    found.append(line)
            except OSError:  # it has ended
                continue
        return found

    def fill(self, disk: str, free_bytes: int) -> None:
        filler = self._root / disk / ".filler"
        filler.unlink(missing_ok=True)
        size = shutil.disk_usage(filler.parent).free - free_bytes
        if size > 0:
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def _reap(self) -> None:
        """Bury what has lost its parent: else it would look alive."""
        while True:
            try:
                pid = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid  # type: ignore[union-attr]
                mine = [process for process in self._known if process.pid == pid]
                if mine:
                    mine[0].wait()
                else:
                    os.waitpid(pid, 0)
            except ChildProcessError:
                time.sleep(0.02)


def _loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))


def _until(attempt: Any) -> None:
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            return attempt()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def answer(inside: Inside, asked: dict[str, Any], listeners: list[int]) -> Any:
    """Do one thing of the list in `Phone`."""
    do, cable = asked.pop("do"), inside.cable
    match do:
        case "server":
            return inside.start_server(listeners[0])
        case "kill_server":
            return inside.kill_server()
        case "cut_when":
            return cable.cut_when(**asked)
        case "freeze":
            return cable.freeze(**asked)
        case "authorise":
            cable.authorised = asked["authorised"]
            return None
        case "drop":
            return cable.drop()
        case "plug":
            return cable.plug()
        case "fill":
            return inside.fill(**asked)
        case "signal_app":
            return inside.app.signal(asked["number"])
        case "about":
            return {"commands": cable.commands, "was_cut": cable.was_cut, "processes": inside.processes(),
                    "emulates": inside.emulates}  # fmt: skip
    raise ValueError(do)


def main(number: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who is started under nohup ignores it, and no shell could trap it
    control = socket.socket(fileno=number)
    inside = None
    while True:
        data, ancillary, *_ = control.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not data:
            return
        listeners = array.array("i", b"".join(part[2] for part in ancillary)).tolist()
        asked = json.loads(data)
        try:
            if inside is None:
                inside, said = Inside(asked), None
            else:
                said = answer(inside, asked, listeners)
            control.send(json.dumps({"said": said}).encode())
        except Exception as error:
            control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
