"""A promise on a device's own images, which nobody has labelled: how often early exit changes the answer.

Every image is answered as at tau = 0, and by fewer experts: base, gate and the likeliest experts run once each.

Axis letters: K experts, M max_experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_moe.backends import OpenPart
from edge_moe.bundle import Manifest, expert_name
from edge_moe.certificates import certify
from edge_moe.errors import DataError, UsageError
from edge_moe.evaluate import Outputs
from edge_moe.fingerprints import fingerprint
from edge_moe.operating import Certificate
from edge_moe.preprocess import Source, normalize, resize_crop, to_rgb
from edge_moe.promise import Kept, Ladder, Promise, keep
from edge_moe.trace import Trace, joined, trace

__all__ = ["Recalibrated", "recalibrate", "too_few"]


class Answering(Protocol):
    """What is needed of a Runtime."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""

    @property
    def digest(self) -> str:
        """Of all that decides its answers."""

    @property
    def max_experts(self) -> int:
        """How many experts may run for one sample."""

    def part(self, name: str) -> OpenPart:
        """Return a part, to run it by itself."""


@dataclass(frozen=True)
class Recalibrated:
    """The largest tau that keeps the promise, what it follows from, and the certificate of it."""

    tau: float
    max_experts: int
    kept: Kept
    certificate: Certificate


def recalibrate(runtime: Answering, images: Iterable[Source], promise: Promise) -> Recalibrated:
    """Find the largest tau that keeps a promise on these images, at the runtime's max_experts.

    Args:
        runtime: what answers; its tau does not matter, and stays.
        images: drawn as those will be that come; each a file, a PIL image, or a uint8 array.
        promise: by the rule "changed", which needs no labels.

    Raises:
        UsageError: another rule, or the bundle is a plain network.
        DataError: an image cannot be read, there are none, or too few to promise that.
    """
    manifest = runtime.manifest
    if not manifest.experts:
        raise UsageError("the bundle is a plain network: without experts every image gets the base's answer at any tau")
    if promise.needs_labels:
        raise UsageError(
            f"'{promise}' needs labels, which a device's own images have not; expected 'changed<=...', or labelled "
            "images and 'edge-moe choose --promise'"
        )
    seen, rows = list[str](), list[Trace]()
    for outputs in _answers(runtime, images, seen):
        rows.append(trace(outputs, manifest.ensemble, manifest.space))
    if not rows:
        raise DataError("there are no images to recalibrate on; expected at least one")
    kept = keep(Ladder.of(joined(rows), runtime.max_experts), promise)
    if not kept.enough:
        raise DataError(too_few(kept))
    return Recalibrated(kept.tau, runtime.max_experts, kept, certify(kept, runtime.digest, seen))


def too_few(kept: Kept, families: int = 1) -> str:
    """Say what so few images could promise at most, and how many it takes."""
    count, what = (kept.samples, "images") if kept.groups is None else (kept.groups, "originals")
    among = "" if families == 1 else f", each of {families} answers at its share of that"
    return (
        f"{count:,} {what} are too few for {kept.promise}: were none of them lost, they could promise "
        f"{100 * kept.most:.2g} points at {100 * (1 - kept.promise.delta):g}% confidence{among} (0 of {count:,}); "
        f"it takes {kept.needed:,} {what} at least: give more, or promise less"
    )


def _answers(runtime: Answering, images: Iterable[Source], seen: list[str]) -> Iterator[Outputs]:
    """Yield the outputs of image after image, zeros for experts that it does not ask; note which images they were."""
    manifest = runtime.manifest
    base, gate = runtime.part("base"), runtime.part("gate")
    for source in images:
        pixels = resize_crop(to_rgb(source), manifest.preprocessing)
        seen.append(fingerprint(pixels))
        base.invoke(normalize(pixels, manifest.preprocessing)[np.newaxis])
        gate.invoke(base.output("embedding"))
        base_logits, gate_logits, features = base.output("logits"), gate.output("logits"), base.output("features")
        expert_logits = np.zeros((1, manifest.experts, base_logits.shape[1]), np.float32)
        for k in np.argsort(-gate_logits[0], kind="stable")[: runtime.max_experts].tolist():
            expert = runtime.part(expert_name(k))
            expert.invoke(features)
            expert_logits[0, k] = expert.output("logits")[0]
        yield Outputs(base_logits, gate_logits, expert_logits)
