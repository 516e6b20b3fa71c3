"""A promise on a device's own images, which nobody has labelled: how often early exit changes the answer.

Every image is answered as at tau = 0, and by fewer experts: base, gate and the likeliest experts run once each.

Axis letters: N images, K experts, M max_experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import alpha, ensemble, softmax
from edge_moe.backends import OpenPart
from edge_moe.bundle import Manifest, expert_name
from edge_moe.certificates import certify
from edge_moe.checks import check_several
from edge_moe.decode import Source, to_rgb
from edge_moe.errors import DataError, UsageError
from edge_moe.fingerprints import fingerprint
from edge_moe.operating import Certificate
from edge_moe.preprocess import normalize, resize_crop
from edge_moe.promise import Kept, Ladder, Promise, keep

__all__ = ["Answering", "Recalibrated", "recalibrate", "too_few"]


@dataclass(frozen=True)
class Answering:
    """What answers: the parts of a set."""

    manifest: Manifest
    part: Callable[[str], OpenPart]  # by its name
    digest: str  # of all that decides the set's answers
    max_experts: int  # M
    chose_recipe: Callable[[Sequence[str]], int]  # of images by their fingerprints, how many chose the set's recipe


@dataclass(frozen=True)
class Recalibrated:
    """The largest tau that keeps the promise, what it follows from, and the certificate of it."""

    tau: float
    max_experts: int
    kept: Kept
    certificate: Certificate


def recalibrate(
    by: Answering, images: Iterable[Source], promise: Promise, groups: Sequence[int] | None = None
) -> Recalibrated:
    """Find the largest tau that keeps a promise on these images.

    Args:
        by: what answers.
        images: drawn as those will be that come; each a file, a PIL image, or a uint8 array.
        promise: by the rule "changed", which needs no labels.
        groups: [N] which images belong together, as versions of one scene do; None: each stands for itself.

    Raises:
        UsageError: another rule, the bundle is a plain network, or these are not several images.
        DataError: an image cannot be read, there are none, too few to promise that, or not a group for each.
    """
    if not by.manifest.experts:
        raise UsageError("the bundle is a plain network: without experts every image gets the base's answer at any tau")
    if promise.needs_labels:
        raise UsageError(
            f"'{promise}' needs labels, which a device's own images have not; expected 'changed<=...', or labelled "
            "images and 'edge-moe choose --promise'"
        )
    check_several(images)
    seen, alphas, answers = list[str](), list[npt.NDArray[np.float64]](), list[npt.NDArray[np.int32]]()
    for source in images:
        pixels = resize_crop(to_rgb(source), by.manifest.preprocessing)
        seen.append(fingerprint(pixels))
        rungs = _rungs(by, normalize(pixels, by.manifest.preprocessing)[np.newaxis])
        alphas.append(rungs[0])
        answers.append(rungs[1])
    if not seen:
        raise DataError("there are no images to recalibrate on; expected at least one")
    if groups is not None and len(groups) != len(seen):
        raise DataError(f"expected a group for each of {len(seen)} images, found {len(groups)}")
    ladder = Ladder(np.stack(alphas), np.stack(answers))
    kept = keep(ladder, promise, groups=None if groups is None else np.asarray(groups))
    if not kept.enough:
        raise DataError(too_few(kept))
    certificate = certify(kept, by.max_experts, by.digest, seen, chose_recipe=by.chose_recipe(seen))
    return Recalibrated(kept.tau, by.max_experts, kept, certificate)


def too_few(kept: Kept, families: int = 1) -> str:
    """Say what so few images could promise at most, and how many it takes."""
    count, what = (kept.samples, "images") if kept.groups is None else (kept.groups, "originals")
    among = "" if families == 1 else f", each of {families} answers at its share of that"
    lost = "changed" if kept.promise.rule == "changed" else "lost"
    return (
        f"{count:,} {what} are too few for {kept.promise}: were none of them {lost}, they could promise "
        f"{100 * kept.most:.2g} points at {100 * (1 - kept.promise.delta):.10g}% confidence{among} (0 of {count:,}); "
        f"it takes {kept.needed:,} {what} at least: give more, or promise less"
    )


def _rungs(by: Answering, x: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Return [M] alphas of an image's likeliest experts, and [M+1] its answers by the base and with more and more.

    As `trace` has them, without the experts that are never asked.
    """
    base, gate, manifest = by.part("base"), by.part("gate"), by.manifest
    base.invoke(x)
    gate.invoke(base.output("embedding"))
    base_logits, features = base.output("logits")[0], base.output("features")
    weights = softmax(gate.output("logits")[0])
    asked = np.argsort(-weights, kind="stable")[: by.max_experts]
    scores, answers = np.zeros_like(base_logits), [int(base_logits.argmax())]
    for k in asked.tolist():
        expert = by.part(expert_name(k))
        expert.invoke(features)
        member = ensemble(base_logits, expert.output("logits")[0], manifest.ensemble, manifest.space)
        scores = scores + weights[k] * member
        answers.append(int(scores.argmax()))
    alphas = alpha(softmax(base_logits), weights)[asked]
    return alphas.astype(np.float64), np.array(answers, np.int32)
