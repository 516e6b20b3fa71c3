"""How closely artifacts follow their reference: per output, per part, and for the whole as routed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Space
from edge_moe.bundle import expert_name
from edge_moe.evaluate import Outputs, paired_difference, route, wilson

__all__ = [
    "Accuracy",
    "Agreement",
    "PartParity",
    "accuracies",
    "agreement",
    "part_parity",
    "routed_agreement",
    "to_markdown",
]

_Floats = npt.NDArray[np.floating]


class Agreement(msgspec.Struct, frozen=True):
    """One output against its reference, over the validation images."""

    top1: float  # share of images with the same largest entry
    cosine: float  # mean cosine between the rows
    sqnr_db: float  # 10 log10(|reference|^2 / |difference|^2), over all rows


class PartParity(msgspec.Struct, frozen=True, kw_only=True):
    """One part made by one recipe."""

    part: str
    bytes: int
    delegates: int  # XNNPACK partitions
    outside: int  # nodes that no partition took
    against_fp32: Agreement
    torch_error: float | None  # of the fp32 artifact: relative L2 error against torch


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on the validation images, with its 95% Wilson interval."""

    what: str
    accuracy: float
    low: float
    high: float


def agreement(found: _Floats, reference: _Floats) -> Agreement:
    """[N, D] and [N, D] -> how closely `found` follows `reference`."""
    found, reference = found.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    alike: _Floats = np.array(~found.any(axis=1) & ~reference.any(axis=1), dtype=np.float64)  # nothing is like nothing
    cosine = np.divide((found * reference).sum(axis=1), norms, out=alike, where=norms > 0)
    noise, signal = float(((found - reference) ** 2).sum()), float((reference**2).sum())
    limit = _NO_NOISE_DB if noise == 0 else -_NO_NOISE_DB
    sqnr = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else limit
    return Agreement(
        top1=float((found.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        cosine=float(cosine.mean()),
        sqnr_db=float(sqnr),
    )


_NO_NOISE_DB = 200.0  # stands for infinity, which JSON lacks


def part_parity(found: Outputs, reference: Outputs) -> dict[str, Agreement]:
    """Compare every part's logits, each fed by the base of its own set.

    An expert counts on the images whose gate prefers it in the reference: it never answers for others. One that no
    image prefers counts on all.
    """
    parts = {
        "base": agreement(found.base_logits, reference.base_logits),
        "gate": agreement(found.gate_logits, reference.gate_logits),
    }
    preferred = reference.gate_logits.argmax(axis=1)
    for k in range(reference.expert_logits.shape[1]):
        own = preferred == k if (preferred == k).any() else np.ones_like(preferred, dtype=np.bool_)
        parts[expert_name(k)] = agreement(found.expert_logits[own, k], reference.expert_logits[own, k])
    return parts


def routed_agreement(
    found: Outputs, reference: Outputs, tau: float, max_experts: int, kind: Ensemble, space: Space
) -> dict[str, float]:
    """Return the shares of images with the same answer and with the same routing at one setting."""
    a = route(found, tau, max_experts, kind, space)
    b = route(reference, tau, max_experts, kind, space)
    return {
        "tau": tau,
        "max_experts": max_experts,
        "same_answer": float((a.predictions == b.predictions).mean()),
        "same_routing": float((a.active == b.active).all(axis=1).mean()),
    }


def accuracies(sets: dict[str, Outputs], labels: npt.NDArray[np.int64], kind: Ensemble, space: Space) -> dict[str, Any]:
    """Return base and mixture (tau = 0, one expert) of each set side by side, and the differences that matter.

    `sets` maps a recipe to its outputs, the reference first. Differences are in accuracy, over the same images,
    with a 95% paired bootstrap interval.
    """
    correct = {}
    for recipe, outputs in sets.items():
        correct[f"base-{recipe}"] = outputs.base_logits.argmax(axis=1) == labels
        correct[f"mixture-{recipe}"] = route(outputs, 0.0, 1, kind, space).predictions == labels
    rows = []
    for what, right in correct.items():
        low, high = wilson(int(right.sum()), len(labels))
        rows.append(Accuracy(what=what, accuracy=float(right.mean()), low=low, high=high))
    reference, *others = sets
    pairs = [(f"mixture-{r}", f"base-{r}") for r in sets]
    pairs += [(f"{part}-{r}", f"{part}-{reference}") for r in others for part in ("base", "mixture")]
    differences = {f"{a} minus {b}": paired_difference(correct[a], correct[b], seed=0) for a, b in pairs}
    return {"images": len(labels), "rows": rows, "differences": differences}


def to_markdown(report: dict[str, Any]) -> str:
    """Return the parity report as a page that a person can read; `report` as written to parity.json."""
    lines = [f"# Parity of {report['checkpoint']}", ""]
    if not report["trained"]:
        lines += ["**UNTRAINED: random weights. Agreement and accuracy mean nothing here, and no bar applies.**", ""]
    lines += [
        f"Measured on {report['images']} images ({report['data']}) with the artifacts of this bundle. Agreement is "
        "the share of images whose largest logit is the same as in fp32; an expert counts on the images whose gate "
        "prefers it, through the base of its own recipe.",
        "",
    ]
    lines += [f"Shipped: {', '.join(report['shipped'])}. What else is here was tried and left out.", ""]
    for recipe, rows in report["recipes"].items():
        lines += [f"## Recipe {recipe}", ""]
        lines += ["| part | KiB | partitions | nodes outside | agreement | cosine | SQNR dB | error to torch |"]
        lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
        for row in rows:
            a, torch_error = row["against_fp32"], row["torch_error"]
            error = "" if torch_error is None else f"{torch_error:.1e}"
            same = (
                "reference |  | "
                if recipe == report["reference"]
                else f"{a['top1']:.2%} | {a['cosine']:.4f} | {a['sqnr_db']:.1f}"
            )
            lines += [
                f"| {row['part']} | {row['bytes'] / 1024:.0f} | {row['delegates']} | {row['outside']} "
                f"| {same} | {error} |"
            ]
        lines += ["", *(f"- **missed:** {problem}" for problem in report["missed_bars"][recipe])]
        for setting in report["routed"].get(recipe, []):
            lines += [
                f"- as routed at tau = {setting['tau']:g}, max_experts = {setting['max_experts']}: "
                f"{setting['same_answer']:.2%} same answer, {setting['same_routing']:.2%} same routing as fp32"
            ]
        lines += [""]
    if report["accuracy"]:
        lines += [f"## Accuracy on {report['accuracy']['images']} validation images", ""]
        lines += ["| | accuracy | 95% interval |", "|---|---:|---:|"]
        for row in report["accuracy"]["rows"]:
            lines += [f"| {row['what']} | {row['accuracy']:.2%} | {row['low']:.2%} to {row['high']:.2%} |"]
        lines += ["", "The mixture runs in static mode: tau = 0, one expert.", ""]
        lines += ["| difference, points | | 95% interval (paired) |", "|---|---:|---:|"]
        for what, (difference, low, high) in report["accuracy"]["differences"].items():
            lines += [f"| {what} | {100 * difference:+.2f} | {100 * low:+.2f} to {100 * high:+.2f} |"]
    return "\n".join(lines).rstrip() + "\n"
