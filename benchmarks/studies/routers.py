"""The routers of the literature in one form: which token goes to which expert, and how the answers are put together.

Liu et al., "Routers in Vision Mixture of Experts: An Empirical Study" (TMLR 2024, arXiv 2401.15969): with tokens X_t
and experts f_j, each of which answers up to c slots s,

    X~[j, s] = sum_t D[t, j, s] X_t        Y_t = sum_(j, s) C[t, j, s] f_j(X~[j, s])

A sparse router's D is 0 or 1, and its C is D times a gate; a soft one's are both dense. Here the images of a burst are
the tokens, and the gate's logits [T, K] what a router decides by.

Axis letters: T tokens (images), K experts, S slots of an expert, F features of a token.

Of equal scores the lower token goes first, then the lower expert, so that every machine routes alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from edge_moe.anytime import Floats, softmax
from edge_moe.burst import best_pairs
from edge_moe.errors import UsageError

__all__ = [
    "Routing",
    "capacity",
    "expert_choice",
    "pairs",
    "sinkhorn",
    "soft",
    "sparse_plan",
    "token_choice",
    "unified_scores",
]

_ROUNDS = 100_000  # of Sinkhorn's, which converges linearly
_CLOSE = 1e-12  # how far a plan's rows may be off


class Routing(NamedTuple):
    """What goes to the experts, and what of their answers goes to a token."""

    dispatch: Floats  # D [T, K, S]
    combine: Floats  # C [T, K, S]


def capacity(tokens: int, experts: int, choices: float = 1.0, factor: float = 1.0) -> int:
    """Return how many tokens an expert answers: ceil(T k f / K).

    Args:
        tokens: T.
        experts: K.
        choices: k, how many experts answer a token on average; may be a fraction.
        factor: f, the room beyond that.

    Raises:
        UsageError: one of them is not above 0.
    """
    if not all(0 < one < math.inf for one in (tokens, experts, choices, factor)):
        raise UsageError(
            f"tokens {tokens}, experts {experts}, choices {choices}, factor {factor}: expected all above 0"
        )
    return math.ceil(tokens * choices * factor / experts)


def token_choice(scores: Floats, gates: Floats, choices: int, slots: int, *, batch_priority: bool = False) -> Routing:
    """Each token chooses the `choices` experts of its largest scores, and gets those that still have a slot.

    All first choices are placed before any second one. Liu et al., section 3.1; batch priority is Riquelme et al.'s
    ("Scaling Vision with Sparse Mixture of Experts", 2021).

    Args:
        scores: [T, K], such as the softmax of the logits, or a Sinkhorn plan.
        gates: [T, K], what answers are weighted by.
        choices: of each token.
        slots: of each expert.
        batch_priority: whether tokens are placed by their largest score, instead of in their order.
    """
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :choices]
    order = np.argsort(-scores.max(axis=1), kind="stable") if batch_priority else np.arange(len(scores))
    placed = [(int(token), int(ranked[token, choice])) for choice in range(ranked.shape[1]) for token in order]
    return _placed(placed, gates, slots)


def expert_choice(scores: Floats, gates: Floats, slots: int) -> Routing:
    """Each expert chooses the `slots` tokens of its largest scores, of those above 0.

    Zhou et al., "Mixture-of-Experts with Expert Choice Routing" (2022); Liu et al., section 3.2.

    Args:
        scores: [T, K], such as the softmax of the logits, a Sinkhorn plan, or `sparse_plan`.
        gates: [T, K], what answers are weighted by.
        slots: of each expert.
    """
    ranked = np.argsort(-scores, axis=0, kind="stable")[:slots]
    placed = [
        (int(token), expert)
        for expert in range(scores.shape[1])
        for token in ranked[:, expert]
        if scores[token, expert] > 0
    ]
    return _placed(placed, gates, slots)


def _placed(wishes: list[tuple[int, int]], gates: Floats, slots: int) -> Routing:
    """Give each (token, expert) the expert's next slot, as long as there is one."""
    dispatch = np.zeros((*gates.shape, slots))
    taken = [0] * gates.shape[1]
    for token, expert in wishes:
        if taken[expert] < slots:
            dispatch[token, expert, taken[expert]] = 1.0
            taken[expert] += 1
    return Routing(dispatch, dispatch * gates[:, :, np.newaxis])


def sinkhorn(logits: Floats, temperature: float = 1.0) -> Floats:
    """[T, K] logits -> the plan [T, K] that transports the tokens to the experts, each of which gets T / K of them.

    It minimises sum P (-L) + temperature sum P log P over the plans with rows that sum to 1 and columns to T / K:
    P = exp(u + L / temperature + v), with u and v found by turns (Sinkhorn 1967; Cuturi 2013; Liu et al., section 3.1).
    """
    tokens, experts = logits.shape
    kernel = np.asarray(logits, np.float64) / temperature
    column = np.zeros(experts)
    for _ in range(_ROUNDS):
        row = -np.logaddexp.reduce(kernel + column, axis=1)
        column = math.log(tokens / experts) - np.logaddexp.reduce(kernel + row[:, np.newaxis], axis=0)
        plan: Floats = np.exp(kernel + row[:, np.newaxis] + column)
        if np.abs(plan.sum(axis=1) - 1).max() < _CLOSE:
            break
    return plan


