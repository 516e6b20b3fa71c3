"""Do the experts bring anything on the images that a bundle was measured on? Said wherever its tau is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_moe.operating import OperatingPoint, SetOperating

__all__ = ["at_default", "is_as_accurate", "nothing_gained", "without_gain"]

_LOSS = 0.001  # of accuracy: one image in a thousand, which a cheaper setting may get wrong and still count as as good


def is_as_accurate(accuracy: float, reference: float) -> bool:
    """Return whether `accuracy` is `reference`, up to one image in a thousand, or more."""
    return accuracy >= reference - _LOSS - 1e-9


def at_default(name: str, points: Sequence[OperatingPoint], tau: float, max_experts: int) -> str | None:
    """Return in a sentence what the set `name` does at its default, and what its experts gain there; None: not known.

    Beside it stand the base alone (tau 1) and the mixture that always wakes an expert (tau 0), on the same images.
    """
    by_tau = {one.tau: one for one in points if one.max_experts == max_experts}
    if not max_experts or any(at not in by_tau for at in (0.0, tau, 1.0)):
        return None
    always, default, base = (by_tau[at] for at in (0.0, tau, 1.0))
    exits = f"{name}: at its default tau of {tau:g} {default.exit_rate:.1%} of {default.samples:,} images exit"
    saved = f"{default.mean_macs / 1e6:.3f} M MACs an image instead of {always.mean_macs / 1e6:.3f} M"
    if always.accuracy is None or default.accuracy is None or base.accuracy is None:
        return f"{exits}, {saved}"
    gained = f"{100 * (default.accuracy - base.accuracy):+.2f} points against the base alone"
    lost = f"{100 * (default.accuracy - always.accuracy):+.2f} against always waking an expert"
    return f"{exits}, {saved}; {default.accuracy:.2%} are right, {gained}, {lost}"


def nothing_gained(sets: Mapping[str, SetOperating]) -> list[str]:
    """Return a sentence for each of `sets`, by name, whose experts bring nothing on the images it was measured on."""
    found = []
    for name, one in sets.items():
        text = without_gain(one.operating_points, one.default_max_experts)
        if text is not None:
            default = next(
                (p for p in one.operating_points
                 if (p.tau, p.max_experts) == (one.default_tau, one.default_max_experts)), None
            )  # fmt: skip
            never = default is not None and default.exit_rate == 1
            unused = f"; at its default tau of {one.default_tau:g} no expert is ever used" if never else ""
            found.append(f"{name}: {text}{unused}")
    return found


def without_gain(points: Sequence[OperatingPoint], max_experts: int) -> str | None:
    """Return in words, with figures, that the base alone is as accurate as the mixture; None: it is not, or not known.

    The mixture is that of tau 0; the base alone answers at tau 1, where every image exits. What counts as as accurate
    is what counts so where a bundle's default tau is chosen: one that no expert is used at is never passed over.
    """
    by_tau = {one.tau: one for one in points if one.max_experts == max_experts}
    mixture, base = by_tau.get(0.0), by_tau.get(1.0)
    if mixture is None or base is None or mixture.accuracy is None or base.accuracy is None or base.exit_rate < 1:
        return None
    if not is_as_accurate(base.accuracy, mixture.accuracy):
        return None
    what = "next to nothing" if mixture.accuracy > base.accuracy else "nothing"
    return (
        f"on these {base.samples} images the experts bring {what}: the base alone is right on {base.accuracy:.2%}, "
        f"the mixture (tau 0) on {mixture.accuracy:.2%}"
    )
