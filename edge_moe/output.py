"""Writing results so that a killed run leaves nothing that looks finished, and loses nothing that was.

A result is made in `NAME.partial` beside its target and renamed when it is whole.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_moe.errors import OutputError

__all__ = [
    "check_target",
    "fresh_partial",
    "partial_path",
    "publish",
    "remove_half_written",
    "write_file",
    "writing",
]


def partial_path(target: Path) -> Path:
    """Return the folder in which `target` is made."""
    return target.with_name(target.name + ".partial")


def check_target(target: Path, *, force: bool, reads: Iterable[str | Path | None] = ()) -> None:
    """Raise OutputError if `target` is there and `force` is not given, or if its place cannot be written.

    An existing folder is only replaced when it is empty or holds what edge-moe wrote (a manifest, a config, results),
    and never when something that the command `reads` is in it: that would be gone, and `force` did not mean it.
    """
    with writing(target):
        if os.path.lexists(target) and not force:
            raise OutputError(f"{target} exists already; choose another target or add --force to replace it")
        if os.path.lexists(target) and not target.is_dir():
            raise OutputError(f"{target} is a file; expected the name of a folder to make")
        if target.is_dir() and any(target.iterdir()) and not any(_is_ours(target / name) for name in _OURS):
            raise OutputError(f"{target} holds files that edge-moe did not write; choose another target")
        if target.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise OutputError(f"{target} is, or contains, the current folder; choose another target")
        for path in _inside(target, reads):
            raise OutputError(f"{target} is, or contains, {path}, which is read; choose another target")
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


_OURS = ("manifest.json", "config.json", "results.json", "report.html", "simulation.json")


def _is_ours(file: Path) -> bool:
    # Many programs write a config.json; all of ours have a schema version, damaged ones too.
    return file.is_file() and b'"schema_version"' in file.read_bytes()


def fresh_partial(target: Path) -> Path:
    """Make the folder in which `target` is made, empty, and return it.

    Raises:
        OutputError: no space, no permission.
    """
    partial = partial_path(target)
    with writing(partial):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    return partial


def publish(partial: Path, target: Path) -> None:
    """Rename the finished folder `partial` to `target`; what was there before goes only when the new one stands."""
    old = target.with_name(f".{target.name}.old")  # hidden: a NAME.old may be somebody's own
    with writing(target):
        replaces = os.path.lexists(target)
        if replaces:
            _remove(old)
            target.rename(old)
        try:
            partial.rename(target)
        except OSError:
            if replaces:
                old.rename(target)
            raise
    if replaces:
        with suppress(OSError):  # the new one stands; what is left of the old one goes with the next
            _remove(old)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def write_file(file: Path, data: bytes) -> None:
    """Write `data` to `file` whole or not at all (beside it first, then renamed).

    Raises:
        OutputError: no space, no permission.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
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
        advice = "free some space and run again" if error.errno == errno.ENOSPC else "choose another target"
        raise OutputError(f"cannot write {target}: {error.strerror or error}; {advice}") from error
