"""How closely artifacts follow their reference: per output, per part, and for the whole as routed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Space
from edge_moe.bundle import OperatingPoint, expert_name
from edge_moe.converters.noise import NO_NOISE_DB
from edge_moe.converters.report import Accuracies, Accuracy, Agreement, Routing, Spread
from edge_moe.evaluate import Outputs, route
from edge_moe.intervals import accuracy_interval, paired_difference
from edge_moe.sets import SetKey

__all__ = ["accuracies", "agreement", "part_parity", "routed_agreement", "spread"]

_Floats = npt.NDArray[np.floating]


def agreement(found: _Floats, reference: _Floats) -> Agreement:
    """[N, D] and [N, D] -> how closely `found` follows `reference`."""
    found, reference = found.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    alike: _Floats = np.array(~found.any(axis=1) & ~reference.any(axis=1), dtype=np.float64)  # nothing is like nothing
    cosine = np.divide((found * reference).sum(axis=1), norms, out=alike, where=norms > 0)
    noise, signal = float(((found - reference) ** 2).sum()), float((reference**2).sum())
    limit = NO_NOISE_DB if noise == 0 else -NO_NOISE_DB
    sqnr = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else limit
    return Agreement(
        top1=float((found.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        cosine=float(cosine.mean()),
        sqnr_db=float(sqnr),
    )


def part_parity(found: Outputs, reference: Outputs) -> dict[str, tuple[Agreement, int]]:
    """Compare every part's logits, each fed by the base of its own set; part -> (agreement, over how many images).

    An expert counts on the images whose gate prefers it in the reference: it never answers for others. One that no
    image prefers counts on all.
    """
    images = len(reference.base_logits)
    parts = {"base": (agreement(found.base_logits, reference.base_logits), images)}
    if not reference.gate_logits.shape[1]:
        return parts
    parts["gate"] = (agreement(found.gate_logits, reference.gate_logits), images)
    preferred = reference.gate_logits.argmax(axis=1)
    for k in range(reference.expert_logits.shape[1]):
        own = preferred == k if (preferred == k).any() else np.ones_like(preferred, dtype=np.bool_)
        compared = agreement(found.expert_logits[own, k], reference.expert_logits[own, k])
        parts[expert_name(k)] = (compared, int(own.sum()))
    return parts


def routed_agreement(
    found: Outputs, reference: Outputs, tau: float, max_experts: int, kind: Ensemble, space: Space
) -> Routing:
    """Return the shares of images with the same answer and with the same routing at one setting."""
    a = route(found, tau, max_experts, kind, space)
    b = route(reference, tau, max_experts, kind, space)
    return Routing(
        tau=tau,
        max_experts=max_experts,
        same_answer=float((a.predictions == b.predictions).mean()),
        same_routing=float((a.active == b.active).all(axis=1).mean()),
    )


def accuracies(
    sets: dict[SetKey, Outputs],
    labels: npt.NDArray[np.int64],
    kind: Ensemble,
    space: Space,
    groups: npt.NDArray[np.int64] | None = None,
) -> Accuracies:
    """Return base and mixture (tau = 0, one expert) of each set side by side, and the differences that matter.

    Differences are in accuracy, over the same images, with a 95% paired bootstrap interval: of the mixture to its
    base, and of what is quantized to the fp32 of its backend. Of a plain network there is the base alone. All
    intervals are over `groups` of images where these are given, see LabelledImages: their number is then reported too.
    """
    correct, mixtures = {}, [key for key, outputs in sets.items() if outputs.gate_logits.shape[1]]
    for key, outputs in sets.items():
        correct[f"base {key}"] = outputs.base_logits.argmax(axis=1) == labels
        if key not in mixtures:
            continue
        correct[f"mixture {key}"] = route(outputs, 0.0, 1, kind, space).predictions == labels
    rows = []
    for what, right in correct.items():
        low, high = accuracy_interval(right, groups)
        rows.append(Accuracy(what=what, accuracy=float(right.mean()), low=low, high=high))
    pairs = [(f"mixture {key}", f"base {key}") for key in mixtures]
    pairs += [
        (f"{part} {key}", f"{part} {key.reference}")
        for key in sets
        for part in (("base", "mixture") if key in mixtures else ("base",))
        if key.reference in sets and not key.is_float
    ]
    differences = {f"{a} minus {b}": paired_difference(correct[a], correct[b], seed=0, groups=groups) for a, b in pairs}
    counted = None if groups is None else len(np.unique(groups))
    return Accuracies(images=len(labels), rows=rows, differences=differences, groups=counted)


def spread(points: dict[SetKey, tuple[OperatingPoint, ...]]) -> list[Spread]:
    """Return the accuracy of the sets `points` side by side at each (tau, max_experts), and how far they lie apart.

    Empty where there is nothing to compare: one set, or images without labels.
    """
    rows = []
    for matching in zip(*points.values(), strict=True):
        found = {str(key): point.accuracy for key, point in zip(points, matching, strict=True)}
        known = [accuracy for accuracy in found.values() if accuracy is not None]
        if len(known) > 1:
            rows.append(
                Spread(
                    tau=matching[0].tau,
                    max_experts=matching[0].max_experts,
                    accuracy=found,
                    points_apart=100 * (max(known) - min(known)),
                )
            )
    return rows
