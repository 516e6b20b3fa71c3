"""Parts that run on a target, behind the interface of those that run here: to verify, to answer, to route.

Axis letters: N images, K experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from edge_moe.backends import Backend, OpenPart, PartTensors, Tensor
from edge_moe.bundle import GOLDEN_FEED, ArtifactSet, Bundle, PartSpec, expert_name
from edge_moe.comparing import relative_error
from edge_moe.errors import BackendError
from edge_moe.evaluate import Outputs
from edge_moe.records import sha256
from edge_moe.trace import Trace, trace

__all__ = ["Elsewhere", "golden_problem", "run_each", "split_outputs", "trace_there"]

Run = Callable[[Bundle, ArtifactSet, str, Tensor], dict[str, Tensor]]  # see Target.outputs


class Elsewhere(Backend):
    """A backend whose parts are run by a target, one input after the other."""

    suffix = ""

    def __init__(self, name: str, target: str, bundle: Bundle, run: Run) -> None:
        """`name`: of the backend whose artifacts these are; `run`: as `Target.outputs`."""
        self.name = name
        self._target, self._bundle, self._run = target, bundle, run

    def open(self, data: bytes, *, threads: int = 1) -> OpenPart:
        """Return the part of the bundle whose artifact has these bytes; on how many threads is the target's."""
        digest = sha256(data)
        for artifacts in (one for one in self._bundle.manifest.sets if one.backend == self.name):
            for part, artifact in artifacts.parts.items():
                if artifact.sha256 == digest:
                    return _Part(partial(self._run, self._bundle, artifacts, part))
        raise BackendError(f"{self._target} was given an artifact that is not of {self._bundle.path}")

    def version(self) -> str:
        """Return where it runs."""
        return f"{self.name} on {self._target}"


class _Part(OpenPart):
    def __init__(self, run: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self._run, self._found = run, dict[str, Tensor]()

    def invoke(self, tensor: Tensor) -> None:
        self._found = self._run(tensor)

    def output(self, name: str) -> Tensor:
        return self._found[name].copy()

    def tensors(self) -> PartTensors:
        return PartTensors((), ())  # the file is read where it runs

    def close(self) -> None:
        self._found = {}


def run_each(part: OpenPart, names: Sequence[str], inputs: Tensor) -> dict[str, Tensor]:
    """Run an open part on N inputs, one after the other -> its outputs of these names, [N, ...] each."""
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    for x in inputs:
        part.invoke(x[np.newaxis])
        for name, found in rows.items():
            found.append(part.output(name)[0])
    return {name: np.stack(found) for name, found in rows.items()}


def split_outputs(who: str, part: str, spec: PartSpec, count: int, data: bytes) -> dict[str, Tensor]:
    """Return what came back of a part as bytes, each output of all inputs after the other, by name, [N, ...] each.

    Args:
        who: gave them, for the error.
        part: its name.
        spec: its outputs, in their order.
        count: N.
        data: float32, least significant byte first.

    Raises:
        BackendError: there are more bytes, or fewer.
    """
    sizes = {one.name: count * int(np.prod(one.shape)) for one in spec.outputs}
    expected = 4 * sum(sizes.values())
    if len(data) != expected:
        raise BackendError(f"{who} gave {len(data)} bytes of {part}, expected {expected}; report this")
    flat, found = np.frombuffer(data, "<f4"), dict[str, Tensor]()
    for one in spec.outputs:
        size = sizes[one.name]
        found[one.name], flat = flat[:size].reshape(count, *one.shape[1:]), flat[size:]
    return found


def golden_problem(run: Run, bundle: Bundle, artifacts: ArtifactSet) -> str:
    """Return in what a target computes something else than the bundle's golden samples; nothing where it does not.

    Every part once, on all samples that have its outputs: `verify` does more, and starts a process for each.

    Args:
        run: as `Target.outputs`.
        bundle: of the artifacts.
        artifacts: the set.

    Raises:
        BackendError: a part failed there.
        BundleError: there are no golden samples.
    """
    golden = bundle.golden(artifacts)
    for part, spec in bundle.manifest.parts.items():
        wanted = {one.name: f"{part}.{one.name}" for one in spec.outputs}
        feed = GOLDEN_FEED[spec.kind]
        samples = {which: one for which, one in golden.items() if {feed, *wanted.values()} <= one.keys()}
        if not samples:
            return f"{artifacts.key} has no golden sample of {part}; convert again"
        found = run(bundle, artifacts, part, np.concatenate([one[feed] for one in samples.values()]))
        allowed = artifacts.golden.allowed(part)
        for place, (which, one) in enumerate(samples.items()):
            for name, what in wanted.items():
                error = relative_error(found[name][place : place + 1], one[what])
                if not error <= allowed:  # not "error > allowed": NaN is wrong
                    words = f"relative error {error:.1e}, tolerance {allowed:.1e}"
                    return f"{artifacts.key}, {what} of sample {which}: {words}"
    return ""


def trace_there(run: Run, bundle: Bundle, artifacts: ArtifactSet, tensors: Sequence[Tensor]) -> Trace:
    """Return what the artifacts decide about N images where a target runs them: every part once, on all of them.

    Args:
        run: as `Target.outputs`.
        bundle: of the artifacts.
        artifacts: the set.
        tensors: N input tensors, float32 [1, H, W, 3].

    Raises:
        BackendError: a part failed there.
    """
    manifest = bundle.manifest
    base = run(bundle, artifacts, "base", np.concatenate(list(tensors)))
    if not manifest.experts:
        return trace(Outputs.of_base(base["logits"]), manifest.ensemble, manifest.space)
    gate = run(bundle, artifacts, "gate", base["embedding"])
    experts = [run(bundle, artifacts, expert_name(k), base["features"]) for k in range(manifest.experts)]
    outputs = Outputs(base["logits"], gate["logits"], np.stack([one["logits"] for one in experts], axis=1))
    return trace(outputs, manifest.ensemble, manifest.space)
