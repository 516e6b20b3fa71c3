"""Is a promise kept? Images drawn anew and anew from results, whose images are taken for all that there are.

    python -m edge_moe.benchmarks.studies.promises report/results.json -o build/promises

Of each draw, with replacement, the largest tau that keeps the promise is found; how often it then breaks it on all
images should be at most 1 - confidence. Beside it stands what choosing by the share seen in the draw does. And of the
images as they are, whether MAPIE, an independent library (in the extra dev), stops at the same one.

Axis letters: N images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_moe.benchmarks.results import Results, load
from edge_moe.benchmarks.studies.full_size import workplace
from edge_moe.errors import DataError
from edge_moe.output import write_file
from edge_moe.progress import Progress
from edge_moe.promise import CONFIDENCE, Integers, Ladder, Promise, largest_tau

__all__ = ["Found", "main", "mapies", "redraw", "to_markdown"]

_PROMISES = ("changed<=1%", "changed<=2%", "lost<=1%", "drop<=1%")
_TAUS = np.linspace(0, 1, 101).tolist()  # of what is chosen by the share seen


@dataclass(frozen=True)
class Found:
    """What came of one promise over all draws."""

    promise: str
    sets: str  # whose promise it is
    broken: float  # share of the draws whose tau breaks it on all images
    tau: float  # the median
    exits: float  # mean exit rate at these taus, on all images
    seen_broken: float  # share of the draws in which the largest tau that keeps it in the draw itself breaks it


def redraw(results: Results, places: Sequence[int], text: str, redraws: int, seed: int, progress: Progress) -> Found:
    """Ask one promise of some sets of the results, draw after draw; of several the one that exits most is taken.

    Args:
        results: of N images, each of which stands for itself.
        places: of the sets.
        text: the promise.
        redraws: how many draws of N images.
        seed: of the draws.
        progress: told of every draw.

    Raises:
        UsageError: that is no promise.
        DataError: labels are needed and not known, or images are versions of others.
    """
    if results.groups is not None:
        raise DataError("these images are versions of others, which cannot be drawn one by one; expected photographs")
    promise, count = Promise.parse(text), results.images
    labels = None if results.labels is None else np.array(results.labels)
    wholes = [Ladder.of(one.decisions, one.default_max_experts) for one in (results.sets[place] for place in places)]
    rng, found = np.random.default_rng(seed), []
    name = ", ".join(results.sets[place].label for place in places)
    step = f"{text}, {name}"
    progress.start(step, redraws)
    for _ in range(redraws):
        chosen = rng.integers(0, count, count)
        of = None if labels is None else labels[chosen]
        drawn = [Ladder(one.alphas[chosen], one.answers[chosen]) for one in wholes]
        taus = [largest_tau(one, promise, of, families=len(drawn)) for one in drawn]
        exits = [float((one.rungs(tau) == 0).mean()) for one, tau in zip(drawn, taus, strict=True)]
        best = int(np.argmax(exits))  # whoever looks for luck finds it: delta is shared out for that
        whole, tau = wholes[best], taus[best]
        seen = max(at for at in _TAUS if _risk(drawn[best], promise, at, of) <= promise.epsilon)
        found.append(
            (
                _risk(whole, promise, tau, labels) > promise.epsilon,
                tau,
                (whole.rungs(tau) == 0).mean(),
                _risk(whole, promise, seen, labels) > promise.epsilon,
            )
        )
        progress.advance(step)
    broken, tau, exited, seen_broken = np.array(found, dtype=np.float64).T
    return Found(
        promise=text,
        sets=name,
        broken=float(broken.mean()),
        tau=float(np.median(tau)),
        exits=float(exited.mean()),
        seen_broken=float(seen_broken.mean()),
    )


def mapies(ladder: Ladder, promise: Promise) -> tuple[float, float]:
    """Return two alphas: MAPIE's largest tau, of "changed" with one expert, is above the one and at most the other.

    Theirs is a classifier with a threshold that falls: an image is counted where it changed and its alpha is below.
    """
    from mapie.risk_control import BinaryClassificationController, BinaryRisk

    alphas, changed = ladder.alphas[:, 0], ladder.losses("changed")[:, 0] > 0
    taus = np.unique(alphas)
    wrong: dict[str, Any] = {
        "risk_occurrence": lambda y, found: found != y,
        "risk_condition": lambda y, _: np.ones(len(y), bool),
    }
    controller = BinaryClassificationController(
        lambda scores: np.stack([1 - scores, scores], axis=1),
        BinaryRisk(**wrong, higher_is_better=False),
        promise.epsilon,
        1 - promise.delta,
        best_predict_param_choice=BinaryRisk(**wrong, higher_is_better=True),
        list_predict_params=1 - taus[:-1],
        fwer_method="fixed_sequence",
    )
    controller.calibrate(np.where(changed, 1 - alphas, 0.0), np.zeros(len(alphas), int))
    passed = len(controller.valid_predict_params)
    edges = np.concatenate([[-1.0], taus, [1.0]])
    return float(edges[passed]), float(edges[passed + 1])


def _risk(ladder: Ladder, promise: Promise, tau: float, labels: Integers | None) -> float:
    """Return the mean loss at a tau."""
    return float(ladder.at(tau, ladder.losses(promise.rule, labels)).mean())


def to_markdown(found: Sequence[Found], images: int, redraws: int) -> str:
    """Return the table."""
    lines = [
        f"{redraws} draws of {images:,} images, with replacement, from {images:,} that are taken for all there are; "
        f"{CONFIDENCE:.0%} confidence.",
        "",
        "| promise | sets | broken | median tau | exit rate | broken where the draw's own share is believed |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for one in found:
        cells = f"{one.broken:.1%} | {one.tau:.3f} | {one.exits:.1%} | {one.seen_broken:.1%}"
        lines.append(f"| {one.promise} | {one.sets} | {cells} |")
    return "\n".join(lines) + "\n"


def _beside_mapie(results: Results, text: str) -> str:
    """Return a line that says whether both stop at the same image, of the first set and one expert."""
    ladder, promise = Ladder.of(results.sets[0].decisions, 1), Promise.parse(text)
    tau, (above, most) = largest_tau(ladder, promise), mapies(ladder, promise)
    same = "the same" if above < tau <= most else "ANOTHER"
    return f"- {text} on all {len(ladder):,} images of {results.sets[0].label}: tau {tau:.10g}; MAPIE {same}"


def main() -> None:
    """Read the arguments, draw, print and write the table."""
    parser = argparse.ArgumentParser(description="How often promises are broken, over draws from measured images.")
    parser.add_argument("results", type=Path, help="the results.json of 'edge-moe bench', of labelled photographs")
    parser.add_argument("-o", "--output", type=Path, help="folder for promises.md")
    parser.add_argument("--promise", nargs="+", default=list(_PROMISES))
    parser.add_argument("--redraws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    results = load(arguments.results)
    every = range(len(results.recorded))
    with workplace(arguments.output) as (folder, progress):
        found = [
            redraw(results, places, text, arguments.redraws, arguments.seed, progress)
            for text in arguments.promise
            for places in ([0], every)
            if len(places) == 1 or len(every) > 1
        ]
        text = to_markdown(found, results.images, arguments.redraws)
        text += "\n" + "\n".join(_beside_mapie(results, given) for given in arguments.promise if "changed" in given)
        write_file(folder / "promises.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
