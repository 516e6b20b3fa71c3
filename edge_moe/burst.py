"""Many images at once, as of a gallery or a video: which of their experts run, and in what order.

    arrival   as one by one
    grouped   the same answers to the last bit, and each expert is opened once for all that wait for it
    budget    not tau but a number of MACs for all images together: the (image, expert) pairs of the largest alphas run

The budget's answers are those of the exit rule, with the tau that would have spent it. Routers of the literature decide
by the gate alone, and lose to that by up to 2.5 points of accuracy where experts gain anything: docs/bursts.md.

Axis letters: N images, K experts, Y classes.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from numbers import Real
from time import perf_counter
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import Floats
from edge_moe.backends import Tensor
from edge_moe.decode import Source
from edge_moe.engine import Engine, Waking
from edge_moe.errors import BackendError, BundleError, DataError, EdgeMoeError, OutputError, UsageError
from edge_moe.output import reason
from edge_moe.prediction import Prediction
from edge_moe.progress import Progress, Silent
from edge_moe.text import one_line
from edge_moe.turns import Turn

__all__ = ["POLICIES", "Answered", "Burst", "Policy", "Setting", "best_pairs"]

Policy: TypeAlias = Literal["arrival", "grouped", "budget"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

_KEPT_BYTES = 64 << 20  # of the features of images that wait: some 800 of MobileNetV3-Small at 224 pixels
_ITS_OWN = (DataError, BundleError, BackendError)  # errors that leave the other images as they were
_BASES, _EXPERTS = "bases", "experts"  # steps, to a Progress


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer for one image of a burst, or why there is none; the others are answered."""

    index: int  # the image's place in the burst, from 0
    prediction: Prediction | None  # None: there is an `error`
    error: EdgeMoeError | None = None  # of the image, or of an expert that it needs and that cannot be had

    def __str__(self) -> str:
        """Return "3: cat 93.1% (...)", or what is wrong with the image."""
        return f"{self.index}: {self.error or self.prediction}"


@dataclass(slots=True)
class _Held:
    """An image whose experts have not all run."""

    index: int
    active: tuple[tuple[int, Any], ...]  # (k, g_k)
    max_phi: Any
    place: int  # of the rest in the shelf
    spent: float  # seconds, until now
    logits: dict[int, Floats] = field(default_factory=dict)  # k -> [Y]
    failed: bool = False  # one of its experts cannot be had


