"""Where results are printed."""

from __future__ import annotations

import sys
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from edge_moe.text import printable

__all__ = ["console", "say", "say_json"]

_WIDTH = 120  # where stdout is no terminal and does not tell


def console() -> Console:
    """Return a console for stdout that neither colours by guessing nor reads [markup] into file names and labels.

    Nor do their control characters reach the terminal, which would take them for commands.
    """
    return _Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)


def say(text: object, *, err: bool = False) -> None:
    """Print to stdout, or stderr, with control characters escaped as by `console`, but no line broken in two."""
    typer.echo(_escaped(str(text)), err=err)


def say_json(value: Any) -> None:
    """Print `value` to stdout as JSON, in which what is no printable character, or none that stdout has, is escaped."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo("".join(one if one == "\n" or _can_be_shown(one, encoding) else _in_json(one) for one in text))


def _can_be_shown(character: str, encoding: str) -> bool:
    try:
        return character.isprintable() and bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def _in_json(character: str) -> str:
    data = character.encode("utf-16-be")
    return "".join(f"\\u{data[at]:02x}{data[at + 1]:02x}" for at in range(0, len(data), 2))


def _escaped(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


class _Console(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(_escaped(text), **how)
