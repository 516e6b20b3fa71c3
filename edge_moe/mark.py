"""Whose unfinished work a folder holds: the mark in it, and what is said where it is another's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_moe.errors import OutputError
from edge_moe.ledger import SCAFFOLD, works
from edge_moe.records import sha256
from edge_moe.text import is_text, printable

__all__ = ["MARK", "Mark", "others_work", "plan_digest", "read_mark", "settings"]

MARK = "mark.json"
_LONGEST = 300  # characters of a setting that is kept as it is, to be shown when it is another
# What marked the last release's; the last three are what it left of a conversion that failed.
_OLDER = {"plan.json": "training", "run.json": "measurement"} | dict.fromkeys(
    ("parts", "parity.md", "parity.json", "convert.log"), "conversion"
)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """mark.json."""

    tool: Literal["edge-moe"] = "edge-moe"
    version: str
    command: str  # "edge-moe train"
    plan: str  # digest of all that decides what is made
    settings: dict[str, Any]  # the plan's, by dotted names; of long ones a digest
    since: str  # ISO 8601
    sittings: int  # how often it was taken up
    own: tuple[str, ...]  # patterns of what the command leaves in the folder; all else is somebody's


def plan_digest(plan: Any) -> str:
    """Return the digest of a plan, whatever the order in which its fields were written."""
    return sha256(_encoded(plan))


def _encoded(plan: Any) -> bytes:
    try:
        return msgspec.json.encode(plan, order="deterministic")
    except UnicodeEncodeError:  # the name of a file, or of a folder above it, holds bytes that are no UTF-8
        return msgspec.json.encode(_escaped(msgspec.to_builtins(plan)), order="deterministic")


def _escaped(plan: Any) -> Any:
    if isinstance(plan, dict):
        return {_escaped(key): _escaped(value) for key, value in plan.items()}
    if isinstance(plan, list | tuple):
        return [_escaped(value) for value in plan]
    return printable(plan) if isinstance(plan, str) and not is_text(plan) else plan


def settings(plan: Any, name: str = "") -> dict[str, Any]:
    """Return the fields of nested records by dotted names; of those that are long, a digest."""
    plan = msgspec.to_builtins(plan)
    if isinstance(plan, dict):
        inner = (settings(value, f"{name}.{key}" if name else str(key)) for key, value in plan.items())
        return {key: value for one in inner for key, value in one.items()}
    text = _encoded(plan)
    return {name: msgspec.json.decode(text) if len(text) <= _LONGEST else f"sha256:{sha256(text)}"}


def read_mark(folder: Path, target: Path) -> Mark | None:
    """Return the mark in the `folder` in which `target` is to be made; None if there is no folder, or nothing in it.

    Raises:
        OutputError: it is not edge-moe's, or not this version's.
    """
    if not os.path.lexists(folder):
        return None
    if folder.is_symlink() or not folder.is_dir():
        raise OutputError(
            f"{folder} is no folder of edge-moe, and {target} is made in one of that name; rename it, or choose "
            "another target"
        )
    file = folder / SCAFFOLD / MARK
    if file.is_file():
        try:
            return msgspec.json.decode(file.read_bytes(), type=Mark)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise OutputError(
                f"{file} is damaged, so nobody knows whose unfinished work {folder} holds; {_or_drop(folder)}"
            ) from None
    names = sorted(one.name for one in folder.iterdir() if one.name != SCAFFOLD)
    if not names:  # as a kill between two steps leaves it
        return None
    older = next((what for name, what in _OLDER.items() if name in names), None)
    if older:
        raise OutputError(
            f"{folder} holds an unfinished {older} of an older edge-moe, in which this one cannot tell what is whole; "
            f"finish it with that version, {_or_drop(folder)}"
        )
    more = ", ..." if len(names) > 2 else ""
    raise OutputError(
        f"{folder} holds files that edge-moe did not write ({', '.join(names[:2])}{more}), and {target} is made in a "
        "folder of that name; rename it, or choose another target"
    )


def others_work(
    folder: Path, mark: Mark, command: str, now: dict[str, Any], explain: Callable[[str], str] = lambda _: ""
) -> OutputError:
    """Say whose work `folder` holds, and the first of the settings `now` that is another.

    `explain`: is told that setting, and may say it in words of its own.
    """
    if mark.command != command:
        done = works(folder)
        more = f" and {len(done) - 1} more" if len(done) > 1 else ""
        words = f"({done[0]}{more}); repeat that command to go on with it"
    else:
        key = next((key for key in now if key not in mark.settings or mark.settings[key] != now[key]), "")
        words = explain(key) or f"with other settings ({_change(key, mark.settings, now)}); repeat that command"
        words += " to go on"
    return OutputError(f"{folder} holds an unfinished run of '{mark.command}' {words}, {_or_drop(folder)}")


def _change(key: str, then: dict[str, Any], now: dict[str, Any]) -> str:
    if not key:
        return "of another version"
    name, before, after = key.rpartition(".")[2], then.get(key), now[key]
    if any(isinstance(value, str) and value.startswith("sha256:") for value in (before, after)):
        return f"other {name}"
    return f"{name} was {before}, now {after}"


def _or_drop(folder: Path) -> str:
    return f"choose another target, or drop that work: rm -r {shlex.quote(str(folder))}"
