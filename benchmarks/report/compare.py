"""What is set beside what: int8 beside fp32, and ours beside what one would do otherwise. Numbers only.

Axis letters: N validation images, K experts, R rounds, T timed images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_moe.benchmarks.measured import MeasuredPeer, PointCosts
from edge_moe.benchmarks.report.series import Series
from edge_moe.benchmarks.samples import Rows, Summary, summary, typical
from edge_moe.intervals import ratio_of_costs

__all__ = ["Beside", "SetsAlike", "agreements", "beside_peers", "peer_name", "reference"]

_REFERENCE = "fp32"


@dataclass(frozen=True)
class SetsAlike:
    """How alike two sets of one file treat the same N images at one setting, as shares of the images."""

    series: Series
    reference: Series  # fp32 of the same backend
    point: PointCosts  # of series
    base: float  # the base alone gives the same answer (the same at every setting)
    answers: float  # the whole gives the same answer
    routing: float  # the same experts run, or none in both


@dataclass(frozen=True)
class Beside:
    """An alternative beside one of our sets."""

    peer: MeasuredPeer
    spread: Summary  # of the alternative's samples
    cost: float  # of the alternative, as ours
    series: Series  # ours
    point: PointCosts  # ours, where the two are compared
    ratio: float  # cost of the alternative / ours, see `ratio_of_costs`: under 1, ours loses
    low: float | None  # 95% interval over rounds; None: one round has none
    high: float | None
    ends: tuple[float, float] | None  # the ratio at our smallest and largest tau; None: one of the two has one setting

    @property
    def verdict(self) -> str:
        """Whether ours wins, loses, or the rounds cannot tell, as one round never can."""
        if self.low is None or self.high is None:
            return "no difference seen"
        sure = self.low > 1 or self.high < 1
        wins = (self.low > 1) == self.series.unit.less_is_better
        return "no difference seen" if not sure else "ours wins" if wins else "ours loses"


def reference(series: Sequence[Series], one: Series) -> Series | None:
    """Return fp32 of the same backend in the same file, which may be `one` itself."""
    wanted = (one.file, one.one.backend, _REFERENCE)
    return next((each for each in series if (each.file, each.one.backend, each.one.recipe) == wanted), None)


def agreements(series: Sequence[Series]) -> list[SetsAlike]:
    """Compare every set with fp32 of its backend in the same file, at each of its operating points."""
    found = []
    for one in series:
        other = reference(series, one)
        if other is None or other is one or one.one.decided_by or other.one.decided_by:  # or these are not its own
            continue
        base = float((one.one.decisions.answers[:, 0] == other.one.decisions.answers[:, 0]).mean())
        for point in one.points:
            ours, theirs = point.decided, other.one.decisions.at(point.tau, point.point.max_experts)
            answers = float((ours.predictions == theirs.predictions).mean())
            routing = float((ours.active == theirs.active).all(axis=1).mean())
            found.append(SetsAlike(one, other, point, base, answers, routing))
    return found


def beside_peers(series: Sequence[Series]) -> list[Beside]:
    """Set our sets beside the alternatives that were measured in the same run.

    The default set meets all of them, another set those of its own backend and recipe, or of its backend if no set
    has their recipe. An alternative that depends on tau meets ours at the same tau, any other at our middle operating
    point. Of those with a tau but another backend or recipe, the default set meets the one nearest its middle.
    """
    found = []
    for one in series:
        sets = [other for other in series if other.file == one.file]
        peers = [peer for peer in one.results.peers if peer.raw is not None]
        for peer in peers:
            backend = [other for other in sets if other.one.backend == peer.backend]
            own = [other for other in backend if other.one.recipe == peer.recipe] or backend[:1]
            if one in own or (one is sets[0] and _nearest_tau(peer, peers, one)):
                found.append(_beside(one, peer))
    return found


def _nearest_tau(peer: MeasuredPeer, peers: Sequence[MeasuredPeer], default: Series) -> bool:
    kind = (peer.name, peer.key)
    taus = [other.tau for other in peers if (other.name, other.key) == kind and other.tau is not None]
    return peer.tau is None or peer.tau == min(taus, key=lambda tau: (abs(tau - default.middle.tau), tau))


def peer_name(peer: MeasuredPeer, *, lines: bool = False) -> str:
    """Return an alternative's name with its backend and recipe, and its tau if it has one; in two `lines`."""
    what = f"{peer.key}{'' if peer.tau is None else f', tau {peer.tau:.3g}'}"
    return f"{peer.name}\n{what}" if lines else f"{peer.name} ({what})"


def _beside(one: Series, peer: MeasuredPeer) -> Beside:
    raw = peer.raw or ()
    points = one.line
    tau = one.middle.tau if peer.tau is None else peer.tau
    point = min(points, key=lambda p: (abs(p.tau - tau), p.tau))
    value, low, high = _ratio(raw, point)
    if one.unit.deterministic:  # another run gives the same
        low = high = value
    one_setting = peer.tau is not None or len(points) == 1
    ends = None if one_setting else (_ratio(raw, points[0])[0], _ratio(raw, points[-1])[0])
    return Beside(peer, summary(raw), typical(raw), one, point, value, low, high, ends)


def _ratio(raw: Rows, point: PointCosts) -> tuple[float, float | None, float | None]:
    """Return the ratio of an alternative to one of our points, and its interval; none to a point that is predicted."""
    if point.raw is None:
        return typical(raw) / point.mean, None, None
    return ratio_of_costs(raw, point.raw)
