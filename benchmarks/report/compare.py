"""What is set beside what: int8 beside fp32, and ours beside what one would do otherwise. Numbers only.

Axis letters: N validation images, K experts, R rounds, T timed images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_moe.benchmarks.report.series import Point, Series
from edge_moe.benchmarks.results import Peer, Rows, Summary, summary, typical

__all__ = ["Beside", "SetsAlike", "agreements", "beside_peers", "has_reference", "peer_name", "ratio"]

_REFERENCE = "fp32"
# Student's t, 97.5%, by degrees of freedom from 1; the last is used for all beyond.
_T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class SetsAlike:
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
    # The ratio at our smallest and largest tau; None: it has a tau of its own, or ours is one operating point.
    ends: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Whether ours wins, loses, or the rounds cannot tell, as one round never can."""
        if self.low is None or self.high is None:
            return "no difference seen"
        return "ours wins" if self.low > 1 else "ours loses" if self.high < 1 else "no difference seen"


def has_reference(series: Sequence[Series], one: Series) -> bool:
    """Return whether `one` is fp32 itself or its file has fp32 of the same backend."""
    return one.one.recipe == _REFERENCE or _reference(series, one) is not None


def agreements(series: Sequence[Series]) -> list[SetsAlike]:
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
            found.append(SetsAlike(one, other, point.tau, point.max_experts, base, answers, routing))
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
    return f"{peer.name} ({peer.key}" + ("" if peer.tau is None else f", tau {peer.tau:.3g}") + ")"


def ratio(theirs: Rows, ours: Rows) -> tuple[float, float | None, float | None]:
    """[R][T] and [R][T] -> cost of theirs / ours, and its 95% interval if other rounds had been measured.

    Student's t on the logarithm of each round's ratio: in a round both met the same moments of the machine. Rounds are
    few, and a bootstrap over few is too sure of itself. None: one round has no interval.
    """
    value = typical(theirs) / typical(ours)
    rounds = len(theirs)
    if rounds < 2:
        return value, None, None
    logs = np.log(np.mean(theirs, axis=1) / np.mean(ours, axis=1))
    quantile = _T_975[min(rounds - 1, len(_T_975)) - 1]
    factor = math.exp(quantile * float(logs.std(ddof=1)) / math.sqrt(rounds))
    return value, value / factor, value * factor


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
    if one.results.unit != "ms":  # counted, not timed: another run gives the same
        low = high = value
    one_setting = peer.tau is not None or len(points) == 1
    ends = None if one_setting else (cost / points[0].costs.mean, cost / points[-1].costs.mean)
    return Beside(peer, summary(raw), cost, one, point, value, low, high, ends)


def _reference(series: Sequence[Series], one: Series) -> Series | None:
    for other in series:
        if (other.file, other.one.backend, other.one.recipe) == (one.file, one.one.backend, _REFERENCE):
            return other
    return None
