"""Runtime: a bundle, loaded and ready to answer, with early exit.

Axis letters: H W height and width, E embedding, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from functools import partial
from numbers import Integral
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edge_moe import backends
from edge_moe.anytime import (
    Floats,
    active_weights,
    check_max_experts,
    check_tau,
    ensemble,
    exits_before_gate,
    top,
)
from edge_moe.backends import Backend, OpenPart, Tensor
from edge_moe.bundle import ArtifactSet, Bundle, Manifest, expert_name
from edge_moe.cache import ExpertCache
from edge_moe.certificates import stale
from edge_moe.checks import check_threads
from edge_moe.decode import Source
from edge_moe.digest import answers_digest, check_digest
from edge_moe.errors import BundleError, DataError, UsageError
from edge_moe.here import pick
from edge_moe.operating import Certificate, SetOperating
from edge_moe.prediction import Prediction, Scores
from edge_moe.preprocess import prepare
from edge_moe.sets import named
from edge_moe.turns import SharedPart, Turn, let_go_in_children

if TYPE_CHECKING:
    from edge_moe.recalibrate import Recalibrated

__all__ = ["Prediction", "Runtime"]

_FLOAT32 = np.dtype(np.float32)


class Runtime:
    """A bundle that answers. One call at a time, in the process that opened it: one Runtime a thread, and a process.

    It may go from thread to thread between calls. Two calls at once, and a call in a fork, are refused.
    The base and the gate are in memory from the start; an expert is loaded when it is first needed. A plain network
    has a base alone, and every image exits.
    Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        *,
        tau: float | None = None,
        max_experts: int | None = None,
        backend: str | Backend | None = None,
        recipe: str | None = None,
        threads: int = 1,
        expert_budget_bytes: int | None = None,
        expect_digest: str | None = None,
    ) -> None:
        """Open a bundle.

        Args:
            bundle: the folder, or the opened bundle.
            tau: experts with alpha >= tau run, the sample exits when there are none; None is the bundle's default.
                Of a plain network any tau is taken, and none changes anything.
            max_experts: how many may run for one sample; None is the bundle's default, and that of a plain network 0.
            backend: which backend's artifacts; None is the bundle's first. An object is used as it is.
            recipe: which recipe's artifacts, "int8" or "fp32"; None is the bundle's first. Of the sets that both allow
                it is the first that can run on this machine; one before it is logged.
            threads: of the backend, from 1 to 1024.
            expert_budget_bytes: how many bytes the artifacts of the loaded experts may have together; the least
                recently used goes first. None is no limit.
            expect_digest: refuse artifacts that would answer otherwise, see `digest`. None is any.

        Raises:
            UsageError: an argument is outside what it may be.
            BundleError: there is no bundle, or it was altered, or has another digest than the one expected.
            BackendError: the backend refuses an artifact, or no such set can run on this machine.
            MissingExtraError: the backend is not installed.
        """
        check_threads(threads)
        self._bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        manifest = self._bundle.manifest
        self._set = pick(manifest, named(backend.name if isinstance(backend, Backend) else backend, recipe))
        self._operating = one = self._bundle.operating(self._set)
        self._promised: dict[tuple[float, int], Certificate] = {}
        if one.certificate is not None and not stale(one):
            self._promised[one.default_tau, one.default_max_experts] = one.certificate
        if expect_digest is not None:
            check_digest(manifest, self._set, expect_digest)
        self._backend = backend if isinstance(backend, Backend) else backends.get(self._set.backend)
        self._threads = threads
        self.tau = self._operating.default_tau if tau is None else tau
        self.max_experts = self._operating.default_max_experts if max_experts is None else max_experts

        names = [expert_name(k) for k in range(manifest.experts)]
        self._base_macs = manifest.parts["base"].macs
        self._gate_macs = manifest.parts["gate"].macs if manifest.experts else 0
        self._expert_macs = [manifest.parts[name].macs for name in names]
        self._labels, self._ensemble, self._space = manifest.labels, manifest.ensemble, manifest.space
        self._d_has_logits = manifest.ensemble == "expert" or manifest.space == "logit"
        # What predict_tensor writes over, so that it asks for no memory: [Y] each.
        self._spare, self._joint = np.empty((2, len(manifest.labels)), np.float32)
        self._input_shape = manifest.parts["base"].inputs[0].shape
        self._experts = ExpertCache(
            lambda k: self._open(names[k]), [self._set.parts[n].bytes for n in names], expert_budget_bytes
        )
        self._base: OpenPart | None = None
        self._gate: OpenPart | None = None
        self._turn, self._lent = Turn(), dict[str, SharedPart]()
        let_go_in_children(self)
        try:
            self._base = self._open("base")
            if manifest.experts:
                self._gate = self._open("gate")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Runtime:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self._bundle.manifest

    @property
    def artifacts(self) -> ArtifactSet:
        """The set of artifacts that is run."""
        return self._set

    @property
    def operating(self) -> SetOperating:
        """The defaults and the operating points of that set."""
        return self._operating

    @property
    def certificate(self) -> Certificate | None:
        """What tau and max_experts, as they are now, promise of this set; None: nothing. See edge_moe.promise."""
        return self._promised.get((self.tau, self.max_experts))

    def recalibrate(
        self,
        images: Iterable[Source],
        promise: str = "changed<=1%",
        *,
        confidence: float = 0.95,
        groups: Sequence[int] | None = None,
    ) -> Recalibrated:
        """Set tau to the largest that keeps a promise on the device's own images, which need no labels.

        What is promised holds for images that are drawn as these were, answered by this set, at this max_experts. Until
        it returns, no other call is answered.

        Args:
            images: drawn as those will be that come, one by one: files, PIL images or uint8 arrays.
            promise: "changed<=1%": of all images that could come, at most so many are answered otherwise than at
                tau = 0.
            confidence: 1 - delta: in at most delta of all draws of images the promise is broken.
            groups: [N] which images belong together, as those of one burst do; None: each stands for itself.

        Raises:
            UsageError: no such promise, these are not several images, or the bundle is a plain network; or as
                `predict`.
            DataError: an image cannot be read, or they are too few: says how many it takes. tau stays as it was.
        """
        from edge_moe.fingerprints import chose_recipe  # who only answers does not load what this takes
        from edge_moe.promise import Promise
        from edge_moe.recalibrate import Answering, recalibrate

        wanted = Promise.parse(promise, confidence)
        with self._turn:
            if self._base is None:
                raise self._closed()
            by = Answering(
                self.manifest,
                self._part,
                self.digest,
                self._max_experts,
                partial(chose_recipe, self._bundle.path, self._set.backend),
            )
            found = recalibrate(by, images, wanted, groups)
        self._promised[found.tau, found.max_experts] = found.certificate
        self.tau, self.max_experts = found.tau, found.max_experts
        return found

    @property
    def digest(self) -> str:
        """Of all that decides the answers of the artifacts that are run, see edge_moe.digest."""
        return answers_digest(self.manifest, self._set)

    @property
    def tau(self) -> float:
        """The threshold on alpha, in [0, 1]; may be set between calls."""
        return self._tau

    @tau.setter
    def tau(self, tau: float) -> None:
        self._tau = check_tau(tau)

    @property
    def max_experts(self) -> int:
        """How many experts may run for one sample, in [1, K], 0 where K is; may be set between calls."""
        return self._max_experts

    @max_experts.setter
    def max_experts(self, max_experts: int) -> None:
        self._max_experts = check_max_experts(max_experts, self.manifest.experts)

    @property
    def loaded_experts(self) -> tuple[int, ...]:
        """The indices of the experts that are in memory."""
        return self._experts.loaded

    def preload(self, experts: Iterable[int] | None = None) -> tuple[int, ...]:
        """Load experts before they are needed, so that no image has to wait for one; return those in memory.

        Args:
            experts: their indices; None: all, or the first for which there is room. Those that are in memory already,
                and are not among them, may have to go.

        Raises:
            UsageError: there is no such expert, the budget has no room for all of them, or the runtime is closed, busy
                with another call, or of another process.
            BundleError, BackendError: as when the runtime was opened; what was loaded until then stays.
        """
        count = self.manifest.experts
        wanted = list(range(count)) if experts is None else [*dict.fromkeys(experts)]
        for k in wanted:
            if isinstance(k, bool) or not isinstance(k, Integral) or not 0 <= k < count:
                known = f"expected whole numbers from 0 to {count - 1}" if count else "a plain network has none"
                raise UsageError(f"there is no expert {k!r}; {known}")
        fitting = self._experts.fitting(wanted)
        if experts is not None and len(fitting) < len(wanted):
            raise UsageError(
                f"expert_budget_bytes has room for {len(fitting)} of the {len(wanted)} experts to preload; "
                "preload fewer, or give more"
            )
        with self._turn:
            if self._base is None:
                raise self._closed()
            for k in fitting:
                self._experts.get(k)
        return self.loaded_experts

    def predict(self, source: Source) -> Prediction:
        """Answer for one image: a file, its bytes, a stream, a PIL image, or a uint8 array [H, W] or [H, W, 1, 3 or 4].

        `milliseconds` of the answer does not include decoding and resizing the image.

        Raises:
            DataError: the source is not an image.
            UsageError: the runtime is closed, busy with another call, or of another process.
        """
        return self.predict_tensor(prepare(source, self.manifest.preprocessing))

    def predict_tensor(self, x: Tensor) -> Prediction:
        """Answer for one normalised input tensor: float32 [1, H, W, 3] or [H, W, 3].

        Raises:
            DataError: another shape or dtype, or an answer that is not a number. A NaN in the input is not looked for:
                artifacts in int8 may turn it into a number.
            BundleError: an artifact gives another number of logits than the manifest has labels or experts.
            UsageError: the runtime is closed, busy with another call, or of another process.
        """
        start = perf_counter()
        lock = self._turn.lock
        if not lock.acquire(False):
            raise self._turn.refusal()
        try:
            return self._predict(start, x)
        finally:
            lock.release()

    def _predict(self, start: float, x: Tensor) -> Prediction:
        base, gate = self._base, self._gate
        if base is None:
            raise self._closed()
        base.invoke(self._checked(x))
        base_logits = base.output("logits")[0]
        if base_logits.shape != self._spare.shape:
            raise self._wrong_width("base", base_logits, self._spare)
        index, max_phi = top(base_logits, self._spare)
        if max_phi != max_phi:  # NaN
            raise DataError("the base's answer is not a number; check how the input tensor was normalised")
        if gate is None or exits_before_gate(max_phi, self._tau):  # a plain network has no gate
            return self._answer(start, index, max_phi, (), False, (1.0, (base_logits,)))
        gate.invoke(base.output("embedding"))
        gate_logits = gate.output("logits")[0]
        if len(gate_logits) != len(self._expert_macs):
            raise self._wrong_width("gate", gate_logits, self._expert_macs)
        active = active_weights(gate_logits, max_phi, self._tau, self._max_experts)
        if not active:
            return self._answer(start, index, max_phi, (), True, (1.0, (base_logits,)))

        features = base.output("features")
        if len(active) == 1 and self._d_has_logits:  # then the answer needs no more than its largest probability
            k, weight = active[0]
            expert_logits = self._run(k, features)
            terms = (expert_logits,) if self._ensemble == "expert" else (base_logits, expert_logits)
            logits = expert_logits if len(terms) == 1 else np.add(base_logits, expert_logits, self._joint)
            index, probability = top(logits, self._spare)
            return self._answer(start, index, probability, (k,), True, (weight, terms))
        scores = np.zeros_like(base_logits)
        for k, weight in active:
            scores += weight * ensemble(base_logits, self._run(k, features), self._ensemble, self._space)
        index = int(scores.argmax())
        experts = tuple(k for k, _ in active)
        return self._answer(start, index, scores[index] / np.add.reduce(scores), experts, True, scores)

    def _run(self, k: int, features: Tensor) -> Floats:
        expert = self._experts.get(k)
        expert.invoke(features)
        logits: Floats = expert.output("logits")[0]
        if logits.shape != self._spare.shape:
            raise self._wrong_width(expert_name(k), logits, self._spare)
        return logits

    def _wrong_width(self, part: str, logits: Floats, expected: Sized) -> BundleError:
        return BundleError(
            f"{self._bundle.path / self._set.parts[part].file} gives {logits.size} logits, but the manifest has "
            f"{len(expected)} {'experts' if part == 'gate' else 'labels'}; convert the checkpoint again"
        )

    def _answer(
        self, start: float, index: int, probability: float, experts: tuple[int, ...], gate_ran: bool, scores: Scores
    ) -> Prediction:
        macs = self._base_macs
        if gate_ran:
            if probability != probability:  # NaN: the base's was looked for before
                raise DataError(
                    f"the answer of expert {', '.join(map(str, experts))} is not a number; check how the input tensor "
                    "was normalised, and the expert's artifact by 'edge-moe verify'"
                )
            macs += self._gate_macs
            for k in experts:
                macs += self._expert_macs[k]
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
            len(self._expert_macs),
        )

    def part(self, name: str) -> OpenPart:
        """Return the part called `name` (base, gate, expert_00, ...), to run it by itself.

        An expert is loaded if it is not in memory, and may be closed by the call that loads the next one.

        Raises:
            UsageError: there is no such part, or the runtime is closed, busy with another call, or of another process.
        """
        with self._turn:
            opened = self._part(name)
            if name not in self._lent or self._lent[name].part is not opened:
                self._lent[name] = SharedPart(opened, self._turn)
            return self._lent[name]

    def _part(self, name: str) -> OpenPart:
        if self._base is None:
            raise self._closed()
        if name == "base":
            return self._base
        if name == "gate" and self._gate is not None:
            return self._gate
        for k in range(self.manifest.experts):
            if name == expert_name(k):
                return self._experts.get(k)
        raise UsageError(f"there is no part {name!r}; expected one of {', '.join(self.manifest.parts)}")

    def close(self) -> None:
        """Release every part. May be called again; nothing else may. In a fork there is nothing to release.

        Raises:
            UsageError: the runtime is busy with another call.
        """
        if self._turn.foreign:
            return
        with self._turn:
            for part in (self._base, self._gate):
                if part is not None:
                    part.close()
            self._base = self._gate = None
            self._lent.clear()
            self._experts.close()

    def _let_go(self) -> list[object]:
        """Forget every part without closing it, and return them: for a fork, see `edge_moe.turns`."""
        self._turn.foreign = True
        parts = [self._base, self._gate, *self._experts.let_go()]
        self._base = self._gate = None
        return [part for part in parts if part is not None]

    def _closed(self) -> UsageError:
        return self._turn.refusal() if self._turn.foreign else UsageError("the runtime is closed; open another one")

    def _open(self, name: str) -> OpenPart:
        # Bundle.read compares the hash: altered bytes do not reach native code.
        return self._backend.open(self._bundle.read(self._set.parts[name]), threads=self._threads)

    def _checked(self, x: Tensor) -> Tensor:
        if not isinstance(x, np.ndarray) or x.dtype != _FLOAT32:
            found = f"dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
            raise DataError(f"the input tensor has {found}; expected a float32 array; for an image use predict")
        if x.shape == self._input_shape:
            return x
        if x.shape == self._input_shape[1:]:
            return x[np.newaxis]
        raise DataError(f"the input tensor has shape {list(x.shape)}; expected {list(self._input_shape)}")
