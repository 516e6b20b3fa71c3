"""Which images make good golden samples: those that right kernels agree about, and that tell base from mixture.

Everything follows from outputs that were measured anyway. How clear an image is counts in what right kernels differ
by: a first choice leads by so many times the distance that two logits can come closer within the tolerance.

Axis letters: N images, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Floats, Space, softmax
from edge_moe.bundle import expert_name
from edge_moe.evaluate import Outputs, Routed, route

__all__ = ["NEEDED", "SURE_EXIT", "Fitness", "Role", "candidates", "fitness", "roles", "unlike"]

NEEDED = 3.0  # parts are fed by parts, whose errors add up
Unlike = Literal["label", "probabilities"] | None
_EXIT_TAU = 0.5


@dataclass(frozen=True)
class Role:
    """What a golden sample is there for."""

    name: str
    tau: float
    max_experts: int
    expert: int | None = None  # that has to be the one that runs


SURE_EXIT = Role("exit", 1.0, 1)  # in place of the other one, where the base is never sure enough: here all exit


def roles(experts: int) -> tuple[Role, ...]:
    """Return the roles of a bundle of K `experts`: an exit, each expert, and two experts at once."""
    if not experts:
        return (Role("exit", 1.0, 0),)
    each = tuple(Role(expert_name(k), 0.0, 1, k) for k in range(experts))
    two = (Role("top 2", 0.0, 2),) if experts > 1 else ()
    return (Role("exit", _EXIT_TAU, 1), *each, *two)


@dataclass(frozen=True)
class Fitness:
    """How well each of N images fits a role in one set."""

    # 3: the answer is another label than the base's; 2: other probabilities; 1: neither; 0: another decision, or not
    # a clear one.
    tier: npt.NDArray[np.int64]
    clearness: Floats  # at least NEEDED where the tier is not 0


def fitness(
    outputs: Outputs, tolerance: float, kind: Ensemble, space: Space, wanted: Sequence[Role] | None = None
) -> dict[str, Fitness]:
    """Return how well the images of `outputs` fit each role, by its name, where right kernels differ by `tolerance`.

    `wanted`: the roles; None: those of the bundle.
    """
    found: dict[str, Fitness] = {}
    settings: dict[tuple[float, int], tuple[Routed, Fitness]] = {}  # experts share theirs: routing is all the work
    for role in roles(outputs.gate_logits.shape[1]) if wanted is None else wanted:
        setting = role.tau, role.max_experts
        if setting not in settings:
            routed = route(outputs, *setting, kind, space)
            judge = _asleep if role.name == "exit" else _awake
            settings[setting] = routed, judge(outputs, routed, role, tolerance)
        routed, fit = settings[setting]
        if role.expert is not None:
            fit = Fitness(np.where(routed.active[:, role.expert], fit.tier, 0), fit.clearness)
        found[role.name] = fit
    return found


def _asleep(outputs: Outputs, routed: Routed, role: Role, tolerance: float) -> Fitness:
    """Judge an exit before the gate: the base is sure of its answer, and of being sure enough."""
    base = outputs.base_logits
    moves = _moves(tolerance, base)
    clear = _lead(base) / moves
    if role.tau < 1.0:  # else there is nothing but exits, as in a plain network
        odds = -np.log(np.maximum(1 / softmax(base).max(axis=-1) - 1, 1e-30))  # 0 at a tau of 1/2
        clear = np.minimum(clear, odds / moves)
    return Fitness(np.where(routed.exited & ~routed.gate_ran & (clear >= NEEDED), 1, 0), clear)


def _awake(outputs: Outputs, routed: Routed, role: Role, tolerance: float) -> Fitness:
    """Judge an answer by as many experts as the role has: which they are is clear, and what they say."""
    base, gate = outputs.base_logits, outputs.gate_logits
    squares = np.einsum("nky,nky->nk", outputs.expert_logits, outputs.expert_logits)
    ran = np.sqrt(np.where(routed.active, squares, 0.0))
    ahead = _lead(gate, role.max_experts) / _moves(tolerance, gate)
    answer = _lead(np.log(np.maximum(routed.scores, 1e-30))) / _moves(tolerance, base, gate, ran)
    clear = np.minimum(ahead, answer)
    other = (routed.predictions != base.argmax(axis=-1)) & (_lead(base) / _moves(tolerance, base) >= NEEDED)
    tier = np.where(other, 3, np.where(_differences(outputs, routed) > 2 * tolerance, 2, 1))
    holds = (routed.active.sum(axis=-1) == role.max_experts) & (clear >= NEEDED)
    return Fitness(np.where(holds, tier, 0), clear)


def unlike(outputs: Outputs, routed: Routed, allowed: float) -> Unlike:
    """Return what tells the one image's answer from the base's, where right kernels may differ by `allowed`."""
    if routed.exited[0]:
        return None
    if routed.predictions[0] != outputs.base_logits[0].argmax():
        return "label"
    return "probabilities" if _differences(outputs, routed)[0] > allowed else None


def candidates(found: Mapping[str, Fitness], own: str, used: Sequence[int], *, most: int = 5) -> list[int]:
    """Return the indices of images that fit a role in set `own`, the best first; none where no image does.

    Args:
        found: how well the images fit, in every set; the best is one that is good in all of them.
        own: the set to choose for.
        used: images that are golden samples already: another role or set may share them.
        most: how many to return.
    """
    mine = found[own]
    best = int(mine.tier.max(initial=0))
    if not best:
        return []
    everywhere = np.min([one.tier for one in found.values()], axis=0)
    clear = np.min([one.clearness for one in found.values()], axis=0)
    is_used = np.isin(np.arange(len(mine.tier)), used)
    common = everywhere == best
    # By tier in this set; then shared, either with what is there already or with the other sets; then by clearness.
    order = np.lexsort((np.where(common, clear, mine.clearness), common, is_used, mine.tier))[::-1]
    return [int(index) for index in order[:most] if mine.tier[index]]


def _lead(values: Floats, first: int = 1) -> Floats:
    """[N, M] -> [N] how far the `first` largest lead the next; infinity where there is no next."""
    if values.shape[1] <= first:
        return np.full(len(values), np.inf)
    ordered = -np.sort(-values.astype(np.float64), axis=-1)
    result: Floats = ordered[:, first - 1] - ordered[:, first]
    return result


def _moves(tolerance: float, *logits: Floats) -> Floats:
    """Return [N] how much closer two logits, or what is made of several parts' [N, M], can come within `tolerance`."""
    norms = sum(np.linalg.norm(values.astype(np.float64), axis=-1) for values in logits)
    result: Floats = 2 * tolerance * np.maximum(norms, 1e-30)
    return result


def _differences(outputs: Outputs, routed: Routed) -> Floats:
    """Return [N] the relative L2 error that the base's probabilities have as the answer's."""
    phi = softmax(outputs.base_logits)
    answer = routed.scores / routed.scores.sum(axis=-1, keepdims=True)
    result: Floats = np.linalg.norm(phi - answer, axis=-1) / np.linalg.norm(answer, axis=-1)
    return result
