"""The cable: every byte between adb server and adbd passes here, is understood, and may be where it is cut.

A message of the protocol is a header of six little-endian words (command, arg0, arg1, bytes of payload, checksum,
magic) and its payload; arg0 is the sender's number of the stream, arg1 the receiver's.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_HEADER = struct.Struct("<4s5I")
_Header = tuple[bytes, int, int, int, int, int]
_AT_ONCE = 65536
_TOKEN, _SIGNATURE = 1, 2  # kinds of AUTH: one asks for the other


class Cut(threading.Event):
    """Where the cable is going to be cut: after so many bytes of payload, or a moment after a command has begun."""

    def __init__(self, kind: str, what: int | str, after_s: float) -> None:
        super().__init__()
        self.kind, self.what, self.after_s, self.passed = kind, what, after_s, 0


class Cable:
    """One relay from `address` to `device`, on threads that end with it."""

    def __init__(self, address: tuple[str, int], device: tuple[str, int], banner: str) -> None:
        """`banner`: what the phone says of itself when it is connected; Debian's adbd knows no properties."""
        self.commands: list[str] = []
        self._address, self._device, self._banner = address, device, banner.encode()
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._cut: Cut | None = None
        self.authorised = True  # else adbd is not asked: whoever connects is to prove who he is, and never does
        self.plug()

    def plug(self) -> None:
        """Connect again; nothing happens when it is connected."""
        with self._lock:
            if self._listener is None:
                self._listener = socket.create_server(self._address)
                threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def drop(self) -> None:
        """Cut what is connected, and refuse what would connect."""
        with self._lock:
            ends = [*self._open, *([self._listener] if self._listener else [])]
            self._open.clear()
            self._listener = None
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def cut_when(self, kind: str, what: int | str, after_s: float) -> None:
        """Cut once when so many bytes were pushed or pulled, or when a command with this text runs."""
        self._cut = Cut(kind, what, after_s)

    @property
    def was_cut(self) -> bool:
        """Whether the last cut that was asked for has been made."""
        return self._cut is not None and self._cut.is_set()

    def freeze(self, *, frozen: bool) -> None:
        """Let nothing pass, or everything again: what a radio out of reach looks like."""
        (self._flowing.clear if frozen else self._flowing.set)()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                server, _ = listener.accept()
                if not self.authorised:
                    with self._lock:
                        self._open.add(server)
                    threading.Thread(target=self._doubt, args=(server,), daemon=True).start()
                    continue
                device = socket.create_connection(self._device)
                with self._lock:
                    self._open |= {server, device}
                link = _Link(self)
                for source, target, pushing in ((server, device, True), (device, server, False)):
                    arguments = (link, source, target, pushing)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _doubt(self, server: socket.socket) -> None:
        """Answer as a phone on which nobody has confirmed this computer's key."""
        with contextlib.suppress(OSError):
            for (command, kind, *_), _payload in _messages(server):
                if command == b"CNXN" or (command == b"AUTH" and kind == _SIGNATURE):
                    server.sendall(_HEADER.pack(*_header(b"AUTH", _TOKEN, 0, bytes(20))) + bytes(20))

    def _pump(self, link: _Link, source: socket.socket, target: socket.socket, pushing: bool) -> None:
        with contextlib.suppress(OSError):
            for header, payload in _messages(source):
                link.see(header, payload, pushing)
                self._flowing.wait()
                if header[0] == b"CNXN" and not pushing:
                    payload = b"device::" + self._banner + payload[payload.index(b"features=") :]
                    header = _header(*header[:3], payload)
                target.sendall(_HEADER.pack(*header) + payload)
        for end in (source, target):
            with self._lock:
                self._open.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def count(self, kind: str, size: int) -> None:
        cut = self._cut
        if cut and cut.kind == kind and not cut.is_set():
            cut.passed += size
            if isinstance(cut.what, int) and cut.passed >= cut.what:
                self._make(cut)

    def begun(self, command: str) -> None:
        self.commands.append(command)
        cut = self._cut
        if cut and cut.kind == "command" and isinstance(cut.what, str) and cut.what in command and not cut.is_set():
            threading.Timer(cut.after_s, self._make, [cut]).start()

    def _make(self, cut: Cut) -> None:
        self.drop()
        cut.set()


class _Link:
    """What is open on one connection."""

    def __init__(self, cable: Cable) -> None:
        self._cable = cable
        self._syncs: set[int] = set()  # the server's numbers of streams

    def see(self, header: _Header, payload: bytes, pushing: bool) -> None:
        command, sender, receiver = header[:3]
        stream = sender if pushing else receiver
        if command == b"OPEN" and pushing:
            service = payload.rstrip(b"\0").decode(errors="replace")
            name, _, rest = service.partition(":")
            if name == "sync":
                self._syncs.add(stream)
            elif name.split(",")[0] in ("shell", "exec"):
                self._cable.begun(rest)
        elif command == b"WRTE" and stream in self._syncs:
            self._cable.count("push" if pushing else "pull", len(payload))
        elif command == b"CLSE":
            self._syncs.discard(stream)


def _messages(source: socket.socket) -> Iterator[tuple[_Header, bytes]]:
    """Yield messages as they come; one that was begun is waited for."""
    while True:
        header = _HEADER.unpack(_exactly(source, _HEADER.size))
        yield header, _exactly(source, header[3])


def _header(command: bytes, arg0: int, arg1: int, payload: bytes) -> _Header:
    magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
    return command, arg0, arg1, len(payload), sum(payload), magic


def _exactly(source: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = source.recv(min(_AT_ONCE, size - len(data)))
        if not piece:
            raise ConnectionError
        data += piece
    return bytes(data)
