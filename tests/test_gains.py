"""Where the base alone is as good, that is said, with the figures that say so."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe.bundle import Bundle, OperatingPoint
from edge_moe.converters.measure import default_tau
from edge_moe.gains import at_default, nothing_gained, without_gain


def point(tau, accuracy, *, exit_rate=None, max_experts=1):
    return OperatingPoint(
        tau=tau,
        max_experts=max_experts,
        samples=360,
        exit_rate=tau if exit_rate is None else exit_rate,
        mean_macs=1.0,
        accuracy=accuracy,
        accuracy_low=None,
        accuracy_high=None,
    )


@pytest.mark.parametrize(
    ("mixture", "base", "said"),
    [
        (0.9972, 0.9972, "nothing: the base alone is right on 99.72%, the mixture (tau 0) on 99.72%"),
        (0.9, 0.95, "nothing: the base alone is right on 95.00%, the mixture (tau 0) on 90.00%"),
        (0.9982, 0.9972, "next to nothing: the base alone is right on 99.72%, the mixture (tau 0) on 99.82%"),
        (0.9983, 0.9972, None),
        (None, None, None),
    ],
)
def test_as_good_or_better_alone(mixture, base, said):
    found = without_gain([point(0.0, mixture), point(0.5, 0.1), point(1.0, base)], 1)
    assert found == (said and f"on these 360 images the experts bring {said}")


@pytest.mark.parametrize("gain", [-0.01, 0.0, 0.0005, 0.001, 0.0011, 0.01])
def test_a_default_at_which_no_expert_is_used_is_always_told(make_bundle, gain):
    """However it came about: the default tau is chosen by the same measure."""
    points = (point(0.0, 0.9 + gain), point(0.5, 0.8), point(1.0, 0.9))
    tau = default_tau(points, 1)
    sets = Bundle(make_bundle()).operating_sets
    found = nothing_gained(
        {name: msgspec.structs.replace(one, operating_points=points, default_tau=tau) for name, one in sets.items()}
    )
    assert (tau == 1) == any("no expert is ever used" in line for line in found) == (gain < 0.00105)


def test_what_cannot_be_told():
    assert without_gain([], 1) is None
    assert without_gain([point(0.0, 0.5)], 1) is None
    assert without_gain([point(0.0, 0.5), point(1.0, 0.5, exit_rate=0.99)], 1) is None  # not the base alone
    assert without_gain([point(0.0, 0.5), point(1.0, 0.5)], 2) is None
    two = [point(0.0, 0.6, max_experts=2), point(1.0, 0.5, max_experts=2)]
    assert without_gain([point(0.0, 0.5), point(1.0, 0.5), *two], 2) is None


@pytest.mark.parametrize(
    ("tau", "unused"), [(1.0, "; at its default tau of 1 no expert is ever used"), (0.5, ""), (0.3, "")]
)
def test_each_set_by_itself(make_bundle, tau, unused):
    """tau 0.3 is no point that was measured."""
    sets = Bundle(make_bundle(recipes=("int8", "fp32"))).operating_sets
    alike = (point(0.0, 0.9), point(0.5, 0.9), point(1.0, 0.9))
    better = (point(0.0, 0.91), point(1.0, 0.9))
    sets["fake/int8"] = msgspec.structs.replace(sets["fake/int8"], operating_points=better)
    sets["fake/fp32"] = msgspec.structs.replace(sets["fake/fp32"], operating_points=alike, default_tau=tau)
    (line,) = nothing_gained(sets)
    assert line.startswith("fake/fp32: on these 360 images the experts bring nothing")
    assert line.endswith(f"(tau 0) on 90.00%{unused}")


def test_what_a_default_does_and_experts_gain_there():
    points = [point(0.0, 0.93), point(0.2, 0.92), point(1.0, 0.88)]
    points = [msgspec.structs.replace(one, mean_macs=macs) for one, macs in zip(points, (8e6, 6.5e6, 5e6), strict=True)]
    assert at_default("litert/int8", points, 0.2, 1) == (
        "litert/int8: at its default tau of 0.2 20.0% of 360 images exit, 6.500 M MACs an image instead of 8.000 M; "
        "92.00% are right, +4.00 points against the base alone, -1.00 against always waking an expert"
    )
    unlabelled = [msgspec.structs.replace(one, accuracy=None) for one in points]
    assert at_default("a", unlabelled, 0.2, 1).endswith("an image instead of 8.000 M")
    assert at_default("a", points, 0.3, 1) is None  # not measured there
    assert at_default("a", points, 0.2, 2) is None
    assert at_default("a", [], 0.2, 0) is None
