"""The trace: what a bundle decides for each image, small enough to keep, from which any operating point follows.

The active experts of an image are always the first few in the order of its gate: alpha_k = g_k (1 - max phi) falls
in that order. So an image has K + 1 possible answers, and what tau and max_experts change is only how far down its
order it goes. Nothing has to be run again. An image of a plain network, K = 0, has one.

Beside what the exit rule needs stands what other rules would: scores of the base's doubt, and the answer with each
expert by itself, so that another score, or a routing to another expert, can be replayed on what is kept.

Axis letters: N samples, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Floats, Space, ensemble, softmax
from edge_moe.backends import OpenPart, Tensor
from edge_moe.evaluate import Decisions, Outputs, batches, decide

__all__ = ["Trace", "record", "trace"]


@dataclass(frozen=True)
class Trace:
    """What decides about N samples, and every answer that they can get."""

    max_phi: npt.NDArray[np.float32]  # [N] the base's largest probability
    gate: npt.NDArray[np.float32]  # [N, K] gate probabilities
    answers: npt.NDArray[np.int32]  # [N, K+1] class by the base alone, and with the first 1, 2, ... K experts
    single: npt.NDArray[np.int32]  # [N, K] class with expert k, and no other, whatever the gate says
    second_phi: npt.NDArray[np.float32]  # [N] the base's second-largest probability; 0 of one class
    entropy: npt.NDArray[np.float32]  # [N] of the base's probabilities, in nats
    log_sum_exp: npt.NDArray[np.float32]  # [N] of the base's logits

    def __len__(self) -> int:
        return len(self.max_phi)

    def at(self, tau: float, max_experts: int) -> Decisions:
        """Return what `evaluate.route` says at this setting.

        Raises:
            UsageError: tau outside [0, 1], or max_experts outside [1, K] (0 where K is).
        """
        active, gate_ran = decide(self.max_phi, self.gate, tau, max_experts)
        count = active.sum(axis=1)
        return Decisions(self.answers[np.arange(len(self)), count], active, gate_ran)

    def rows(self, indices: npt.NDArray[np.integer]) -> Trace:
        """Return the trace of some of the samples."""
        return Trace(**{name: values[indices] for name, values in vars(self).items()})


def trace(outputs: Outputs, kind: Ensemble, space: Space) -> Trace:
    """Return the trace of samples whose outputs are all at hand.

    Args:
        outputs: of every part, logits in float32.
        kind: the manifest's ensemble.
        space: the manifest's space.
    """
    gate, phi = softmax(outputs.gate_logits), softmax(outputs.base_logits)
    order = np.argsort(-gate, axis=1, kind="stable")  # [N, K]
    members = ensemble(outputs.base_logits[:, np.newaxis], outputs.expert_logits, kind, space)  # [N, K, Y]
    ranked = np.take_along_axis(members, order[..., np.newaxis], axis=1)
    scores = np.cumsum(ranked * np.take_along_axis(gate, order, axis=1)[..., np.newaxis], axis=1)
    base = outputs.base_logits.argmax(axis=-1)
    highest = np.sort(phi, axis=-1)[:, -2:]
    return Trace(
        max_phi=highest[:, -1],
        gate=gate,
        answers=np.concatenate([base[:, np.newaxis], scores.argmax(axis=-1)], axis=1).astype(np.int32),
        single=members.argmax(axis=-1).astype(np.int32),
        second_phi=highest[:, 0] if highest.shape[1] > 1 else np.zeros_like(highest[:, 0]),
        entropy=_entropy(phi),
        log_sum_exp=_log_sum_exp(outputs.base_logits),
    )


def _entropy(phi: Floats) -> npt.NDArray[np.float32]:
    """[N, Y] probabilities -> [N] entropy in nats; a probability that rounds to 0 adds nothing."""
    logs = np.log(phi, out=np.zeros_like(phi), where=phi > 0)
    result: npt.NDArray[np.float32] = np.maximum(-(phi * logs).sum(axis=-1), 0).astype(np.float32)
    return result


def _log_sum_exp(logits: Floats) -> npt.NDArray[np.float32]:
    """[N, Y] logits -> [N] log of the sum of their exponentials: minus the energy score (Liu et al., NeurIPS 2020)."""
    largest = logits.max(axis=-1)
    result: npt.NDArray[np.float32] = largest + np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=-1))
    return result.astype(np.float32)


def record(
    part: Callable[[str], OpenPart], experts: int, kind: Ensemble, space: Space, tensors: Iterable[Tensor]
) -> Trace:
    """Run every part on every sample, see `evaluate.batches`, and keep the trace.

    Raises:
        DataError: there are no samples.
        BackendError: a tensor has not the shape of the model's input.
    """
    found = [vars(trace(outputs, kind, space)) for outputs in batches(part, experts, tensors)]
    return Trace(**{name: np.concatenate([one[name] for one in found]) for name in found[0]})
