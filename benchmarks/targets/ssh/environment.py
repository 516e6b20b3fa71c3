"""The environment of a board: wheels for its Python and its processor, unpacked here and sent over.

Nothing is installed on the board, which needs neither pip nor a network: Python and room for some folders in the user's
cache. Wheels are those that this machine's pip finds for the board; of packages that are here, the versions that are
here, if there is a wheel of them for the board.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge_moe.backends import table
from edge_moe.benchmarks.set_up import Item, SetUp
from edge_moe.benchmarks.targets.ssh.connection import Board, Connection, below, packed
from edge_moe.errors import BackendError, DataError
from edge_moe.progress import Progress
from edge_moe.records import sha256

__all__ = ["BACKENDS", "OLDEST", "BoardSetUp", "problem"]

OLDEST = (3, 11)
# Those whose wheel needs no torch: a board that runs ExecuTorch's wheel would have to carry that, too.
BACKENDS = ("litert", "onnx")
_CORE = "core"
# What the library and the harness import there; of a backend what its extra names.
_NEEDED = {_CORE: ("numpy", "msgspec", "Pillow", "psutil", "threadpoolctl")} | {
    name: one.executes[:1] for name in BACKENDS if (one := table.record(name)) is not None
}
_ABOUT_BYTES = {_CORE: 40 << 20, "litert": 16 << 20, "onnx": 24 << 20}  # to fetch, at most: aarch64, late in 2026
_FIRST_GLIBC = 17  # 2.17, of the oldest wheels


class BoardSetUp(SetUp):
    """The folders of one board."""

    def __init__(self, connection: Connection, board: Board) -> None:
        """`board`: what it said of itself."""
        super().__init__(Path(board.folder))
        self._connection, self._board = connection, board
        self.items = tuple(
            Item(
                name=name,
                version=f"({', '.join(needed)})",
                bytes=_ABOUT_BYTES[name],
                made_from=sha256(msgspec.json.encode((list(map(_as_here, needed)), board.python[:2], board.machine))),
            )
            for name, needed in _NEEDED.items()
        )

    @property
    def where(self) -> str:
        """The folder, for people."""
        return f"{self.folder} on {self._connection.host}"

    @property
    def kept_bytes(self) -> int:
        """Of all that lies there."""
        return sum(int(one.get("unpacked", 0)) for one in self._board.brought.values())

    def is_there(self, item: Item) -> bool:
        """Return whether the item was brought as it is now."""
        brought = self._board.brought.get(item.name)
        return isinstance(brought, dict) and brought.get("made_from") == item.made_from

    def install(self, progress: Progress) -> None:
        """Bring what is not there; may be stopped and repeated."""
        step = f"setting up {self._connection.host}"
        missing = [item for item in self.items if not self.is_there(item)]
        progress.start(step, len(self.items), len(self.items) - len(missing))
        failed: list[str] = []
        for item in missing:
            try:
                self._send(item, progress)
            except DataError as error:
                if item.name == _CORE:  # nothing works without
                    raise
                failed.append(f"{item.name}: {error}")
            progress.advance(step, item.name)
        if failed:
            raise DataError(f"{'; '.join(failed)}; all else is set up")

    def bring(self, item: Item, folder: Path) -> None:
        """Unpack the item's wheels into a folder here."""
        core = [] if item.name == _CORE else [f"numpy=={self._board.brought[_CORE]['numpy']}"]
        wanted = list(_NEEDED[item.name])
        try:
            _pip(self._board, [*core, *map(_as_here, wanted)], folder)
        except DataError:  # of the board's Python there are other wheels than of this one
            shutil.rmtree(folder)
            folder.mkdir()
            _pip(self._board, [*core, *wanted], folder)

    def remove(self) -> None:
        """Remove all of it."""
        if self._connection.ask("remove")["left"]:
            raise BackendError(f"{self.where} cannot be removed; look what holds it")

    def _send(self, item: Item, progress: Progress) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "site"
            folder.mkdir()
            self.bring(item, folder)
            brought: dict[str, Any] = {"made_from": item.made_from, "numpy": _version(folder, "numpy")}
            if item.name != _CORE:
                for entry in self._board.brought[_CORE]["entries"]:  # it has them already
                    _remove(folder / entry)
            brought["entries"] = sorted(one.name for one in folder.iterdir())
            files = {name.removeprefix("./"): file for name, file in below(folder, ".").items()}
            package, unpacked = packed(files)
        brought["unpacked"] = unpacked
        request = {"name": item.name, "unpacked": unpacked, "brought": brought}
        line = self._connection.begin("bring", package, progress, **request)
        try:
            line.line()
        finally:
            line.end()
        self._board.brought[item.name] = brought


def problem(board: Board) -> str:
    """Return why a board cannot be used, set up or not; nothing where it can."""
    version = ".".join(map(str, board.python))
    if board.python[:2] < OLDEST or board.implementation != "CPython":
        return (
            f"its python3 is {board.implementation} {version}; expected CPython {'.'.join(map(str, OLDEST))} or newer: "
            "update its system"
        )
    if board.system != "Linux":
        return f"it is {board.system}; expected Linux"
    if board.libc[0] != "glibc":
        return "its C library is not glibc, for which backends have no wheels; expected a system such as Debian"
    if board.bits != 64:
        return (
            f"its Python is a 32-bit one ({board.machine}), for which there are no wheels of the backends; expected a "
            "64-bit system, such as Raspberry Pi OS (64-bit)"
        )
    return ""


def _as_here(name: str) -> str:
    """Return the requirement of the version that is here."""
    try:
        return f"{name}=={importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name


def _pip(board: Board, requirements: Sequence[str], folder: Path) -> None:
    """Unpack wheels for the board, and of what they need.

    Raises:
        DataError: they cannot be had.
    """
    newest = int(board.libc[1].split(".")[1])
    version = ".".join(map(str, board.python[:2]))
    minors = range(newest, _FIRST_GLIBC - 1, -1)
    platforms = [*(f"manylinux_2_{minor}_{board.machine}" for minor in minors), f"manylinux2014_{board.machine}"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
    command += [word for one in platforms for word in ("--platform", one)]
    done = subprocess.run([*command, "--target", str(folder), *requirements], capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise DataError(
            f"wheels of {', '.join(requirements)} for Python {version} on {board.machine} cannot be had: {said}; "
            "connect to a network that reaches PyPI, and repeat"
        )


def _version(folder: Path, name: str) -> str:
    (found,) = folder.glob(f"{name}-*.dist-info")
    return found.name.removesuffix(".dist-info").partition("-")[2]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
