"""What a path is, where a file that can be read to its end was expected: told before anything waits for it."""

from __future__ import annotations

import stat
from pathlib import Path

__all__ = ["no_file", "why"]

_KINDS = {stat.S_ISFIFO: "a pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device", stat.S_ISSOCK: "a socket"}


def no_file(path: Path) -> str:
    """Return what keeps `path` from being read, in words that follow its name; "" where it is a regular file."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a NUL in it
        return f"cannot be read: {why(error)}"
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "is a folder"
    return f"is no file but {next((words for is_one, words in _KINDS.items() if is_one(mode)), 'something else')}"


def why(error: Exception) -> str:
    """Return in words what went wrong, whatever kind of error it is."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
