"""What the native runner is asked for a round: parts by themselves, and the sequences that the exit rule lets run.

The runner knows no rule: from what the parts gave, the rule, here on the host, says what runs.

Axis letters: T timed images, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_moe import backends
from edge_moe.anytime import softmax
from edge_moe.backends import PartTensors, Tensor
from edge_moe.benchmarks.runner.work import Run
from edge_moe.benchmarks.wire import PlannedSet, Ran
from edge_moe.binding import bind
from edge_moe.bundle import PartSpec, expert_name, part_names
from edge_moe.evaluate import decide

__all__ = ["alone", "logits", "ran_by_rule", "rows_by_part", "sequence", "tensors_of"]

_UNSEEN_IMAGES = 3


def alone(planned: PlannedSet, experts: int, *, twice: bool = False) -> list[Run]:
    """Return what is run to cost parts by themselves: of every timed image what it may wake.

    Experts that no timed image needs are run as well, on the first images.

    Args:
        planned: the set.
        experts: K.
        twice: whether the base runs twice each time, as if every other image exited, see targets/host/timing.py.
    """
    order = np.array(planned.order, np.intp).reshape(len(planned.order), -1)
    ranked = order[:, : max(one.max_experts for one in planned.settings)]
    first = (*(("base",) * twice), *part_names(experts)[: 2 if experts else 1])
    runs = [Run(t, (*first, *map(expert_name, sorted(row.tolist()))), whole=False) for t, row in enumerate(ranked)]
    unseen = tuple(expert_name(k) for k in sorted(set(range(experts)) - set(ranked.ravel().tolist())))
    more = min(len(runs), _UNSEEN_IMAGES) if unseen else 0
    return runs + [Run(t, ("base", *unseen), whole=False) for t in range(more)]


def ran_by_rule(base: Tensor, gate: Tensor, tau: float, max_experts: int) -> list[Ran]:
    """[T, Y] and [T, K] logits -> [T] what the exit rule lets each image run."""
    active, gate_ran = decide(softmax(base).max(axis=-1), softmax(gate), tau, max_experts)
    return [
        tuple(np.flatnonzero(row).tolist()) if ran else None for row, ran in zip(active, gate_ran.tolist(), strict=True)
    ]


def sequence(ran: Ran, parts: Container[str]) -> tuple[str, ...]:
    """Return the parts that run for an image, in their order; `parts`: that there are."""
    if ran is None:
        return ("base",)
    return ("base", *(["gate"] if "gate" in parts else []), *map(expert_name, ran))


def logits(outputs: Sequence[Mapping[str, Mapping[str, Tensor]]]) -> tuple[Tensor, Tensor]:
    """Return the logits of base and gate, [T, Y] and [T, K], of what the runner gave for each image."""
    base = np.stack([one["base"]["logits"][0] for one in outputs])
    if any("gate" not in one for one in outputs):
        return base, np.empty((len(base), 0), np.float32)
    return base, np.stack([one["gate"]["logits"][0] for one in outputs])


def rows_by_part(runs: Sequence[Run]) -> dict[str, list[int]]:
    """Return part -> which intervals are its, of runs in which each part has one of its own."""
    rows: dict[str, list[int]] = {}
    for place, part in enumerate(part for run in runs for part in run.parts):
        rows.setdefault(part, []).append(place)
    return dict(sorted(rows.items()))


def tensors_of(backend: str, file: Path, spec: PartSpec) -> PartTensors:
    """Return what goes into an artifact that is in no bundle yet, and what comes out, in its own order."""
    opened = backends.get(backend).open(file.read_bytes())
    try:
        return PartTensors(*bind(opened, spec))
    finally:
        opened.close()
