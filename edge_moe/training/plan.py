"""What a run is to make, and taking up the folder in which an interrupted run left off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import TrainingConfig
from edge_moe.errors import OutputError, UsageError
from edge_moe.nn import Architecture
from edge_moe.output import write_file, writing
from edge_moe.training.record import RECORD, DataRecord, first_difference, read_record

__all__ = ["PLAN", "Plan", "take_up"]

PLAN = "plan.json"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run makes.

    Runs with equal plans make equal checkpoints, byte for byte, on one machine with the same numbers of threads and
    of `workers`; the number of threads a process has, and with it `jobs`, changes the order of additions.
    """

    architecture: Architecture
    experts: Annotated[int, msgspec.Meta(ge=0)]  # 0: the base alone
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    config: TrainingConfig

    def __post_init__(self) -> None:
        """Keep of the choices those that decide something: what is planned is what will be recorded."""
        msgspec.structs.force_setattr(self, "config", self.config.carried_out(self.experts))

    def check(self) -> None:
        """Raise UsageError where nothing would be trained."""
        if not self.experts and self.config.finetune == "none":
            raise UsageError(
                "nothing would be trained: no experts are asked for, and finetune=none keeps the base as it is; use "
                "'edge-moe import' to make a checkpoint of the base alone"
            )


def take_up(partial: Path, plan: Plan, record: DataRecord, *, force: bool) -> None:
    """Make the folder `partial`, or keep it as an interrupted run with the same plan left it, on the same images.

    The work of another plan, or on other images, goes only with `force`. A run that made nothing yet does not count:
    it may have failed at its settings, and is repeated with better ones.

    Raises:
        OutputError: `partial` holds the work of another plan or on other images, and `force` is not given; or it
            cannot be written.
    """
    file = partial / PLAN
    with writing(partial):
        if file.is_file():
            left, images = _read(file), read_record(partial / RECORD)
            if left == plan and images == record:
                return
            scaffold = (PLAN, RECORD)
            worked = any(other.name not in scaffold and not other.name.startswith(".") for other in partial.iterdir())
            if worked and not force:
                other = _other_images(images, record) if left == plan else _other_settings(left, plan)
                raise OutputError(f"{partial} holds an unfinished run {other} to go on, or add --force to start over")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    write_file(partial / RECORD, msgspec.json.encode(record))
    write_file(file, msgspec.json.encode(plan))


def _read(file: Path) -> Plan | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except msgspec.MsgspecError:
        return None


def _other_settings(left: Plan | None, plan: Plan) -> str:
    before, now = ({} if it is None else dict(_flat(msgspec.to_builtins(it))) for it in (left, plan))
    for key, value in now.items():
        if before and before[key] != value:
            found = "other classes" if key == "labels" else f"{key} was {before[key]}, now {value}"
            return f"with other settings ({found}); repeat that command"
    return "with other settings; repeat that command"


def _other_images(left: DataRecord | None, record: DataRecord) -> str:
    if left is None:
        return "without a whole record of its images (an older edge-moe kept none); finish it with that"
    return f"on other images ({first_difference(left, record)}); bring the images back that it started on"


def _flat(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the records in `value` that are no records; field names do not repeat."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item)
        else:
            yield key, item
