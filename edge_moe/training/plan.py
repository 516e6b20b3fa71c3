"""What a run is to make, and taking up the folder in which an interrupted run left off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge_moe.bundle import Preprocessing
from edge_moe.errors import OutputError
from edge_moe.nn import Architecture
from edge_moe.output import write_file, writing
from edge_moe.training.config import TrainingConfig

__all__ = ["PLAN", "Plan", "take_up"]

PLAN = "plan.json"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run makes.

    Runs with equal plans make equal checkpoints, byte for byte, on one machine with the same numbers of threads and
    of `workers`; the number of threads a process has, and with it `jobs`, changes the order of additions.
    """

    architecture: Architecture
    experts: Annotated[int, msgspec.Meta(ge=1)]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    config: TrainingConfig


def take_up(partial: Path, plan: Plan, *, force: bool) -> None:
    """Make the folder `partial`, or keep it as an interrupted run with the same plan left it.

    The work of another plan goes only with `force`. A run that made nothing yet does not count: it may have failed
    at its settings, and is repeated with better ones.

    Raises:
        OutputError: `partial` holds the work of another plan and `force` is not given, or cannot be written.
    """
    file = partial / PLAN
    with writing(partial):
        if file.is_file():
            left = _read(file)
            if left == plan:
                return
            worked = any(other.name != PLAN and not other.name.startswith(".") for other in partial.iterdir())
            if worked and not force:
                raise OutputError(
                    f"{partial} holds an unfinished run with other settings{_first_difference(left, plan)}; "
                    "repeat that command to go on, or add --force to start over"
                )
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    write_file(file, msgspec.json.encode(plan))


def _read(file: Path) -> Plan | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except msgspec.MsgspecError:
        return None


def _first_difference(left: Plan | None, plan: Plan) -> str:
    if left is None:
        return ""
    before, now = dict(_flat(msgspec.to_builtins(left))), dict(_flat(msgspec.to_builtins(plan)))
    for key, value in now.items():
        if before[key] != value:
            return " (other classes)" if key == "labels" else f" ({key} was {before[key]}, now {value})"
    return ""


def _flat(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the records in `value` that are no records; field names do not repeat."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item)
        else:
            yield key, item
