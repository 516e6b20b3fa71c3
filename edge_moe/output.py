"""Where a result may go, and files that are whole or not there.

How a folder is made whole, beside its target, by one process at a time: `edge_moe.work`.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_moe.backends.table import records
from edge_moe.errors import OutputError

__all__ = ["check_target", "partial_path", "reason", "remove_half_written", "write_file", "writing"]


def partial_path(target: Path) -> Path:
    """Return the folder in which `target` is made."""
    return target.parent / f"{target.name}.partial"  # with_name raises where there is no name, as of "."


def check_target(target: Path, *, force: bool, reads: Iterable[str | Path | None] = ()) -> None:
    """Raise OutputError if `target` is there and `force` is not given, or if its place cannot be written.

    An existing folder is only replaced when it is empty or holds what edge-moe wrote (a manifest, a config, results)
    and no file of a kind that it never writes: that would be gone, and `force` did not mean it. Nor when something
    that the command `reads` is in it.
    """
    with writing(target):
        if os.path.lexists(target) and not force:
            raise OutputError(f"{target} exists already; choose another target or add --force to replace it")
        if os.path.lexists(target) and not target.is_dir():
            raise OutputError(f"{target} is a file; expected the name of a folder to make")
        if target.is_dir() and any(target.iterdir()) and not any(_is_ours(target / name) for name in _OURS):
            raise OutputError(f"{target} holds files that edge-moe did not write; choose another target")
        # Of a link, only the link goes.
        if target.is_dir() and not target.is_symlink() and (stranger := _stranger(target)):
            raise OutputError(
                f"{target} holds files that edge-moe did not write ({stranger}); move them, or choose another target"
            )
        if target.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise OutputError(f"{target} is, or contains, the current folder; choose another target")
        for path in _inside(target, reads):
            raise OutputError(f"{target} is, or contains, {path}, which is read; choose another target")
        if target.is_dir() and not target.is_symlink() and (other := _another(target)):
            raise OutputError(f"{target} holds {other}, which another command made; move it, or choose another target")
        parent = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def _inside(target: Path, reads: Iterable[str | Path | None]) -> Iterator[str | Path]:
    # Nothing can be lost where there is no target yet. realpath, since Path.resolve raises on links in a circle.
    for path in reads if target.is_dir() else ():
        if path is not None:
            real = Path(os.path.realpath(path))
            if target.resolve() in (real, *real.parents):
                yield path


_WITH_A_BUNDLE = ("site.json", "packs.json")
_OURS = ("manifest.json", "config.json", "results.json", "report.html", "simulation.json", "site.json", "packs.json")


# What checkpoints, bundles, reports, simulations and pages are made of, in any version, beside the backends' artifacts.
_KINDS = (
    *(".safetensors", ".npz", ".npy", ".json", ".md", ".png", ".csv", ".html"),
    *(".js", ".css", ".svg", ".wasm"),
)
# What asset packs have beside these; in a folder of anything else such a file is somebody's.
_OF_PACKS = ("README.txt", "build.gradle.kts", "AndroidManifest.xml")
_LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")


def _stranger(target: Path) -> str:
    """Return the name of a file in the folder `target` that edge-moe cannot have written; "" if there is none."""
    kinds = (*_KINDS, *(one.suffix for one in records()))
    named = (*_LEFT_BY_SYSTEMS, *(_OF_PACKS if _is_ours(target / "packs.json") else ()))
    for folder, _, files in os.walk(target):
        for name in files:
            if name not in named and (Path(name).suffix not in kinds or name.startswith(".")):
                return os.path.relpath(os.path.join(folder, name), target)  # noqa: PTH118
    return ""


def _another(target: Path) -> str:
    """Return the name of a checkpoint, a bundle or a report inside the folder `target`; "" if there is none.

    Pages and asset packs have a bundle inside.
    """
    if any(_is_ours(target / name) for name in _WITH_A_BUNDLE):
        return ""
    for folder, _, files in os.walk(target):
        if Path(folder) != target and any(name in files and _is_ours(Path(folder, name)) for name in _OURS):
            return os.path.relpath(folder, target)
    return ""


def _is_ours(file: Path) -> bool:
    # Many programs write a config.json; all of ours have a schema version, damaged ones too.
    return file.is_file() and b'"schema_version"' in file.read_bytes()


def write_file(file: Path, data: bytes | BinaryIO, *, ready: Callable[[], None] | None = None) -> None:
    """Write `data`, or all that can be read from it, to `file`, whole or not at all (beside it first, then renamed).

    `ready` is called in between: when the bytes are on the disk, and the name is not theirs yet.

    Raises:
        OutputError: no space, no permission.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as stream:
                if isinstance(data, bytes):
                    stream.write(data)
                else:
                    shutil.copyfileobj(data, stream)
                stream.flush()
                os.fsync(stream.fileno())
            if ready is not None:
                ready()
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)


def remove_half_written(folder: Path, processes: Iterable[int]) -> None:
    """Remove what `write_file` had begun anywhere in `folder` in `processes`, which were killed."""
    for process in processes:
        for file in folder.rglob(f".*.{process}"):
            file.unlink(missing_ok=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the operating system says while `target` is written into an OutputError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or _is_short(error)
        advice = "free some space and run again" if full else "choose another target"
        raise OutputError(f"cannot write {target}: {reason(error)}; {advice}") from error


def reason(error: OSError) -> str:
    """Return in words what the operating system refused."""
    return "the disk is full" if _is_short(error) else error.strerror or str(error)


def _is_short(error: OSError) -> bool:
    """Return whether it is numpy's, which says how many numbers were written, and not why no more."""
    return error.errno is None and " requested and " in str(error)
