"""What is set beside what: int8 beside fp32, and ours beside what one would do otherwise. Numbers only.

Axis letters: N validation images, K experts, R rounds, T timed images, S resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.report.series import Point, Series
from edge_moe.benchmarks.results import Peer, Rows, Summary, summary, typical

__all__ = ["Agreement", "Beside", "agreements", "beside_peers", "has_reference", "peer_name", "ratio"]

_REFERENCE = "fp32"
_RESAMPLES = 300


@dataclass(frozen=True)
class Agreement:
    """How alike two sets of one file treat the same N images at one setting, as shares of the images."""

    series: Series
    reference: Series  # fp32 of the same backend
    tau: float
    max_experts: int
    base: float  # the base alone gives the same answer (the same at every setting)
    answers: float  # the whole gives the same answer
    routing: float  # the same experts run, or none in both


@dataclass(frozen=True)
class Beside:
    """An alternative beside one of our sets."""

    peer: Peer
    spread: Summary  # of the alternative's samples
    cost: float  # of the alternative, as ours
    series: Series  # ours
    point: Point  # ours, where the two are compared
    ratio: float  # cost of the alternative / ours: under 1, ours loses
    low: float | None  # 95% interval over rounds; None: one round has none
    high: float | None
    ends: tuple[float, float] | None  # the ratio at our smallest and largest tau; None: it has a tau of its own

    @property
    def verdict(self) -> str:
        """Whether ours wins, loses, or the rounds cannot tell."""
        low, high = (self.ratio, self.ratio) if self.low is None or self.high is None else (self.low, self.high)
        return "ours wins" if low > 1 else "ours loses" if high < 1 else "no difference seen"


def has_reference(series: Sequence[Series], one: Series) -> bool:
    """Return whether `one` is fp32 itself or its file has fp32 of the same backend."""
    return one.one.recipe == _REFERENCE or _reference(series, one) is not None


def agreements(series: Sequence[Series]) -> list[Agreement]:
    """Compare every set with fp32 of its backend in the same file, at each of its operating points."""
    found = []
    for one in series:
        other = _reference(series, one)
        if one.one.recipe == _REFERENCE or other is None:
            continue
        base = float((one.trace.answers[:, 0] == other.trace.answers[:, 0]).mean())
        for point in one.points:
            ours = one.trace.at(point.tau, point.max_experts)
            theirs = other.trace.at(point.tau, point.max_experts)
            answers = float((ours.predictions == theirs.predictions).mean())
            routing = float((ours.active == theirs.active).all(axis=1).mean())
            found.append(Agreement(one, other, point.tau, point.max_experts, base, answers, routing))
    return found


def beside_peers(series: Sequence[Series]) -> list[Beside]:
    """Set our sets beside the alternatives that were measured in the same run.

    The default set meets all of them, another set those of its own backend and recipe, or of its backend if no set
    has their recipe. An alternative that depends on tau meets ours at the same tau, any other at our middle operating
    point. Of those with a tau but another backend or recipe, the default set meets the one nearest its middle.
    """
    found = []
    for default in (one for one in series if one is next(other for other in series if other.file == one.file)):
        sets = [one for one in series if one.file == default.file]
        peers = [peer for peer in default.results.peers if _measured(peer)]
        for one in sets:
            for peer in peers:
                own = one in _same(sets, peer)
                if own or (one is default and _nearest_tau(peer, peers, default)):
                    found.append(_beside(one, peer))
    return found


def _measured(peer: Peer) -> bool:
    return peer.raw is not None and any(peer.raw)


def _same(sets: Sequence[Series], peer: Peer) -> list[Series]:
    """Return our sets of the alternative's backend and recipe; if there is none, the first of its backend."""
    backend = [one for one in sets if one.one.backend == peer.backend]
    return [one for one in backend if one.one.recipe == peer.recipe] or backend[:1]


def _nearest_tau(peer: Peer, peers: Sequence[Peer], default: Series) -> bool:
    kind = (peer.name, peer.backend, peer.recipe)
    taus = [other.tau for other in peers if (other.name, other.backend, other.recipe) == kind and other.tau is not None]
    return peer.tau is None or peer.tau == min(taus, key=lambda tau: (abs(tau - default.middle.tau), tau))


def peer_name(peer: Peer) -> str:
    """Return an alternative's name with its backend and recipe, and its tau if it has one."""
    return f"{peer.name} ({peer.backend}/{peer.recipe}" + ("" if peer.tau is None else f", tau {peer.tau:.3g}") + ")"


def ratio(theirs: Rows, ours: Rows, *, seed: int = 0) -> tuple[float, float | None, float | None]:
    """[R][T] and [R][T] -> cost of theirs / ours, and its 95% interval if other rounds had been drawn.

    A percentile bootstrap over rounds, which are drawn together: both met the same moments of the machine.
    """
    a, b = np.asarray(theirs, dtype=np.float64), np.asarray(ours, dtype=np.float64)
    value = typical(theirs) / typical(ours)
    rounds = min(len(a), len(b))
    if rounds < 2:
        return value, None, None
    draws = np.random.default_rng(seed).integers(rounds, size=(_RESAMPLES, rounds))
    ratios = _typical(a[draws]) / _typical(b[draws])
    low, high = np.quantile(ratios, [0.025, 0.975])
    return value, min(float(low), value), max(float(high), value)


def _typical(raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[S, R, T] -> [S], see results.typical."""
    found: npt.NDArray[np.float64] = np.median(raw, axis=1).mean(axis=1)
    return found


def _beside(one: Series, peer: Peer) -> Beside:
    raw = peer.raw or ()
    points = sorted((p for p in one.points if p.max_experts == one.middle.max_experts), key=lambda p: p.tau)
    tau = one.middle.tau if peer.tau is None else peer.tau
    point = min(points, key=lambda p: (abs(p.tau - tau), p.tau))
    cost = typical(raw)
    if point.costs.raw is None or point.spread is None:
        value, low, high = cost / point.costs.mean, None, None
    else:
        value, low, high = ratio(raw, point.costs.raw)
    ends = None if peer.tau is not None else (cost / points[0].costs.mean, cost / points[-1].costs.mean)
    return Beside(peer, summary(raw), cost, one, point, value, low, high, ends)


def _reference(series: Sequence[Series], one: Series) -> Series | None:
    for other in series:
        if (other.file, other.one.backend, other.one.recipe) == (one.file, one.one.backend, _REFERENCE):
            return other
    return None
