"""What a bundle does to a set of images: every part runs once, then any (tau, max_experts) is arithmetic.

Axis letters: N samples, K experts, Y classes, H W height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Ensemble, Floats, Space, active_experts, alpha, combine, ensemble, softmax
from edge_moe.backends import OpenPart, Tensor
from edge_moe.bundle import expert_name
from edge_moe.errors import BackendError, DataError

_AT_ONCE = 16  # samples that a part is handed: what has many processes to run it with uses them, and progress is seen

__all__ = [
    "Decisions",
    "Outputs",
    "Routed",
    "answers",
    "batches",
    "collect",
    "decide",
    "route",
]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outputs:
    """The logits of every part for every sample. Of a plain network K is 0, and two of them are empty."""

    base_logits: Floats  # [N, Y]
    gate_logits: Floats  # [N, K]
    expert_logits: Floats  # [N, K, Y]

    @classmethod
    def of_base(cls, base_logits: Floats) -> Outputs:
        """Return the outputs of a plain network: [N, Y] logits, and those of no gate and of no expert."""
        samples, classes = base_logits.shape
        return cls(base_logits, np.empty((samples, 0), np.float32), np.empty((samples, 0, classes), np.float32))


@dataclass(frozen=True)
class Decisions:
    """What the exit rule makes of the samples at one setting."""

    predictions: npt.NDArray[np.integer]  # [N], index of the answer
    active: Bools  # [N, K]
    gate_ran: Bools  # [N]

    @property
    def exited(self) -> Bools:
        """[N] whether no expert is active."""
        result: Bools = np.logical_not(self.active.any(axis=-1))
        return result

    @property
    def gate_share(self) -> float:
        """Of the samples, how many ran the gate."""
        return float(self.gate_ran.mean())

    @property
    def expert_shares(self) -> list[float]:
        """[K] of the samples, how many woke expert k."""
        return [float(share) for share in self.active.mean(axis=0)]


@dataclass(frozen=True)
class Routed(Decisions):
    """The same, with what was summed up."""

    scores: Floats  # [N, Y], as Prediction.scores


def batches(
    part: Callable[[str], OpenPart], experts: int, tensors: Iterable[Tensor], *, chunk: int = 256
) -> Iterator[Outputs]:
    """Run every part on every sample; yield the outputs of `chunk` samples at a time, so that memory is bounded.

    Args:
        part: name -> the part, opened, such as `Runtime.part`; an expert is asked for once a chunk, so that a
            budget which does not admit all of them is kept.
        experts: K; 0: the base alone is run.
        tensors: N input tensors, float32 [1, H, W, 3] or [H, W, 3]: an iterator or an array [N, H, W, 3].
        chunk: of how many samples the features are kept at a time.

    Raises:
        DataError: there are no samples.
        BackendError: a tensor has not the shape of the model's input, or the logits of the parts do not fit each other.
    """
    names = [expert_name(k) for k in range(experts)]
    base, gate = part("base"), part("gate") if experts else None
    wanted = ["logits", *(["features", "embedding"] if experts else [])]
    samples = iter(tensors)
    empty = True
    while True:
        base_logits, gate_logits, features = [], [], []
        some = islice(samples, chunk)
        while few := list(islice(some, _AT_ONCE)):
            found = base.each(wanted, [x if x.ndim == 4 else x[np.newaxis] for x in few])
            base_logits += found["logits"]
            if gate is not None:
                features += found["features"]
                gate_logits += gate.each(["logits"], found["embedding"])["logits"]
        if not base_logits:
            break
        by_expert = [np.concatenate(part(name).each(["logits"], features)["logits"]) for name in names]
        empty = False
        if not experts:
            yield Outputs.of_base(np.concatenate(base_logits))
            continue
        outputs = Outputs(np.concatenate(base_logits), np.concatenate(gate_logits), np.stack(by_expert, axis=1))
        _check_widths(outputs, experts)
        yield outputs
    if empty:
        raise DataError("there are no samples to run; expected at least one")


def _check_widths(outputs: Outputs, experts: int) -> None:
    classes, gate, expert = outputs.base_logits.shape[1], outputs.gate_logits.shape[1], outputs.expert_logits.shape[2]
    if gate != experts or expert != classes:
        raise BackendError(
            f"the artifacts do not fit each other: the gate gives {gate} logits for {experts} experts, the experts "
            f"{expert}, the base {classes}; convert the checkpoint again"
        )


def collect(part: Callable[[str], OpenPart], experts: int, tensors: Iterable[Tensor], *, chunk: int = 256) -> Outputs:
    """Return the outputs of every part for all samples at once, see `batches`.

    Raises:
        DataError: there are no samples.
        BackendError: a tensor has not the shape of the model's input.
    """
    found = list(batches(part, experts, tensors, chunk=chunk))
    return Outputs(
        np.concatenate([one.base_logits for one in found]),
        np.concatenate([one.gate_logits for one in found]),
        np.concatenate([one.expert_logits for one in found]),
    )


def route(outputs: Outputs, tau: float, max_experts: int, kind: Ensemble, space: Space) -> Routed:
    """Apply the exit rule to all samples at once; agrees with Runtime.predict_tensor sample by sample.

    Args:
        outputs: of every part.
        tau: the threshold on alpha, in [0, 1].
        max_experts: how many may run for one sample, in [1, K]; 0 where K is.
        kind: the manifest's ensemble.
        space: the manifest's space.

    Raises:
        UsageError: tau outside [0, 1], or max_experts outside [1, K] (0 where K is).
    """
    phi, gate = softmax(outputs.base_logits), softmax(outputs.gate_logits)
    active, gate_ran = decide(phi.max(axis=-1), gate, tau, max_experts)
    predictions, scores = answers(outputs, phi, gate, active, kind, space)
    return Routed(predictions, active, gate_ran, scores)


def answers(
    outputs: Outputs, phi: Floats, gate: Floats, active: Bools, kind: Ensemble, space: Space
) -> tuple[npt.NDArray[np.integer], Floats]:
    """[N, K] which experts are active -> [N] the answers and [N, Y] their scores, whoever decided that.

    Args:
        outputs: of every part.
        phi: [N, Y] probabilities of the base.
        gate: [N, K] probabilities of the gate.
        active: where none is, the answer is the base's.
        kind: the manifest's ensemble.
        space: the manifest's space.
    """
    scores, awake = phi.copy(), active.any(axis=-1)
    if awake.any():
        row, expert = np.nonzero(active[awake])
        logits = outputs.expert_logits[awake]
        members = np.zeros_like(logits)
        members[row, expert] = ensemble(outputs.base_logits[awake][row], logits[row, expert], kind, space)
        scores[awake] = combine(gate[awake], members, active[awake])
    # Of the logits, as the runtime: two of them may differ by so little that their probabilities are equal.
    return np.where(awake, scores.argmax(axis=-1), outputs.base_logits.argmax(axis=-1)), scores


def decide(max_phi: Floats, gate: Floats, tau: float, max_experts: int) -> tuple[Bools, Bools]:
    """Apply the exit rule to many samples: [N, K] which experts are active, and [N] whether the gate ran.

    The gate runs unless `anytime.exits_before_gate` says that it need not; a plain network, K = 0, has none.

    Args:
        max_phi: [N] the base's largest probabilities.
        gate: [N, K] probabilities of the gate.
        tau: the threshold on alpha, in [0, 1].
        max_experts: how many may run for one sample, in [1, K]; 0 where K is.

    Raises:
        UsageError: tau outside [0, 1], or max_experts outside [1, K] (0 where K is).
    """
    gate_ran: Bools = ~((1.0 - max_phi).astype(np.float64) < tau) & (gate.shape[1] > 0)
    alphas = alpha(max_phi[:, np.newaxis], gate)
    return active_experts(alphas, tau, max_experts, gate) & gate_ran[:, np.newaxis], gate_ran
