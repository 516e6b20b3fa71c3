"""What the harness and the app write for each other, see docs/targets.md."""

from __future__ import annotations

from typing import Literal

import msgspec

from edge_moe.errors import BackendError
from edge_moe.records import Count, Strict

__all__ = ["ASK", "ROUNDS", "STATE", "Ask", "State", "read_state"]

ASK, STATE, ROUNDS = "ask.json", "state.json", "rounds.jsonl"
_SCHEMA = 1

Kind = Literal["data", "bundle", "backend", "storage", "memory", "busy", "stopped", "internal"]


class Ask(Strict, frozen=True):
    """ask.json: what is wanted next, and that somebody is there."""

    beat: Count  # another one than before, every few seconds
    line: Count  # how many lines rounds.jsonl has then; 1 is the opening, 0: nothing is asked yet
    what: Literal["round", "sustained", "end"]
    round: Count


class State(Strict, frozen=True):
    """state.json: what becomes of it, and that the app is there."""

    schema_version: int
    state: Literal["waiting", "opening", "running", "done", "failed"]
    lines: Count  # of rounds.jsonl
    beat: Count  # more than before, every few seconds
    problem: str | None  # where it failed: in words for people
    kind: Kind | None


class _Versioned(msgspec.Struct):
    schema_version: int


def read_state(name: str, text: str) -> State:
    """Return what a state.json says.

    Args:
        name: of the target, for errors.
        text: of the file.

    Raises:
        BackendError: it is of another version of the app, or none.
    """
    try:
        version = msgspec.json.decode(text, type=_Versioned).schema_version
        if version != _SCHEMA:
            raise BackendError(
                f"{name} has a demo app that answers by version {version}, and this edge-moe asks by {_SCHEMA}: build "
                "and install the app of this edge-moe (android_demo/README.md)"
            )
        return msgspec.json.decode(text, type=State)
    except msgspec.MsgspecError as error:
        raise BackendError(f"{name} said what is no state of a sweep: {error}; report this") from None
