"""What answers one tensor: base, gate and experts of a set, opened, and the exit rule between them.

Not thread-safe; whose turn it is, and what a person asks for, is `edge_moe.runtime`'s.

Axis letters: H W height and width, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from edge_moe.anytime import Floats, active_weights, ensemble, exits_before_gate, top
from edge_moe.backends import Backend, OpenPart, Tensor
from edge_moe.bundle import ArtifactSet, Bundle, expert_name
from edge_moe.cache import ExpertCache
from edge_moe.errors import BundleError, DataError, UsageError
from edge_moe.packed import Packed
from edge_moe.prediction import Prediction, Scores
from edge_moe.turns import FOREIGN

__all__ = ["Engine", "Waking"]

_FLOAT32 = np.dtype(np.float32)


class Waking(NamedTuple):
    """What the experts of an image that wakes some go on with."""

    base_logits: Floats  # [Y]
    max_phi: Any  # the base's largest probability
    active: tuple[tuple[int, Any], ...]  # (k, g_k) of the experts that are to run, ascending in k
    features: Tensor


class Engine:
    """The parts of one set: base and gate in memory from the start, an expert when it is first needed."""

    def __init__(
        self,
        bundle: Bundle,
        artifacts: ArtifactSet,
        backend: Backend,
        threads: int,
        expert_budget_bytes: int | None,
        packed: Packed | None,
    ) -> None:
        """Open base and gate of `artifacts`; the arguments are those of `Runtime`.

        `packed`: where the experts' weights are kept; None: nowhere.

        Raises:
            UsageError: the budget does not admit the largest expert.
            BundleError, BackendError, MissingExtraError: as of `Runtime`.
        """
        self._bundle, self._set, self._backend, self._threads = bundle, artifacts, backend, threads
        self._packed = packed
        manifest = bundle.manifest
        names = [expert_name(k) for k in range(manifest.experts)]
        self.base_macs = manifest.parts["base"].macs
        self.gate_macs = manifest.parts["gate"].macs if manifest.experts else 0
        self.expert_macs = [manifest.parts[name].macs for name in names]
        self._labels, self._ensemble, self._space = manifest.labels, manifest.ensemble, manifest.space
        self._d_has_logits = manifest.ensemble == "expert" or manifest.space == "logit"
        # What `begin` and `finish` write over, so that they ask for no memory: [Y] each.
        self._spare, self._joint = np.empty((2, len(manifest.labels)), np.float32)
        self._input_shape = manifest.parts["base"].inputs[0].shape
        self.experts = ExpertCache(
            lambda k: self._open_expert(names[k]), [artifacts.parts[n].bytes for n in names], expert_budget_bytes
        )
        if packed is not None:
            packed.before_making = self.experts.make_room_for_all
        self._base: OpenPart | None = None
        self._gate: OpenPart | None = None
        self._is_foreign = False  # it was opened in another process
        try:
            self._base = self._open("base")
            if manifest.experts:
                self._gate = self._open("gate")
        except BaseException:
            self.close()
            raise

    def answer(self, start: float, x: Tensor, tau: float, max_experts: int) -> Prediction:
        """Answer for one tensor; the arguments and what is raised are those of `begin`, `run` and `finish`."""
        found = self.begin(start, x, tau, max_experts)
        return found if isinstance(found, Prediction) else self.finish(start, found, self.run)

    def begin(self, start: float, x: Tensor, tau: float, max_experts: int) -> Prediction | Waking:
        """Run the base, and the gate where it is needed; return the answer, or what the experts are to go on with.

        Args:
            start: when the image's turn began, as `perf_counter` tells it.
            x: the normalised input tensor, float32 [1, H, W, 3] or [H, W, 3].
            tau: the threshold on alpha.
            max_experts: how many may run.

        Raises:
            DataError: another shape or dtype, or the base's answer is not a number.
            BundleError: another number of logits than the manifest has labels or experts.
            UsageError: closed.
        """
        base, gate = self._base, self._gate
        if base is None:
            raise self.closed()
        base.invoke(self._checked(x))
        base_logits = base.output("logits")[0]
        if base_logits.shape != self._spare.shape:
            raise self._wrong_width("base", base_logits, self._spare)
        index, max_phi = top(base_logits, self._spare)
        if max_phi != max_phi:  # NaN
            raise DataError("the base's answer is not a number; check how the input tensor was normalised")
        if gate is None or exits_before_gate(max_phi, tau):  # a plain network has no gate
            return self._answer(start, index, max_phi, (), False, (1.0, (base_logits,)))
        gate.invoke(base.output("embedding"))
        gate_logits = gate.output("logits")[0]
        if len(gate_logits) != len(self.expert_macs):
            raise self._wrong_width("gate", gate_logits, self.expert_macs)
        active = active_weights(gate_logits, max_phi, tau, max_experts)
        if not active:
            return self._answer(start, index, max_phi, (), True, (1.0, (base_logits,)))
        return Waking(base_logits, max_phi, active, base.output("features"))

    def run(self, k: int, features: Tensor) -> Floats:
        """Return the logits [Y] of expert k, which is opened where it is not in memory.

        Raises:
            BundleError, BackendError: as when the runtime was opened, or another number of logits than labels.
            UsageError: closed.
        """
        if self._base is None:
            raise self.closed()
        expert = self.experts.get(k)
        expert.invoke(features)
        if self.experts.new is not None:
            self.experts.measure()
        logits: Floats = expert.output("logits")[0]
        if logits.shape != self._spare.shape:
            raise self._wrong_width(expert_name(k), logits, self._spare)
        return logits

    def finish(self, start: float, waking: Waking, run: Callable[[int, Tensor], Floats]) -> Prediction:
        """Return the answer of the base and of the active experts, whose logits `run` gives; of none: the base's.

        Raises:
            DataError: the answer is not a number.
        """
        base_logits, _, active, features = waking
        if not active:
            index, probability = top(base_logits, self._spare)
            return self._answer(start, index, probability, (), True, (1.0, (base_logits,)))
        if len(active) == 1 and self._d_has_logits:  # then the answer needs no more than its largest probability
            k, weight = active[0]
            expert_logits = run(k, features)
            terms = (expert_logits,) if self._ensemble == "expert" else (base_logits, expert_logits)
            logits = expert_logits if len(terms) == 1 else np.add(base_logits, expert_logits, self._joint)
            index, probability = top(logits, self._spare)
            return self._answer(start, index, probability, (k,), True, (weight, terms))
        scores = np.zeros_like(base_logits)
        for k, weight in active:
            scores += weight * ensemble(base_logits, run(k, features), self._ensemble, self._space)
        index = int(scores.argmax())
        experts = tuple(k for k, _ in active)
        return self._answer(start, index, scores[index] / np.add.reduce(scores), experts, True, scores)

    def part(self, name: str) -> OpenPart:
        """Return the part called `name`, as `Runtime.part`."""
        if self._base is None:
            raise self.closed()
        if name == "base":
            return self._base
        if name == "gate" and self._gate is not None:
            return self._gate
        for k in range(len(self.expert_macs)):
            if name == expert_name(k):
                return self.experts.get(k)
        raise UsageError(f"there is no part {name!r}; expected one of {', '.join(self._bundle.manifest.parts)}")

    @property
    def is_closed(self) -> bool:
        """Whether `close` or `let_go` was called."""
        return self._base is None

    def closed(self) -> UsageError:
        """Return what a call gets that comes after `close`, or after a fork took everything away."""
        return UsageError(FOREIGN if self._is_foreign else "the runtime is closed; open another one")

    def close(self) -> None:
        """Release every part."""
        for part in (self._base, self._gate):
            if part is not None:
                part.close()
        self._base = self._gate = None
        self.experts.close()

    def let_go(self) -> list[object]:
        """Forget every part without closing it, and return them."""
        self._is_foreign = True
        parts = [self._base, self._gate, *self.experts.let_go()]
        self._base = self._gate = None
        return [part for part in parts if part is not None]

    def _answer(
        self, start: float, index: int, probability: float, experts: tuple[int, ...], gate_ran: bool, scores: Scores
    ) -> Prediction:
        macs = self.base_macs
        if gate_ran:
            if probability != probability:  # NaN: the base's was looked for before
                raise DataError(
                    f"the answer of expert {', '.join(map(str, experts))} is not a number; check how the input tensor "
                    "was normalised, and the expert's artifact by 'edge-moe verify'"
                )
            macs += self.gate_macs
            for k in experts:
                macs += self.expert_macs[k]
        # By position: on a device every name costs.
        return Prediction(
            self._labels[index],
            index,
            float(probability),
            experts,
            gate_ran,
            macs,
            (perf_counter() - start) * 1000,
            scores,
            len(self.expert_macs),
        )

    def _wrong_width(self, part: str, logits: Floats, expected: Sized) -> BundleError:
        return BundleError(
            f"{self._bundle.path / self._set.parts[part].file} gives {logits.size} logits, but the manifest has "
            f"{len(expected)} {'experts' if part == 'gate' else 'labels'}; convert the checkpoint again"
        )

    def _open(self, name: str) -> OpenPart:
        # Bundle.read compares the hash: altered bytes do not reach native code.
        return self._backend.open(self._bundle.read(self._set.parts[name]), threads=self._threads)

    def _open_expert(self, name: str) -> OpenPart:
        if self._packed is None:
            return self._open(name)
        artifact = self._set.parts[name]
        file = self._bundle.path / artifact.file
        opened = self._backend.open_packed(file, artifact.sha256, self._packed, threads=self._threads)
        return self._open(name) if opened is None else opened

    def _checked(self, x: Tensor) -> Tensor:
        if not isinstance(x, np.ndarray) or x.dtype != _FLOAT32:
            found = f"dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
            raise DataError(f"the input tensor has {found}; expected a float32 array; for an image use predict")
        if x.shape == self._input_shape:
            return x
        if x.shape == self._input_shape[1:]:
            return x[np.newaxis]
        raise DataError(f"the input tensor has shape {list(x.shape)}; expected {list(self._input_shape)}")
