"""The traces of a measurement: what each set decides about every validation image, found once and kept.

The artifacts answer on this machine; a target that hands out what parts compute answers some of the images itself, so
that its answers and its routing can be held against these.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.elsewhere import trace_there
from edge_moe.benchmarks.journal import Journal
from edge_moe.benchmarks.recorded import Checked, StoredTrace
from edge_moe.benchmarks.request import Request
from edge_moe.benchmarks.sound import trace_problem
from edge_moe.bundle import ArtifactSet
from edge_moe.progress import Progress, track
from edge_moe.records import sha256
from edge_moe.runtime import Runtime
from edge_moe.tensors import Tensors
from edge_moe.trace import Trace, record

__all__ = ["route_all"]


def route_all(
    request: Request, tensors: Tensors, journal: Journal | None, progress: Progress
) -> tuple[list[Trace], list[Checked | None]]:
    """Return for each set the trace that it is costed with, and what the target itself answered; None: it does not.

    Raises:
        BackendError: an artifact failed.
    """
    deciding = {one.key: one for one in request.routed_by}
    found = {key: _trace(request, one, tensors, journal, progress) for key, one in deciding.items()}
    asked = not request.target.is_here and request.target.hands_out and request.options.checked_images > 0
    checked = [_checked(request, one, tensors, journal, progress) if asked else None for one in request.sets]
    return [found[one.key] for one in request.routed_by], checked


def _trace(
    request: Request, artifacts: ArtifactSet, tensors: Tensors, journal: Journal | None, progress: Progress
) -> Trace:
    """Run every part on every image, or take what an earlier sitting found."""
    name, manifest = _name("trace", artifacts), request.bundle.manifest
    kept = journal.get(name, StoredTrace, _fits(name, len(tensors), request)) if journal else None
    if kept is not None:
        return kept.restored()
    with Runtime(request.bundle, backend=artifacts.backend, recipe=artifacts.recipe.name) as runtime:
        images = track(tensors, f"measuring {artifacts.key}", len(tensors), progress)
        found = record(runtime.part, manifest.experts, manifest.ensemble, manifest.space, images)
    if journal:
        journal.put(name, StoredTrace.of(found))
    return found


def _checked(
    request: Request, artifacts: ArtifactSet, tensors: Tensors, journal: Journal | None, progress: Progress
) -> Checked:
    """Have the target answer some of the images, drawn by the seed, or take what an earlier sitting found."""
    who = request.target.answers_as()
    name = _name("there", artifacts) + (f"-{sha256(who.encode())[:12]}" if who else "")
    chosen = drawn(len(tensors), request.options.checked_images, request.options.seed)
    fits = _fits(name, len(chosen), request)
    kept = journal.get(name, StoredTrace, fits) if journal else None
    if kept is None:
        step = f"checking {artifacts.key} on {request.target.name}"
        images = list(track((tensors[int(index)] for index in chosen), step, len(chosen), progress))
        kept = StoredTrace.of(trace_there(request.target.outputs, request.bundle, artifacts, images))
        if journal:
            journal.put(name, kept)
    return Checked(images=tuple(chosen.tolist()), trace=kept)


def drawn(images: int, count: int, seed: int) -> npt.NDArray[np.intp]:
    """Return which of N images are taken where not all are: drawn by the seed, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(images)[:count])


def _fits(name: str, n: int, request: Request) -> Callable[[StoredTrace], bool]:
    manifest = request.bundle.manifest
    return lambda stored: trace_problem(name, stored, n, manifest.experts, len(manifest.labels)) is None


def _name(what: str, artifacts: ArtifactSet) -> str:
    return f"{what}-{artifacts.backend}-{artifacts.recipe.name}"
