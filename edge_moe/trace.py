"""The trace: what a bundle decides for each image, small enough to keep, from which any operating point follows.

The active experts of an image are always the first few in the order of its gate: alpha_k = g_k (1 - max phi) falls
in that order. So an image has K + 1 possible answers, and what tau and max_experts change is only how far down its
order it goes. Nothing has to be run again. An image of a plain network, K = 0, has one.

Axis letters: N samples, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Space, active_experts, alpha, ensemble, softmax
from edge_moe.backends import OpenPart, Tensor
from edge_moe.evaluate import Decisions, Outputs, batches, gate_runs

__all__ = ["Trace", "record", "trace"]


@dataclass(frozen=True)
class Trace:
    """What decides about N samples, and every answer that they can get."""

    max_phi: npt.NDArray[np.float32]  # [N] the base's largest probability
    gate: npt.NDArray[np.float32]  # [N, K] gate probabilities
    answers: npt.NDArray[np.int32]  # [N, K+1] class by the base alone, and with the first 1, 2, ... K experts

    def __len__(self) -> int:
        return len(self.max_phi)

    def at(self, tau: float, max_experts: int) -> Decisions:
        """Return what `evaluate.route` says at this setting.

        Raises:
            UsageError: tau outside [0, 1], or max_experts outside [1, K] (0 where K is).
        """
        gate_ran = gate_runs(self.max_phi, tau, self.gate.shape[1])
        alphas = alpha(self.max_phi[:, np.newaxis], self.gate)
        active = active_experts(alphas, tau, max_experts, self.gate) & gate_ran[:, np.newaxis]
        count = active.sum(axis=1)
        return Decisions(self.answers[np.arange(len(self)), count], active, gate_ran)

    def rows(self, indices: npt.NDArray[np.integer]) -> Trace:
        """Return the trace of some of the samples."""
        return Trace(self.max_phi[indices], self.gate[indices], self.answers[indices])


def trace(outputs: Outputs, kind: Ensemble, space: Space) -> Trace:
    """Return the trace of samples whose outputs are all at hand.

    Args:
        outputs: of every part, logits in float32.
        kind: the manifest's ensemble.
        space: the manifest's space.
    """
    gate = softmax(outputs.gate_logits)
    order = np.argsort(-gate, axis=1, kind="stable")[..., np.newaxis]  # [N, K, 1]
    logits = np.take_along_axis(outputs.expert_logits, order, axis=1)
    members = ensemble(outputs.base_logits[:, np.newaxis], logits, kind, space)
    scores = np.cumsum(members * np.take_along_axis(gate[..., np.newaxis], order, axis=1), axis=1)  # [N, K, Y]
    base = outputs.base_logits.argmax(axis=-1)
    answers = np.concatenate([base[:, np.newaxis], scores.argmax(axis=-1)], axis=1)
    return Trace(softmax(outputs.base_logits).max(axis=-1), gate, answers.astype(np.int32))


def record(
    part: Callable[[str], OpenPart], experts: int, kind: Ensemble, space: Space, tensors: Iterable[Tensor]
) -> Trace:
    """Run every part on every sample, see `evaluate.batches`, and keep the trace.

    Raises:
        DataError: there are no samples.
        BackendError: a tensor has not the shape of the model's input.
    """
    found = [trace(outputs, kind, space) for outputs in batches(part, experts, tensors)]
    return Trace(
        np.concatenate([one.max_phi for one in found]),
        np.concatenate([one.gate for one in found]),
        np.concatenate([one.answers for one in found]),
    )
