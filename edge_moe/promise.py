"""A tau that keeps a promise: the largest at which early exit costs at most so much, whatever images come.

A promise is a rule and a bound, "changed<=1%". Beside the same mixture at tau = 0, with the same max_experts, an image
is

    changed   answered otherwise
    lost      answered wrongly, where tau = 0 is right
    drop      lost, or gained where it is the other way round: the net drop of accuracy

and what is promised is the mean over all images that could come, not over those that were seen: whatever it is, the tau
that is returned breaks the promise in at most `delta` of all draws of images.

Nothing is decided by a grid. As tau grows past an alpha, the image whose it is goes one expert less far; between two
of them nothing changes. So every alpha that was seen is looked at, from the smallest upwards, and the first whose test
fails ends it: a fixed sequence, in which every test has the whole of delta (Angelopoulos et al. 2021, "Learn then
Test"; where a loss only grows with tau, as with one expert, it is Bates et al. 2021, "Distribution-Free,
Risk-Controlling Prediction Sets"). Up to the smallest alpha every image gets the answer of tau = 0: that needs no test.

What is tested: "mean loss > epsilon". Where samples stand each for itself and a loss is 0 or 1, exactly, by the
binomial tail. Where a loss may be negative, or samples belong together as versions of one original, by betting against
it, see `edge_moe.betting`.

With numpy alone, for a device does this on its own images. Axis letters: N samples, K experts, M max_experts, C
candidates for tau, G groups, Y classes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from edge_moe.anytime import alpha
from edge_moe.betting import groups_needed, won, won_by_counts, won_by_groups
from edge_moe.binomial import binomial_tail, samples_needed, upper_bound
from edge_moe.errors import DataError, UsageError
from edge_moe.operating import Rule
from edge_moe.trace import Trace

__all__ = [
    "CONFIDENCE",
    "ClassBound",
    "Kept",
    "Ladder",
    "Promise",
    "Rule",
    "bound",
    "class_bounds",
    "keep",
    "largest_tau",
]

Doubles: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.integer]

CONFIDENCE = 0.95
_WRITTEN = re.compile(r"\s*([a-z]+)\s*<=\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*%\s*")
_HALVINGS = 60
_LEAST = 1e-9  # of which no images could tell anything
_DIGITS = 20


@dataclass(frozen=True)
class Promise:
    """What a tau should keep: the mean loss by `rule` is at most `epsilon`, but for `delta` of all draws of images."""

    rule: Rule
    epsilon: float  # in (0, 1)
    delta: float  # in (0, 1)

    @classmethod
    def parse(cls, text: str, confidence: float = CONFIDENCE) -> Promise:
        """Read "changed<=1%".

        Raises:
            UsageError: that is no promise, or the confidence is none.
        """
        example = "expected a rule and a bound, such as 'changed<=1%', 'lost<=0.5%' or 'drop<=0.5%'"
        found = _WRITTEN.fullmatch(text) if isinstance(text, str) else None
        if found is None or found[1] not in get_args(Rule):
            raise UsageError(f"{text!r} is no promise; {example}")
        epsilon = float(found[2]) / 100
        if not _LEAST <= epsilon < 1:
            raise UsageError(f"{text!r} promises nothing: its bound has to be above 0% and below 100%; {example}")
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
            raise UsageError(f"the confidence is {confidence}; expected a number between 0 and 1, such as {CONFIDENCE}")
        return cls(found[1], epsilon, round(1 - confidence, 12))  # type: ignore[arg-type]  # one of the rules

    @property
    def needs_labels(self) -> bool:
        """Whether the right classes have to be known."""
        return self.rule != "changed"

    def __str__(self) -> str:
        """Write it as people do."""
        return f"{self.rule}<={100 * self.epsilon:.10g}%"


@dataclass(frozen=True)
class Ladder:
    """How far each sample goes down the order of its gate as tau falls, and what it answers on each rung."""

    alphas: Doubles  # [N, M] of its M likeliest experts, in the gate's order, so never rising
    answers: Integers  # [N, M+1] class by the base alone, and with the first 1, 2, ... M of them

    @classmethod
    def of(cls, trace: Trace, max_experts: int) -> Ladder:
        """Take it from a trace at so many experts at most, in [1, K]."""
        order = np.argsort(-trace.gate, axis=1, kind="stable")[:, :max_experts]
        alphas = np.take_along_axis(alpha(trace.max_phi[:, np.newaxis], trace.gate), order, axis=1)
        return cls(alphas.astype(np.float64), trace.answers[:, : max_experts + 1])

    def __len__(self) -> int:
        return len(self.alphas)

    @property
    def full(self) -> Integers:
        """[N] the answer at tau = 0."""
        return self.answers[:, -1]

    def losses(self, rule: Rule, labels: Integers | None = None) -> npt.NDArray[np.int8]:
        """[N, M+1] the loss of each sample on each rung: 0, 1, or by "drop" also -1. On the last it is 0.

        Raises:
            DataError: the rule needs labels [N], and there are none.
        """
        if rule == "changed":
            changed: npt.NDArray[np.int8] = (self.answers != self.full[:, np.newaxis]).astype(np.int8)
            return changed
        if labels is None:
            raise DataError(f"a promise of what is {rule!r} needs images whose classes are known; 'changed' needs none")
        right = self.answers == np.asarray(labels)[:, np.newaxis]
        net: npt.NDArray[np.int8] = right[:, -1:].astype(np.int8) - right.astype(np.int8)
        return net if rule == "drop" else np.maximum(net, np.int8(0))

    def rungs(self, tau: float) -> Integers:
        """[N] how many experts each sample asks at a tau."""
        asked: Integers = (self.alphas >= tau).sum(axis=1)
        return asked

    def at(self, tau: float, losses: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """[N, M+1] losses -> [N] those at a tau."""
        found: npt.NDArray[np.int8] = losses[np.arange(len(self)), self.rungs(tau)]
        return found


@dataclass(frozen=True)
class Kept:
    """The largest tau that keeps a promise, and by what."""

    promise: Promise
    tau: float
    samples: int  # N
    groups: int | None  # G; None: each sample stands for itself
    lost: int  # of the samples, those with a loss of 1 at this tau
    gained: int  # those with a loss of -1
    bound: float  # what the mean loss at this tau is at most, at the same confidence
    most: float  # what so many samples could promise if none were lost
    needed: int  # samples, or groups, that it takes at least to promise epsilon

    @property
    def enough(self) -> bool:
        """Whether there are samples enough to promise anything beyond tau = 0."""
        return (self.groups or self.samples) >= self.needed


@dataclass(frozen=True)
class ClassBound:
    """The loss of one class."""

    index: int
    samples: int
    lost: int
    bound: float  # of the mean loss: all classes' hold together


def largest_tau(
    ladder: Ladder, promise: Promise, labels: Integers | None = None, groups: Integers | None = None, families: int = 1
) -> float:
    """Return the largest tau that keeps the promise, and 0 where none but that does.

    More exactly: of all that lie between the alpha that it is and the one before, and decide alike, the one with the
    fewest digits: it can be written down, and no sample's alpha lies on it.

    Args:
        ladder: of N samples, drawn as those will be that the promise is for.
        promise: what is to be kept.
        labels: [N] the right classes; "changed" needs none.
        groups: [N] which samples belong together, each of which then counts as much as any other; None: each stands
            for itself.
        families: how many such questions are asked of the same samples, to take one of the answers: each gets this
            share of delta, so that what is promised holds whichever is taken.

    Raises:
        DataError: no samples, or no labels where the rule needs them.
    """
    if not len(ladder):
        raise DataError("a promise needs images; expected at least one")
    losses, delta = ladder.losses(promise.rule, labels), promise.delta / families
    taus, rows, rungs = _steps(ladder)
    if not len(taus):
        return 1.0
    # Up to an alpha, its own samples ask as many experts as before; those of smaller ones ask fewer.
    starts = np.flatnonzero(np.diff(taus, prepend=-1.0))
    ends = np.append(starts[1:], len(taus)) - 1
    before, after = losses[rows, rungs + 1], losses[rows, rungs]
    if groups is None:
        lost, gained = (np.cumsum((sign * after > 0).astype(np.int64) - (sign * before > 0))[ends] for sign in (1, -1))
        passes = _passes(lost, gained, len(ladder), promise, delta)
    else:
        index = np.unique(groups, return_inverse=True)[1]
        passes = won_by_groups(index[rows], after - before, ends, np.bincount(index), promise.epsilon, delta)
    passed = len(passes) if passes.all() else int(passes.argmin())
    return _plainest(*np.concatenate([[-1.0], taus[starts], [1.0]])[passed : passed + 2].tolist())


def _plainest(above: float, most: float) -> float:
    """Return the number with the fewest digits that is above the one and at most the other; 0 if it may."""
    for digits in range(_DIGITS):
        found = float(Decimal(most).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_FLOOR))
        if found > above:
            return found
    return most


def keep(
    ladder: Ladder, promise: Promise, labels: Integers | None = None, groups: Integers | None = None, families: int = 1
) -> Kept:
    """Return the largest tau that keeps the promise, and what it follows from. Arguments and errors: `largest_tau`."""
    tau = largest_tau(ladder, promise, labels, groups, families)
    losses, delta = ladder.losses(promise.rule, labels), promise.delta / families
    at = ladder.at(tau, losses)
    none = np.zeros(len(ladder), np.int8)
    sizes = _grouped(none, groups)[1]
    exact, signed = promise.rule != "drop" and groups is None, promise.rule == "drop"
    return Kept(
        promise=promise,
        tau=tau,
        samples=len(ladder),
        groups=None if groups is None else len(sizes),
        lost=int((at > 0).sum()),
        gained=int((at < 0).sum()),
        bound=bound(at, delta, groups, signed=signed),
        most=bound(none, delta, groups, signed=signed),
        needed=samples_needed(promise.epsilon, delta) if exact else groups_needed(promise.epsilon, delta),
    )


def bound(losses: Integers, delta: float, groups: Integers | None = None, *, signed: bool = False) -> float:
    """[N] losses of -1, 0 or 1 -> what their mean is at most, but for `delta` of all draws of samples.

    Clopper and Pearson's for losses of 0 and 1 of samples that stand each for itself; else the smallest epsilon against
    which a bet has won. `signed`: a loss may be -1.
    """
    if not signed and groups is None:
        return upper_bound(int(losses.sum()), len(losses), delta)
    sums, sizes = _grouped(losses, groups)
    low, high = max(0.0, float((sums / sizes).mean())), 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if 0 < middle < 1 and won(sums, sizes, middle, delta) else (middle, high)
    return high


def class_bounds(
    ladder: Ladder,
    promise: Promise,
    tau: float,
    labels: Integers | None = None,
    groups: Integers | None = None,
    families: int = 1,
) -> list[ClassBound]:
    """Return the loss of every class that was seen, the worst bound first; each at delta / (families * classes).

    A class is the right one, where labels are known, else the answer at tau = 0. All bounds hold together, but for
    delta: by themselves, not together with the promise.
    """
    of = ladder.full if labels is None else np.asarray(labels)
    losses = ladder.at(tau, ladder.losses(promise.rule, labels))
    classes, signed = np.unique(of), promise.rule == "drop"
    delta = promise.delta / families / len(classes)
    found = []
    for index in classes:
        here = of == index
        most = bound(losses[here], delta, None if groups is None else groups[here], signed=signed)
        found.append(ClassBound(int(index), int(here.sum()), int((losses[here] > 0).sum()), most))
    return sorted(found, key=lambda one: -one.bound)


def _passes(lost: Integers, gained: Integers, samples: int, promise: Promise, delta: float) -> npt.NDArray[np.bool_]:
    """[C] losses of 1 and [C] of -1 -> [C] whether their mean is shown to be at most epsilon."""
    if promise.rule != "drop":
        low, high = -1, samples  # losses: so many pass, so many do not
        while high - low > 1:
            middle = (low + high) // 2
            few = binomial_tail(middle, samples, promise.epsilon) <= delta
            low, high = (middle, high) if few else (low, middle)
        return lost <= low
    return won_by_counts(lost, gained, samples, promise.epsilon, delta)


def _steps(ladder: Ladder) -> tuple[Doubles, Integers, Integers]:
    """Return every alpha in rising order, whose sample it is, and how many experts that asks above it: [N M] each."""
    n, m = ladder.alphas.shape
    rows, rungs = np.divmod(np.arange(n * m), m) if m else (np.zeros(0, np.intp), np.zeros(0, np.intp))
    flat = ladder.alphas.ravel()
    order = np.lexsort((-rungs, flat))  # of equals the last expert goes first
    return flat[order], rows[order], rungs[order]


def _grouped(losses: Integers, groups: Integers | None) -> tuple[Integers, Integers]:
    """[N] losses, [N] groups -> their sums and sizes [G]."""
    index = np.arange(len(losses)) if groups is None else np.unique(groups, return_inverse=True)[1]
    return np.bincount(index, losses).astype(np.int64), np.bincount(index)
