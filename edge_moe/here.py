"""Can a set of artifacts run on this machine? Decided here, for everything that opens sets."""

from __future__ import annotations

from edge_moe.errors import BackendError
from edge_moe.manifest import ArtifactSet, Manifest, RunsOn
from edge_moe.processor import this_processor

__all__ = ["npus", "pick", "unmet"]


def npus() -> tuple[str, ...]:
    """Return the names of the NPUs that a backend of today can use here: none."""
    return ()


def unmet(runs_on: RunsOn) -> str | None:
    """Return in words what this machine lacks; None: the set can run here, as far as can be known."""
    if runs_on.npu is not None and runs_on.npu not in npus():
        return f"it needs the NPU {runs_on.npu}, which is not here"
    if not runs_on.processor:
        return None
    there = this_processor().flags
    if not there:
        return f"it needs a processor with {', '.join(runs_on.processor)}, and this system does not say what its has"
    lacking = [name for name in runs_on.processor if name not in there]
    return f"it needs a processor with {', '.join(lacking)}, which this one has not" if lacking else None


def pick(manifest: Manifest, backend: str | None = None, recipe: str | None = None) -> ArtifactSet:
    """Return the first set of `backend` and `recipe` (None: any) that can run here.

    Raises:
        UsageError: the bundle has no such set.
        BackendError: none of these can run here; says why.
    """
    candidates = manifest.matching(backend, recipe)
    why = []
    for one in candidates:
        problem = unmet(one.runs_on)
        if problem is None:
            return one
        why.append(f"{one.key} cannot run here: {problem}")
    others = [str(one.key) for one in manifest.sets if one not in candidates and unmet(one.runs_on) is None]
    advice = f"choose {' or '.join(others)}" if others else "convert with a recipe that this machine can run"
    raise BackendError(f"{'; '.join(why)}; {advice}")
