"""The way to a board: the user's own ssh, with the user's own configuration and keys, and never a question asked.

On the board one program is started, a Python that reads what it is to do from its input, so that nothing depends on the
login shell, and nothing has to be installed before.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from edge_moe.benchmarks.line import Line
from edge_moe.benchmarks.targets.ssh import there
from edge_moe.errors import BackendError, UsageError
from edge_moe.progress import Progress

__all__ = ["Board", "Connection", "below", "packed"]

_SSH = "ssh"
# -T, no terminal; and nothing that waits for a person.
_OPTIONS = ("-T", *(word for option in (
    "BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "RemoteCommand=none", "ClearAllForwardings=yes"
) for word in ("-o", option)))  # fmt: skip
_PYTHON = 'exec python3 -Iuc "import sys;exec(open(0,chr(114)+chr(98),0,closefd=False).readline())"'
_MOST_CHATTER = 1000  # lines that a login may print before
_BLOCK = 1 << 18
_LONGEST = 300  # characters of what a board says last
_NOT_SSH, _NO_COMMAND = 255, 127  # exit codes: of ssh for its own failures, of a shell


class Board(msgspec.Struct, frozen=True):
    """What a board says of itself, see there.py."""

    python: tuple[int, int, int]
    implementation: str
    machine: str
    bits: int
    system: str
    libc: tuple[str, str]
    boot: str
    identity: str
    cpuinfo: str
    free: int
    folder: str
    brought: dict[str, Any]


class Connection:
    """To one board, by the name that the user's ssh knows it by."""

    def __init__(self, name: str, host: str) -> None:
        """`name`: of the target, for errors; `host`: what ssh is given.

        Raises:
            UsageError: that is no host.
        """
        if host.startswith("-") or re.search(r"\s|[^ -~]", host):
            raise UsageError(f"{host!r} is no host; expected what you would give to ssh, such as ssh:pi@raspberrypi")
        self.name, self.host = name, host

    def ask(self, what: str, progress: Progress | None = None, **request: Any) -> Any:
        """Have the board do something small, and return what it says.

        Raises:
            BackendError: it cannot be reached, or cannot do it; says what to do.
        """
        line = self.begin(what, b"", progress, **request)
        try:
            return msgspec.json.decode(line.line())
        finally:
            line.end()

    def begin(self, what: str, package: bytes, progress: Progress | None = None, **request: Any) -> Line:
        """Have the board begin something, hand over a package of files, and return the connection to it.

        Args:
            what: see there.py.
            package: see `packed`.
            progress: told how much has gone over.
            request: what else the board has to know.

        Raises:
            BackendError: it cannot be reached; says what to do.
        """
        if shutil.which(_SSH) is None:
            raise BackendError(f"{self.name} cannot be reached: there is no ssh here; install OpenSSH's client")
        code = zlib.compress(f"{Path(there.__file__).read_text()}\nmain()\n".encode())
        start = b"import base64,zlib;exec(zlib.decompress(base64.b64decode(b'%s')))\n" % base64.b64encode(code)
        header = json.dumps({"do": what, "bytes": len(package), **request}).encode() + b"\n"
        line = Line([_SSH, *_OPTIONS, "--", self.host, _PYTHON], self.name, explain=self._explained)
        try:
            line.write([start])
            for _ in range(_MOST_CHATTER):
                if line.line() == there.MARK.encode():
                    break
            else:
                raise BackendError(
                    f"{self.name} prints without an end when somebody logs in; expected no more than words"
                )
            # As one, into which nothing that says that we are here can come.
            line.write(chain([header], _told(package, f"sending to {self.name}", progress)))
        except BaseException:
            line.end()
            raise
        line.beats = what == "answer"
        return line

    def _explained(self, code: int, words: str) -> str:
        """Return what is wrong, and what to do, by what ssh and the board said last."""
        last = "".join(filter(str.isprintable, words.splitlines()[-1]))[:_LONGEST]
        if code == _NO_COMMAND and "python3" in words:
            return f"there is no python3; install Python 3.11 or newer on it ({last})"
        if code != _NOT_SSH:
            return last
        own = re.search(r"ssh-keygen .*-R .*", words)  # ssh's own advice, which knows under which name a key is known
        forget = own[0].strip() if own else f"ssh-keygen -R {self.host.rpartition('@')[2]}"
        for pattern, advice in _ADVICE:
            if re.search(pattern, words, re.IGNORECASE):
                return advice.format(host=self.host, last=last, forget=forget)
        return f"{last}; try: ssh {self.host} true"


_ADVICE = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is another than before; if you know why, forget the old one: {forget}",
    ),
    (
        "Host key verification failed",
        "its host key is not known here yet; connect once by hand, and accept it: ssh {host}",
    ),
    (
        "Permission denied",
        "it does not let you in without a password or a passphrase ({last}); give it your key: ssh-copy-id {host}, and "
        "the passphrase to your agent: ssh-add",
    ),
    ("Could not resolve hostname", "there is no host of that name ({last}); expected what you would give to ssh"),
    (
        "Connection (refused|timed out)|No route to host|Network is unreachable|Operation timed out",
        "it cannot be reached ({last}); is it on, in this network, with ssh switched on?",
    ),
    (
        "closed by remote host|Connection reset|Broken pipe|not responding",
        "the connection was lost ({last}); repeat the command to go on",
    ),
)


def packed(files: Mapping[str, Path | bytes]) -> tuple[bytes, int]:
    """Return a packed tar of files, by their names there, and how many bytes they take unpacked; links are followed."""
    buffer, size = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
            size += len(data)
    return buffer.getvalue(), size


def below(folder: Path, name: str, pattern: str = "*") -> dict[str, Path]:
    """Return the files below a folder, by what they are called below `name`."""
    found = sorted(one for one in folder.rglob(pattern) if one.is_file())
    return {f"{name}/{one.relative_to(folder).as_posix()}": one for one in found}


def _told(package: bytes, step: str, progress: Progress | None) -> Iterator[bytes]:
    blocks: Sequence[bytes] = [package[place : place + _BLOCK] for place in range(0, len(package), _BLOCK)]
    if progress is not None and blocks:
        progress.start(step, len(blocks))
    for block in blocks:
        yield block
        if progress is not None:
            progress.advance(step)
