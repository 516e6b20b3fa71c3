"""What an unfinished measurement has found so far: traces and finished rounds, in a folder beside its target.

A round is written when it is whole, so that a run that was killed goes on with the next one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_moe.bundle import sha256
from edge_moe.errors import OutputError
from edge_moe.output import write_file, writing

__all__ = ["Journal", "journal_path"]

T = TypeVar("T")

_KEY = "run.json"


def journal_path(target: Path) -> Path:
    """Return the folder in which the rounds of an unfinished `target` are kept."""
    return target.with_name(target.name + ".unfinished")


class Journal:
    """A folder of JSON files by name."""

    def __init__(self, target: Path, key: Any, *, force: bool) -> None:
        """Open the journal of `target`, or begin it.

        Args:
            target: the folder that will hold the report.
            key: all that the figures depend on; rounds of another key are not mixed with these.
            force: begin anew where there is the journal of another key.

        Raises:
            OutputError: there is one of another key, or the folder cannot be written.
        """
        self.folder = journal_path(target)
        key_file, mine = self.folder / _KEY, sha256(msgspec.json.encode(key, order="deterministic"))
        self.sittings = 1
        before = self._read(key_file, tuple[str, int])
        if before is not None and before[0] == mine:
            self.sittings = before[1] + 1
        elif self.folder.exists() and any(self.folder.iterdir()):
            if not key_file.exists():
                raise OutputError(f"{self.folder} holds files that edge-moe did not write; choose another target")
            if not force:
                raise OutputError(
                    f"{self.folder} holds a run with other settings that is not finished; repeat its command to go on "
                    "with it, or add --force to drop it"
                )
            with writing(self.folder):
                shutil.rmtree(self.folder)
        self._head = (mine, self.sittings)
        write_file(key_file, msgspec.json.encode(self._head))

    def get(self, name: str, type: type[T]) -> T | None:
        """Return what was kept under `name`; None where there is nothing, or nothing that can be read."""
        found: T | None = self._read(self.folder / f"{name}.json", type)
        return found

    def put(self, name: str, value: Any) -> None:
        """Keep `value` under `name`.

        Raises:
            OutputError: no space, no permission.
        """
        write_file(self.folder / f"{name}.json", msgspec.json.encode(value))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found yet."""
        return not self.folder.is_dir() or all(file.name == _KEY for file in self.folder.iterdir())

    def drop_if_empty(self) -> None:
        """Leave nothing behind where nothing was found yet."""
        if self.is_empty:
            self.drop()

    def drop(self) -> None:
        """Forget everything: the report stands."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _read(file: Path, type: Any) -> Any:
        try:
            return msgspec.json.decode(file.read_bytes(), type=type)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
