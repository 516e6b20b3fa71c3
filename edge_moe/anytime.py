"""The exit rule and the ensemble: one page of numpy, no state.

Royer et al., "Revisiting Single-gated Mixtures of Experts", BMVC 2022 (arXiv 2304.05497): anytime inference.

Axis letters: B batch, K experts, Y classes. Leading axes may be absent: functions take one sample or a batch.

K = 0 is a plain network: it has no gate, and every sample exits, whatever tau is.

With phi = base probabilities [Y] and g = gate probabilities [K]:

    alpha_k = g_k * (1 - max_y phi_y)
    active  = the max_experts largest alpha_k among those with alpha_k >= tau
    exit    = no expert is active: the answer is phi
    else    = sum over active k of g_k * d_k,   d_k = ensemble of the base and expert k
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.errors import UsageError

__all__ = [
    "Ensemble",
    "Space",
    "active_experts",
    "active_weights",
    "alpha",
    "check_max_experts",
    "check_tau",
    "combine",
    "ensemble",
    "exits_before_gate",
    "softmax",
    "top",
]

Floats: TypeAlias = npt.NDArray[np.floating]
Ensemble: TypeAlias = Literal["bagging", "expert"]
Space: TypeAlias = Literal["logit", "probability"]


def check_tau(tau: float) -> float:
    """Return `tau`; raise UsageError unless it is a number in [0, 1] (NaN is not)."""
    if isinstance(tau, bool) or not (isinstance(tau, Real) and 0.0 <= tau <= 1.0):
        raise UsageError(f"tau is {tau}; expected a number from 0 (never exit) to 1 (always exit)")
    return float(tau)


def check_max_experts(max_experts: int, experts: int) -> int:
    """Return `max_experts`; raise UsageError unless it is an integer in [1, K]; of a plain network, K = 0, it is 0."""
    whole = isinstance(max_experts, Integral) and not isinstance(max_experts, bool)
    if experts == 0 and not (whole and max_experts == 0):
        raise UsageError(f"max_experts is {max_experts}; expected 0, or nothing: a plain network has no experts")
    if not (whole and min(1, experts) <= max_experts <= experts):
        raise UsageError(
            f"max_experts is {max_experts}; expected an integer from 1 to {experts}, the number of experts"
        )
    return int(max_experts)


def softmax(logits: Floats) -> Floats:
    """[..., Y] logits -> [..., Y] probabilities that sum to 1 over the last axis."""
    largest = np.maximum.reduce(logits, axis=-1, keepdims=True, initial=-np.inf)  # of a plain network's gate, no logits
    result: Floats = logits - np.where(np.abs(largest) <= _SAFE, np.zeros_like(largest), largest)
    np.exp(result, out=result)
    result /= np.add.reduce(result, axis=-1, keepdims=True)
    return result


# Logits up to here are not shifted: exp neither overflows nor vanishes, and `top` is spared a step for every image.
_SAFE = 40.0


def top(logits: Floats, spare: Floats | None = None) -> tuple[int, Any]:
    """[Y] logits -> index and value, in their precision, of the largest of `softmax`; NaN if one of them is.

    What a device needs of the softmax for every image, in half of the steps. `spare` [Y] is written over.
    """
    index = int(logits.argmax())
    largest = logits.item(index)  # a Python number, which compares in a fraction of a numpy scalar's time
    if not -_SAFE <= largest <= _SAFE:  # NaN too
        logits = logits - largest
    exponentials = np.exp(logits, spare)
    return index, exponentials[index] / np.add.reduce(exponentials)


def exits_before_gate(max_phi: float, tau: float) -> bool:
    """Return whether a sample whose base is sure by `max_phi` exits whatever the gate says, so that it need not run.

    g_k <= 1, hence alpha_k <= 1 - max phi: below tau no expert can be active. The difference is taken in the
    precision of phi, as in `alpha`: in another it could be below tau where alpha is not.
    """
    return float(1.0 - max_phi) < tau


def alpha(phi: Floats, gate: Floats) -> Floats:
    """[..., Y] base and [..., K] gate probabilities -> [..., K] alpha, what each expert stands to change.

    alpha >= 0, and the sum over k is 1 - max phi (section 3 of the paper).
    """
    result: Floats = gate * (1.0 - phi.max(axis=-1, keepdims=True))
    return result


def active_experts(alphas: Floats, tau: float, max_experts: int, gate: Floats | None = None) -> npt.NDArray[np.bool_]:
    """[..., K] alpha -> [..., K] mask of the experts that run; no True in a row means that the row exits.

    The largest alphas belong to the largest gate probabilities. Pass the `gate` [..., K] where it is at hand:
    if the base is so sure that 1 - max phi rounds to 0, every alpha is 0 and only the gate has an order left.
    Of equals the lower index goes first, so that every device routes alike.

    Raises:
        UsageError: tau outside [0, 1], or max_experts outside [1, K] (0 where K is).
    """
    check_tau(tau)
    check_max_experts(max_experts, alphas.shape[-1])
    order = np.argsort(-(alphas if gate is None else gate), axis=-1, kind="stable")[..., :max_experts]
    mask = np.zeros(alphas.shape, dtype=np.bool_)
    np.put_along_axis(mask, order, True, axis=-1)
    # In double, whatever the precision of alpha: numpy 1 and 2 would otherwise disagree about a scalar's.
    return mask & (alphas.astype(np.float64) >= tau)


def active_weights(gate_logits: Floats, max_phi: Any, tau: float, max_experts: int) -> tuple[tuple[int, Any], ...]:
    """[K] logits of the gate and the base's largest probability -> (k, g_k) of the experts that run, ascending in k.

    What `active_experts` says of one sample, in fewer steps and without checks: a device decides this for every image.
    """
    doubt = 1.0 - max_phi  # in the precision of phi, as in `alpha`
    if max_experts == 1:
        best, weight = top(gate_logits)
        return ((best, weight),) if float(weight * doubt) >= tau else ()
    gate = softmax(gate_logits)
    order = np.argsort(-gate, kind="stable")[:max_experts].tolist()
    return tuple((k, gate[k]) for k in sorted(order) if float(gate[k] * doubt) >= tau)


def ensemble(base_logits: Floats, expert_logits: Floats, kind: Ensemble, space: Space) -> Floats:
    """[..., Y] logits of the base and of one expert -> [..., Y] d_k, a distribution.

    "bagging" is the paper's phi + e_k: the sum of logits in logit space, the mean of probabilities in
    probability space (the factor of 1/2 makes d_k a distribution and changes no decision).
    "expert" lets the expert answer alone, for experts that were trained alone.
    """
    if kind == "expert":
        return softmax(expert_logits)
    if space == "logit":
        return softmax(base_logits + expert_logits)
    result: Floats = (softmax(base_logits) + softmax(expert_logits)) / 2
    return result


def combine(gate: Floats, members: Floats, active: npt.NDArray[np.bool_]) -> Floats:
    """[..., K] gate, [..., K, Y] d_k, [..., K] mask -> [..., Y] scores: the sum over active k of g_k * d_k.

    As in the paper the weights are not renormalised over the active set, so the scores sum to the gate's mass
    on it; what is shown to a person, `Prediction.probabilities`, sums to 1.
    Rows without an active expert give zeros: their answer is the base's.
    """
    weights = np.where(active, gate, 0.0)
    result: Floats = np.einsum("...k,...ky->...y", weights, members)
    return result