class _Shelf:
    """What was computed of images that wait: logits [Y] of the base, and features.

    In memory up to `most_bytes`, 0 is no limit; beyond in a file without a name, which goes when the process does.
    """

    def __init__(self, most_bytes: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=most_bytes)  # noqa: SIM115 (closed with the burst)
        self._shapes: tuple[tuple[int, ...], ...] = ()

    def put(self, *arrays: npt.NDArray[np.float32]) -> int:
        self._shapes = tuple(one.shape for one in arrays)  # of every image the same
        try:
            place = self._file.seek(0, 2)
            for one in arrays:
                self._file.write(one.tobytes())
        except OSError as error:
            raise OutputError(
                f"{error.filename or 'the folder of temporary files'} cannot hold what was computed of a burst: "
                f"{reason(error)}; make room there, or give fewer images at once"
            ) from None
        return place

    def get(self, place: int) -> list[npt.NDArray[np.float32]]:
        self._file.seek(place)
        found = []
        for shape in self._shapes:
            data = self._file.read(4 * int(np.prod(shape)))
            found.append(np.frombuffer(data, np.float32).reshape(shape))
        return found

    @property
    def size(self) -> int:
        """In bytes."""
        return self._file.tell()

    def clear(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        self._file.close()


class Setting(NamedTuple):
    """How a runtime answers."""

    tau: float
    max_experts: int


class Burst:
    """One call of `Runtime.predict_many`."""

    def __init__(
        self,
        engine: Engine,
        turn: Turn,
        tensor: Callable[[Source], Tensor],
        setting: Setting,
        *,
        kept_bytes: int = _KEPT_BYTES,
        progress: Progress | None = None,
    ) -> None:
        """Compute nothing yet.

        Args:
            engine: what answers.
            turn: is taken for as long as something is computed, and not while the caller has an answer.
            tensor: an image -> the input tensor.
            setting: tau and max_experts.
            kept_bytes: of features that are kept in memory.
            progress: of images whose count is known.
        """
        self._engine, self._turn, self._tensor, self._setting = engine, turn, tensor, setting
        self._kept_bytes, self._progress = kept_bytes, progress or Silent()

    def arrival(self, images: Iterable[Source]) -> Iterator[Answered]:
        """Answer one by one; an image that cannot be read has an error for an answer.

        Raises:
            DataError: there are no images, or giving them failed.
        """
        given = _Given(images, self._progress)
        for index, source in given:
            try:
                x = self._tensor(source)
                with self._turn:
                    answer = Answered(index, self._engine.answer(perf_counter(), x, *self._setting))
            except _ITS_OWN as error:
                answer = Answered(index, None, error)
            yield answer
        given.end()

    def grouped(self, images: Iterable[Source]) -> Iterator[Answered]:
        """Answer those that exit at once, and the others by expert, when as many wait as there is room for.

        Raises:
            DataError: there are no images, or giving them failed; then the others are answered before.
        """
        shelf, waiting = _Shelf(0), list[_Held]()
        given = _Given(images, self._progress)
        try:
            for index, source in given:
                found = self._begin(index, source, self._setting, shelf)
                if isinstance(found, Answered):
                    yield found
                    continue
                waiting.append(found)
                if shelf.size >= self._kept_bytes:
                    yield from self._wake(waiting, shelf)
                    waiting = []
                    shelf.clear()
            yield from self._wake(waiting, shelf)
            given.end()
        finally:
            shelf.close()

    def budget(self, images: Iterable[Source], macs: float) -> Iterator[Answered]:
        """Run base and gate on every image, then the best pairs for which `macs` are enough; the answers come last.

        Raises:
            UsageError: the budget is below what base and gate take, of all images or of those until now.
            DataError: there are no images, or giving them failed; then the others are answered before.
            OutputError: there is no room for what is kept of them.
        """
        each = self._engine.base_macs + self._engine.gate_macs
        known = len(images) if isinstance(images, Sized) else 1
        if isinstance(macs, bool) or not isinstance(macs, Real):
            raise UsageError(f"budget_macs is {macs!r}; expected a number of MACs for all images together")
        if not macs >= each * known:
            raise UsageError(
                f"budget_macs is {macs:g}, and base and gate alone take {each * known:,} for {_counted(known)}; "
                "give more, or fewer images"
            )
        return self._budget(images, macs, each)

    def _budget(self, images: Iterable[Source], macs: float, each: int) -> Iterator[Answered]:
        shelf, held, gates = _Shelf(self._kept_bytes), list[_Held](), list[Floats]()
        given = _Given(images, self._progress)
        every = Setting(0.0, len(self._engine.expert_macs))
        ran, broke = 0, None
        try:
            for index, source in given:
                if (ran + 1) * each > macs:
                    broke = UsageError(
                        f"budget_macs is {macs:g}: base and gate take all of it for {_counted(ran)}, and there are "
                        "more; give more, or fewer images"
                    )
                    break
                found = self._begin(index, source, every, shelf)
                ran += not isinstance(found, Answered) or found.prediction is not None
                if isinstance(found, Answered):
                    yield found
                    continue
                gates.append(np.array([weight for _, weight in found.active]))  # at tau = 0 of all experts
                found.active = ()
                held.append(found)
            if held:
                alphas = np.stack(gates) * np.array([[float(1.0 - one.max_phi)] for one in held])
                left = macs - each * len(held)
                pairs = best_pairs(alphas, self._engine.expert_macs, left, self._setting.max_experts)
                for one, gate, chosen in zip(held, gates, pairs, strict=True):
                    one.active = tuple((int(k), gate[k]) for k in np.flatnonzero(chosen))
                yield from self._wake(held, shelf)
            if broke is not None:
                raise broke
            given.end()
        finally:
            shelf.close()

    def _begin(self, index: int, source: Source, setting: Setting, shelf: _Shelf) -> Answered | _Held:
        try:
            x = self._tensor(source)
            with self._turn:
                begun = perf_counter()
                found = self._engine.begin(begun, x, *setting)
        except _ITS_OWN as error:
            return Answered(index, None, error)
        if isinstance(found, Prediction):
            return Answered(index, found)
        place = shelf.put(found.base_logits, found.features)
        return _Held(index, found.active, found.max_phi, place, perf_counter() - begun)

    def _wake(self, waiting: list[_Held], shelf: _Shelf) -> Iterator[Answered]:
        """Run the experts of all that wait, those first that are in memory, and answer each when its last has run."""
        by_expert = defaultdict[int, list[_Held]](list)
        for one in waiting:
            for k, _ in one.active:
                by_expert[k].append(one)
            if not one.active:
                yield self._finish(one, shelf)
        loaded = set(self._engine.experts.loaded)
        self._progress.start(_EXPERTS, sum(map(len, by_expert.values())))
        for k in sorted(by_expert, key=lambda k: (k not in loaded, k)):
            for one in by_expert[k]:
                self._progress.advance(_EXPERTS)
                if one.failed:
                    continue
                _, features = shelf.get(one.place)
                try:
                    with self._turn:
                        begun = perf_counter()
                        one.logits[k] = self._engine.run(k, features)
                        one.spent += perf_counter() - begun
                except _ITS_OWN as error:
                    one.failed = True
                    yield Answered(one.index, None, error)
                if len(one.logits) == len(one.active):
                    yield self._finish(one, shelf)

    def _finish(self, one: _Held, shelf: _Shelf) -> Answered:
        base_logits, features = shelf.get(one.place)
        waking = Waking(base_logits, one.max_phi, one.active, features)
        try:
            with self._turn:
                start = perf_counter() - one.spent
                return Answered(one.index, self._engine.finish(start, waking, lambda k, _: one.logits[k]))
        except _ITS_OWN as error:
            return Answered(one.index, None, error)


class _Given:
    """The images, numbered. What goes wrong in giving them ends them, and is raised by `end`."""

    def __init__(self, images: Iterable[Source], progress: Progress) -> None:
        self._images, self._progress = images, progress
        self._count = 0
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[tuple[int, Source]]:
        counted = isinstance(self._images, Sized)
        if isinstance(self._images, Sized):
            self._progress.start(_BASES, len(self._images))
        images = iter(self._images)
        while True:
            try:
                source = next(images)
            except StopIteration:
                return
            except Exception as error:
                self._failure = error
                return
            yield self._count, source
            self._count += 1
            if counted:
                self._progress.advance(_BASES)

    def end(self) -> None:
        """Raise DataError where there were no images, or where giving them failed."""
        if self._failure is not None:
            why = one_line(f"{type(self._failure).__name__}: {self._failure}")
            raise DataError(
                f"after {_counted(self._count)} no more could be had ({why}); those are answered"
            ) from self._failure
        if not self._count:
            raise DataError("there are no images to answer; expected at least one")


def best_pairs(scores: Floats, expert_macs: Iterable[int], macs: float, max_experts: int) -> npt.NDArray[np.bool_]:
    """Take pairs of an image and an expert by their scores, the best of all images first, until one is too dear.

    Of equals the earlier image goes first, then the lower index.

    Args:
        scores: [N, K].
        expert_macs: [K] what each expert takes.
        macs: what all pairs together may take.
        max_experts: how many one image may have.

    Returns:
        [N, K] which run.
    """
    places = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    images, experts = np.nonzero(places < max_experts)
    order = np.argsort(-scores[images, experts], kind="stable")
    costs = np.cumsum(np.asarray(list(expert_macs), np.float64)[experts[order]])
    taken = order[: int(np.searchsorted(costs, macs, side="right"))]
    chosen = np.zeros(scores.shape, np.bool_)
    chosen[images[taken], experts[taken]] = True
    return chosen


def _counted(images: int) -> str:
    return f"{images:,} image{'' if images == 1 else 's'}"
