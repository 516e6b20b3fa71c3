"""Runtime: a bundle, loaded and ready to answer, with early exit.

Axis letters: H W height and width, E embedding, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edge_moe import backends
from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.backends import Backend, OpenPart, Tensor
from edge_moe.bundle import ArtifactSet, Bundle, Manifest
from edge_moe.certificates import stale
from edge_moe.checks import check_several, check_threads
from edge_moe.decode import Source
from edge_moe.digest import answers_digest, check_digest
from edge_moe.engine import Engine
from edge_moe.errors import UsageError
from edge_moe.here import pick
from edge_moe.operating import Certificate, SetOperating
from edge_moe.packed import Packed, packed_folder
from edge_moe.prediction import Prediction
from edge_moe.preprocess import prepare
from edge_moe.sets import named
from edge_moe.turns import SharedPart, Turn, let_go_in_children

if TYPE_CHECKING:
    from edge_moe.burst import Answered, Policy
    from edge_moe.progress import Progress
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
        weight_cache: bool | str | Path = True,
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
            expert_budget_bytes: how much private memory the loaded experts may hold together; the least recently used
                goes first. At least 2.25 times the largest artifact. None is no limit.
            weight_cache: where the weights of experts are kept as this processor wants them, so that an expert that is
                opened again takes a fraction of the time and of the memory. True is EDGE_MOE_WEIGHT_CACHE
                or the user's cache folder, False is nowhere. They are files for this machine alone, checked before
                they are used, 512 MiB at most; where none can be written, there are none. LiteRT on Linux has them.
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

        self._engine = Engine(
            self._bundle, self._set, self._backend, threads, expert_budget_bytes, _packed(weight_cache)
        )
        self._turn, self._lent = Turn(), dict[str, SharedPart]()
        let_go_in_children(self)

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
            if self._engine.is_closed:
                raise self._engine.closed()
            by = Answering(
                self.manifest,
                self._engine.part,
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
        return self._engine.experts.loaded

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
        fitting = self._engine.experts.fitting(wanted)
        if experts is not None and len(fitting) < len(wanted):
            raise UsageError(
                f"expert_budget_bytes has room for {len(fitting)} of the {len(wanted)} experts to preload; "
                "preload fewer, or give more"
            )
        with self._turn:
            if self._engine.is_closed:
                raise self._engine.closed()
            for _ in range(2):  # the first may have laid weights out, for which the others had to go
                for k in fitting:
                    self._engine.experts.get(k)
        return self.loaded_experts

    def predict(self, source: Source) -> Prediction:
        """Answer for one image: a file, its bytes, a stream, a PIL image, or a uint8 array [H, W] or [H, W, 1, 3 or 4].

        `milliseconds` of the answer does not include decoding and resizing the image.

        Raises:
            DataError: the source is not an image.
            UsageError: the runtime is closed, busy with another call, or of another process.
        """
        return self.predict_tensor(prepare(source, self.manifest.preprocessing))

    def predict_many(
        self,
        images: Iterable[Source],
        *,
        policy: Policy = "arrival",
        budget_macs: float | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Answered]:
        """Answer for many images, as of a gallery or a video, and give each answer as soon as it is known.

        An image that cannot be read, or needs an expert that cannot be had, has an error for an answer, and does not
        end the burst. tau and max_experts are
        those of this call. Other calls may be made while the caller has an answer.

        Args:
            images: each as `predict` takes it; of a generator the next is asked for when it is needed.
            policy: "arrival": as one by one, in their order. "grouped": the same answers to the last bit in another
                order; images that wake experts wait, until as many do as 64 MiB of features hold, and each expert is
                opened once for all of them. "budget": not tau decides but `budget_macs`: base and gate run on every
                image, then the best (image, expert) pairs, with max_experts an image at most; all answers come at the
                end.
            budget_macs: what all images together may take, for "budget" alone.
            progress: is told of bases, where the images are counted, and of experts.

        Raises:
            UsageError: an unknown policy, a budget without that policy or below what base and gate take, images that
                are not several, or the runtime is closed, busy or of another process.
            DataError: there are no images; or giving them failed, after what could be had was answered.
            OutputError: the disk is full, on which "budget" keeps features beyond 64 MiB.
        """
        from edge_moe.burst import POLICIES, Burst, Setting  # who answers one by one does not load what this takes

        check_several(images)
        if policy not in POLICIES:
            raise UsageError(f"policy is {policy!r}; expected one of {', '.join(POLICIES)}")
        burst = Burst(
            self._engine,
            self._turn,
            lambda source: prepare(source, self.manifest.preprocessing),
            Setting(self._tau, self._max_experts),
            progress=progress,
        )
        if (policy == "budget") != (budget_macs is not None):
            raise UsageError("budget_macs and the policy 'budget' belong together; give both, or neither")
        if budget_macs is not None:
            return burst.budget(images, budget_macs)
        return burst.arrival(images) if policy == "arrival" else burst.grouped(images)

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
            return self._engine.answer(start, x, self._tau, self._max_experts)
        finally:
            lock.release()

    def part(self, name: str) -> OpenPart:
        """Return the part called `name` (base, gate, expert_00, ...), to run it by itself.

        An expert is loaded if it is not in memory, and may be closed by the call that loads the next one.

        Raises:
            UsageError: there is no such part, or the runtime is closed, busy with another call, or of another process.
        """
        with self._turn:
            opened = self._engine.part(name)
            if name not in self._lent or self._lent[name].part is not opened:
                self._lent[name] = SharedPart(opened, self._turn)
            return self._lent[name]

    def close(self) -> None:
        """Release every part. May be called again; nothing else may. In a fork there is nothing to release.

        Raises:
            UsageError: the runtime is busy with another call.
        """
        if self._turn.foreign:
            return
        with self._turn:
            self._lent.clear()
            self._engine.close()

    def _let_go(self) -> list[object]:
        """Forget every part without closing it, and return them: for a fork, see `edge_moe.turns`."""
        self._turn.foreign = True
        return self._engine.let_go()


def _packed(weight_cache: bool | str | Path) -> Packed | None:
    if isinstance(weight_cache, bool):
        folder = packed_folder() if weight_cache else None
        return None if folder is None else Packed(folder)
    if not isinstance(weight_cache, str | Path) or not str(weight_cache):
        raise UsageError(f"weight_cache is {weight_cache!r}; expected a folder, or True or False")
    return Packed(Path(weight_cache))