def sparse_plan(logits: Floats, nonzeros: int, gamma: float = 1.0) -> Floats:
    """[T, K] logits -> a plan [T, K] as `sinkhorn`'s, in which an expert has at most `nonzeros` tokens.

    Sparsity-constrained optimal transport (Liu et al. 2023, arXiv 2209.15466), by its semi-dual: with a the rows' sums
    and b the columns', maximise a . alpha - sum_j b_j Omega*(alpha + L_j), where the gradient of Omega* is the
    projection of the `nonzeros` largest entries, over b_j gamma, on the simplex. It may be that no plan with so few has
    the rows' sums: then these are off.
    """
    tokens, experts = logits.shape
    kernel = np.asarray(logits, np.float64)
    share = tokens / experts

    def projected(alpha: Floats) -> Floats:
        return np.stack(
            [_on_simplex((alpha + kernel[:, j]) / (share * gamma), nonzeros) for j in range(experts)], axis=1
        )

    alpha = torch.zeros(tokens, dtype=torch.float64)
    alpha.grad = torch.zeros_like(alpha)

    def negative() -> float:
        columns, now = projected(alpha.numpy()), alpha.numpy()
        conjugate = ((now[:, np.newaxis] + kernel) * columns).sum() - 0.5 * gamma * share * (columns**2).sum()
        assert alpha.grad is not None
        alpha.grad.copy_(torch.from_numpy(share * columns.sum(axis=1) - 1))
        return float(share * conjugate - now.sum())

    ascent = torch.optim.LBFGS(
        [alpha], max_iter=_ROUNDS, tolerance_grad=1e-11, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )
    ascent.step(negative)  # type: ignore[no-untyped-call]
    plan: Floats = share * projected(alpha.numpy())
    return plan


def _on_simplex(values: Floats, nonzeros: int) -> Floats:
    """Return the nearest point of the simplex to the `nonzeros` largest of `values` [T]; the others are 0."""
    kept = np.argsort(-values, kind="stable")[:nonzeros]
    largest = values[kept]
    thresholds = (np.cumsum(largest) - 1) / np.arange(1, len(kept) + 1)
    threshold = thresholds[np.flatnonzero(largest > thresholds)[-1]]
    result = np.zeros_like(values)
    result[kept] = np.maximum(largest - threshold, 0)
    return result


def unified_scores(logits: Floats, share: float = 0.5) -> Floats:
    """[T, K] logits -> [T, K] how good each pair of a token and an expert is, comparable over both.

    U = (1 - a) softmax(L) + a (2 / K) sigmoid(L): for an expert among a token's, and for a token among an expert's.
    Do et al., "Unified Sparse Mixture of Experts" (2025); a is `share`.
    """
    experts = logits.shape[-1]
    sigmoid = 0.5 * (1.0 + np.tanh(0.5 * logits))  # which does not overflow
    result: Floats = (1.0 - share) * softmax(logits) + share * (2.0 / experts) * sigmoid
    return result


def pairs(scores: Floats, gates: Floats, count: int) -> Routing:
    """Take the `count` (token, expert) pairs of the largest scores over all: k may be a fraction, as count / T.

    Do et al., "Unified Sparse Mixture of Experts" (2025), by `unified_scores`: token choice looks along rows, expert
    choice along columns, and this at all pairs at once.

    Args:
        scores: [T, K], such as `unified_scores`.
        gates: [T, K], what answers are weighted by.
        count: how many pairs; an expert may have as many as there are tokens.
    """
    chosen = best_pairs(scores, np.ones(scores.shape[1]), count, scores.shape[1])
    return _placed([(int(token), int(expert)) for token, expert in np.argwhere(chosen)], gates, len(scores))


def soft(tokens: Floats, slots: Floats, scale: float = 1.0) -> Routing:
    """Soft MoE: every slot gets a mean of all tokens, and every token a mean of all answers (Puigcerver et al. 2023).

    L = l2norm(X) (scale * l2norm(Phi)); D is the softmax over tokens, C that over experts and slots.

    Args:
        tokens: X [T, F].
        slots: Phi [F, K, S], learned.
        scale: learned as well.
    """
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    logits = np.einsum("tf,fks->tks", unit, scale * slots / np.linalg.norm(slots, axis=0, keepdims=True))
    dispatch = np.moveaxis(softmax(np.moveaxis(logits, 0, -1)), -1, 0)
    combine = softmax(logits.reshape(len(tokens), -1)).reshape(logits.shape)
    return Routing(dispatch, combine)
