"""Which images of a burst get an expert: routers of the literature against one tau, at as many expert runs.

    python -m edge_moe.benchmarks.studies.bursts BUNDLE DATA -o build/bursts

Every part of a set runs once on every image; the logits are kept in the output folder. Then the images are dealt into
bursts, and each router decides which (image, expert) pairs of a burst run. Beside it stands what the exit rule does
with the one tau that wakes as many: the same mean MACs. Answers are put together by the paper's formula either way.

Axis letters: N images, K experts, T images of a burst, Y classes.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Floats, softmax
from edge_moe.benchmarks.studies.full_size import workplace
from edge_moe.benchmarks.studies.routers import (
    Routing,
    capacity,
    expert_choice,
    pairs,
    sinkhorn,
    sparse_plan,
    token_choice,
    unified_scores,
)
from edge_moe.bundle import Bundle
from edge_moe.data import open_data
from edge_moe.digest import answers_digest
from edge_moe.errors import DataError
from edge_moe.evaluate import Bools, Outputs, answers, collect
from edge_moe.here import pick
from edge_moe.intervals import Groups, accuracy_interval, paired_difference
from edge_moe.output import write_file
from edge_moe.progress import Progress, track
from edge_moe.records import sha256
from edge_moe.runtime import Runtime
from edge_moe.sets import named

__all__ = ["ROUTERS", "Found", "compare", "main", "outputs", "right", "to_markdown"]

SHARES = (0.1, 0.2, 0.4, 0.8)  # experts an image, on average
_BURST = 256


_Router: TypeAlias = Callable[[Floats, Floats, float], Routing]


def _pairs(score: Callable[[Floats, Floats], Floats]) -> _Router:
    def route(logits: Floats, doubt: Floats, share: float) -> Routing:
        return pairs(score(logits, doubt[:, np.newaxis]), softmax(logits), round(share * len(logits)))

    return route


def _slots(logits: Floats, share: float) -> int:
    return min(len(logits), capacity(len(logits), logits.shape[1], share))


def _token(plan: Callable[[Floats], Floats]) -> _Router:
    def route(logits: Floats, doubt: Floats, share: float) -> Routing:
        return token_choice(plan(logits), softmax(logits), 1, _slots(logits, share), batch_priority=True)

    return route


def _expert(plan: Callable[[Floats], Floats]) -> _Router:
    def route(logits: Floats, doubt: Floats, share: float) -> Routing:
        return expert_choice(plan(logits), softmax(logits), _slots(logits, share))

    return route


def _expert_doubted(logits: Floats, doubt: Floats, share: float) -> Routing:
    gates = softmax(logits)
    return expert_choice(gates * doubt[:, np.newaxis], gates, _slots(logits, share))


def _sparse(logits: Floats) -> Floats:
    """Half of the tokens an expert at most, and no fewer than a plan needs to have its rows."""
    tokens, experts = logits.shape
    return sparse_plan(logits, min(tokens, max(tokens // 2, 2 * -(-tokens // experts))))


# name -> (gate's logits [T, K], 1 - max phi [T], experts an image) -> routing
ROUTERS: Mapping[str, _Router] = {
    "softmax, token choice": _token(softmax),
    "Sinkhorn, token choice": _token(sinkhorn),
    "softmax, expert choice": _expert(softmax),
    "Sinkhorn, expert choice": _expert(sinkhorn),
    "sparse plan, expert choice": _expert(_sparse),
    "unified score, pairs": _pairs(lambda logits, _: unified_scores(logits)),
    "softmax x doubt, expert choice": _expert_doubted,
    "unified score x doubt, pairs": _pairs(lambda logits, doubt: unified_scores(logits) * doubt),
    "alpha, pairs": _pairs(lambda logits, doubt: softmax(logits) * doubt),
}


@dataclass(frozen=True)
class Found:
    """One router at one share, against one tau that wakes as many experts."""

    router: str
    share: float  # experts an image, as asked
    ran: float  # experts an image, as it came
    right: Bools  # [N]
    tau_right: Bools  # [N]
    opened: float  # experts that a burst needs, which is how often one is opened if each is opened once


def outputs(bundle: Bundle, data: str, folder: Path, backend: str | None, progress: Progress) -> tuple[Outputs, str]:
    """Return the logits of every part on all validation images, and the set that they are of; kept in `folder`."""
    one = pick(bundle.manifest, named(backend))
    of = sha256(f"{answers_digest(bundle.manifest, one)} {data}".encode())
    file = folder / f"{of[:16]}.npz"
    if file.is_file():
        with np.load(file) as kept:
            return Outputs(kept["base"], kept["gate"], kept["experts"]), str(one.key)
    images = open_data(data, "val")
    with Runtime(bundle, backend=one.backend, recipe=one.recipe.name) as model:
        tensors = track(images.tensors(bundle.manifest.preprocessing), str(one.key), len(images), progress)
        found = collect(model.part, bundle.manifest.experts, tensors)
    buffer = io.BytesIO()
    np.savez(buffer, base=found.base_logits, gate=found.gate_logits, experts=found.expert_logits)
    write_file(file, buffer.getvalue())
    return found, str(one.key)


def right(bundle: Bundle, found: Outputs, active: Bools, labels: npt.NDArray[np.int64]) -> Bools:
    """[N, K] which experts run -> [N] whether the answer by the paper's formula is the label."""
    manifest, phi, gate = bundle.manifest, softmax(found.base_logits), softmax(found.gate_logits)
    predictions, _ = answers(found, phi, gate, active, manifest.ensemble, manifest.space)
    result: Bools = predictions == labels
    return result


