"""Can a target run a set? Decided here, by what it runs and what its processor has, for all that are elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge_moe.bundle import ArtifactSet
from edge_moe.errors import BackendError

__all__ = ["refuse_unfit"]


def refuse_unfit(
    name: str, sets: Sequence[ArtifactSet], backends: Collection[str], features: Collection[str], who: str
) -> None:
    """Return if a target can run these sets.

    Args:
        name: of the target.
        sets: that are wanted.
        backends: whose artifacts it runs.
        features: of its processor, as manifests name them.
        who: has that processor, for the error: "this phone".

    Raises:
        BackendError: it cannot run one; says why.
    """
    for one in sets:
        lacking = [feature for feature in one.runs_on.processor if feature not in features]
        if one.backend not in backends:
            why = f"{name} runs artifacts of {', '.join(backends)}"
        elif lacking:
            why = f"it needs a processor with {', '.join(lacking)}, which {who} has not"
        elif one.runs_on.npu is not None:
            why = f"it needs the NPU {one.runs_on.npu}"
        else:
            continue
        raise BackendError(f"{one.key} cannot run on {name}: {why}; choose others with --set")
