"""Can a set of artifacts run on this machine? Decided here, for everything that opens sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edge_moe import backends
from edge_moe.errors import BackendError
from edge_moe.manifest import ArtifactSet, Manifest, RunsOn
from edge_moe.processor import this_processor
from edge_moe.sets import Pattern, in_turn

__all__ = ["able", "pick", "unmet"]

_log = logging.getLogger(__name__)


def unmet(runs_on: RunsOn) -> str | None:
    """Return in words what this machine lacks; None: the set can be answered here, as far as can be known."""
    if runs_on.npu is not None:  # no backend of today can use one; some know what it answers
        emulated = next((one for one in backends.table.records() if one.npu == runs_on.npu), None)
        if emulated is None:
            return f"it needs the NPU {runs_on.npu}, which is not here"
        problem: str | None = backends.missing(emulated.name)
        return problem
    if not runs_on.processor:
        return None
    there = this_processor().flags
    if not there:
        return f"it needs a processor with {', '.join(runs_on.processor)}, and this system does not say what its has"
    lacking = [name for name in runs_on.processor if name not in there]
    return f"it needs a processor with {', '.join(lacking)}, which this one has not" if lacking else None


def pick(manifest: Manifest, wanted: Sequence[Pattern] = ()) -> ArtifactSet:
    """Return the first set that can run here: of those that are `wanted` in the order in which they were named.

    The sets before it, which cannot, are logged.

    Raises:
        UsageError: the bundle has no such set.
        BackendError: none of these can run here; says why.
    """
    there = {one.key: one for one in manifest.sets}
    candidates = [there[key] for key in in_turn(there, wanted)]
    why: list[str] = []
    for one in candidates:
        problem = unmet(one.runs_on)
        if problem is None:
            for line in why:
                _log.info("%s; %s is taken", line, one.key)
            return one
        why.append(f"{one.key} cannot run here: {problem}")
    raise BackendError(f"{'; '.join(why)}; {_advice(manifest, candidates)}")


def able(manifest: Manifest, wanted: Sequence[Pattern] = ()) -> list[ArtifactSet]:
    """Return the sets that are `wanted`, in the bundle's order; of nothing wanted all that can run here.

    Those that cannot are then logged.

    Raises:
        UsageError: the bundle has no such set.
        BackendError: one that is wanted cannot run here, or none can; says why.
    """
    chosen = manifest.select(wanted)
    lacking = {one.key: f"{one.key} cannot run here: {needs}" for one in chosen if (needs := unmet(one.runs_on))}
    found = [one for one in chosen if one.key not in lacking]
    if lacking and (wanted or not found):
        raise BackendError(f"{'; '.join(lacking.values())}; {_advice(manifest, chosen)}")
    for line in lacking.values():
        _log.info("%s; it is left out", line)
    return found


def _advice(manifest: Manifest, refused: Sequence[ArtifactSet]) -> str:
    others = [str(one.key) for one in manifest.sets if one not in refused and unmet(one.runs_on) is None]
    return f"choose {' or '.join(others)}" if others else "convert with a recipe that this machine can run"