def compare(
    bundle: Bundle, found: Outputs, labels: npt.NDArray[np.int64], burst: int, seed: int = 0
) -> tuple[Bools, list[Found]]:
    """Return [N] whether the base alone is right, and what each router makes of bursts drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(len(labels))
    bursts = np.array_split(order, max(1, len(labels) // burst))
    logits = found.gate_logits.astype(np.float64)
    doubt = 1.0 - softmax(found.base_logits.astype(np.float64)).max(axis=1)
    alphas = softmax(logits) * doubt[:, np.newaxis]
    rows = []
    for share in SHARES:
        for name, router in ROUTERS.items():
            active, opened = np.zeros(logits.shape, np.bool_), []
            for places in bursts:
                chosen = router(logits[places], doubt[places], share).dispatch.sum(axis=2) > 0
                active[places] = chosen
                opened.append(chosen.any(axis=0).sum())
            awake = int(active.sum())
            rows.append(
                Found(
                    name,
                    share,
                    awake / len(labels),
                    right(bundle, found, active, labels),
                    right(bundle, found, _by_one_tau(alphas, awake), labels),
                    float(np.mean(opened)),
                )
            )
    return right(bundle, found, np.zeros(logits.shape, np.bool_), labels), rows


def _by_one_tau(alphas: Floats, awake: int) -> Bools:
    """Return [N, K] what the exit rule wakes with max_experts = 1 and the tau that wakes `awake` images, or all."""
    best = alphas.argmax(axis=1)
    active = np.zeros(alphas.shape, np.bool_)
    woken = np.argsort(-alphas.max(axis=1), kind="stable")[:awake]
    active[woken, best[woken]] = True
    return active


def to_markdown(bundle: Bundle, key: str, base: Bools, rows: list[Found], groups: Groups | None, burst: int) -> str:
    """Return the table."""
    parts, count = bundle.manifest.parts, len(base)
    expert = np.mean([parts[name].macs for name in parts if name.startswith("expert")])
    fixed = parts["base"].macs + parts["gate"].macs
    low, high = accuracy_interval(base, groups)
    lines = [
        f"{key}, {count} images in bursts of {burst}; the base alone: {base.mean():.2%} ({low:.1%} to {high:.1%})",
        "",
        "| router | experts an image | mean MACs (M) | accuracy | one tau, as many | difference, points (95%) "
        "| experts a burst |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for row in rows:
        more, low, high = paired_difference(row.right, row.tau_right, groups=groups)
        lines.append(
            f"| {row.router} | {row.ran:.3f} | {(fixed + row.ran * expert) / 1e6:.3f} | {row.right.mean():.2%} "
            f"| {row.tau_right.mean():.2%} | {100 * more:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}) "
            f"| {row.opened:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, compute, print and write bursts.md."""
    parser = argparse.ArgumentParser(description="Compare routers with one tau, on bursts of labelled images.")
    parser.add_argument("bundle", type=Path, help="made by 'edge-moe convert', with experts")
    parser.add_argument("data", help="labelled images, as of 'edge-moe convert'")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the logits and bursts.md")
    parser.add_argument("--backend", help="the bundle's default")
    parser.add_argument("--burst", type=int, default=_BURST, help="images of a burst")
    arguments = parser.parse_args()
    bundle = Bundle(arguments.bundle)
    if not bundle.manifest.experts:
        raise DataError(f"{arguments.bundle} is a plain network; expected one with experts")
    with workplace(arguments.output) as (folder, progress):
        found, key = outputs(bundle, arguments.data, folder, arguments.backend, progress)
        images = open_data(arguments.data, "val").with_classes(bundle.manifest.labels)
        base, rows = compare(bundle, found, images.labels, arguments.burst)
        text = to_markdown(bundle, key, base, rows, images.groups, arguments.burst)
        write_file(folder / "bursts.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
