"""What a run is to make, and taking up the folder in which an interrupted run left off."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import TrainingConfig
from edge_moe.errors import UsageError
from edge_moe.nn import Architecture
from edge_moe.output import write_file
from edge_moe.training.record import RECORD, DataRecord, first_difference, read_record
from edge_moe.work import Work

__all__ = ["TrainingPlan", "take_up"]


class TrainingPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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


def take_up(work: Work, plan: TrainingPlan, record: DataRecord, *, expert: int | None = None) -> None:
    """Make the folder of `work`, or go on as an interrupted run with the same plan left it, on the same images.

    `expert`: the only one that is trained.

    Raises:
        OutputError: it holds work of another plan or on other images, or cannot be written.
    """
    file = work.scaffold(RECORD)

    def explain(setting: str) -> str:
        if not setting.startswith("images."):
            return ""
        left = read_record(file)
        which = first_difference(left, record) if left is not None else ""
        which = which or f"which ones cannot be told: {file} is damaged"
        return f"on other images ({which}); bring the images back that it started on"

    work.take_up({"plan": plan, "expert": expert, "images": record.digest()}, explain=explain)
    if read_record(file) != record:
        write_file(file, msgspec.json.encode(record))
