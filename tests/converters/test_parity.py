"""Agreement, worked by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_moe.bundle import OperatingPoint
from edge_moe.converters.parity import accuracies, agreement, part_parity, routed_agreement, spread
from edge_moe.converters.report import Routing
from edge_moe.evaluate import Outputs
from edge_moe.intervals import accuracy_interval, wilson
from edge_moe.sets import SetKey

REFERENCE = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [5.0, 0.0]])


def test_agreement_by_hand():
    found = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 2.0], [4.0, 3.0]])
    # Row 1 turns by 90 degrees, row 3 by the angle of a 3-4-5 triangle: cosines 1, 0, 1, 20 / 25.
    # Noise (1 + 1) + (1 + 9) = 12, signal 25 + 1 + 4 + 25 = 55.
    result = agreement(found, REFERENCE)
    assert result.top1 == 3 / 4
    assert result.cosine == pytest.approx((1 + 0 + 1 + 0.8) / 4)
    assert result.sqnr_db == pytest.approx(10 * np.log10(55 / 12))


@pytest.mark.parametrize(
    ("found", "reference", "cosine", "sqnr"),
    [
        (REFERENCE, REFERENCE, 1.0, 200.0),
        (np.zeros((2, 3)), np.zeros((2, 3)), 1.0, 200.0),
        (np.zeros((2, 2)), REFERENCE[:2], 0.0, 0.0),  # the noise is the whole signal
        (REFERENCE[:2], np.zeros((2, 2)), 0.0, -200.0),
        (-REFERENCE, REFERENCE, -1.0, 10 * np.log10(1 / 4)),
    ],
    ids=["equal", "both nothing", "found nothing", "should be nothing", "opposite"],
)
def test_agreement_at_the_ends(found, reference, cosine, sqnr):
    result = agreement(found, reference)
    assert (result.cosine, result.sqnr_db) == (pytest.approx(cosine), pytest.approx(sqnr))


def test_agreement_counts_in_double():
    # 1e20 squared has no room in float32; neither has what 1 adds to it.
    big = np.full((1, 4), 1e20, np.float32)
    assert agreement(big * 2, big) == agreement(np.float64(2) * big, big)
    assert agreement(big * 2, big).sqnr_db == pytest.approx(0)


def outputs(base, gate, experts):
    return Outputs(*(np.array(x, np.float32) for x in (base, gate, experts)))


# Two images, two experts, two classes. The base says 0 both times, unsure; the gate sends image 0 to expert 0 and
# image 1 to expert 1, which say 0 and 1.
TRUE = outputs([[0.2, 0], [0.2, 0]], [[3, 0], [0, 3]], [[[9, 0], [0, 0]], [[0, 0], [0, 9]]])
# The same, with the gate's choice for image 1 the other way round.
OTHER = outputs([[0.2, 0], [0.2, 0]], [[3, 0], [3, 0]], [[[9, 0], [0, 0]], [[0, 0], [0, 9]]])


def test_part_parity_compares_each_part_with_its_own():
    found = part_parity(OTHER, TRUE)
    assert {name: (one.top1, images) for name, (one, images) in found.items()} == {
        "base": (1, 2),
        "gate": (0.5, 2),
        "expert_00": (1, 1),  # the reference's gate prefers it for one image
        "expert_01": (1, 1),
    }


def test_an_expert_counts_where_the_reference_prefers_it():
    """Expert 0 is wrong about image 1, which is not its own; expert 1, about its own."""
    gate = [[3, 0], [0, 3], [0, 3]]
    same = [[[9, 0], [9, 0]]] * 3
    reference = outputs([[1, 0]] * 3, gate, same)
    experts = [[[9, 0], [9, 0]], [[0, 9], [9, 0]], [[9, 0], [0, 9]]]
    found = part_parity(outputs([[1, 0]] * 3, gate[::-1], experts), reference)
    assert {name: (found[name][0].top1, found[name][1]) for name in ("expert_00", "expert_01")} == {
        "expert_00": (1, 1),
        "expert_01": (0.5, 2),
    }
    # One that nobody prefers counts on all.
    nobody = outputs([[1, 0]] * 3, [[3, 0]] * 3, same)
    found = part_parity(outputs([[1, 0]] * 3, gate, experts), nobody)
    assert (found["expert_01"][0].top1, found["expert_01"][1]) == (2 / 3, 3)


def test_routed_agreement_by_hand():
    at_0 = routed_agreement(OTHER, TRUE, 0.0, 1, "bagging", "logit")
    assert at_0 == Routing(tau=0.0, max_experts=1, same_answer=0.5, same_routing=0.5)
    # Nobody is awake at tau = 1: the base answers alike.
    at_1 = routed_agreement(OTHER, TRUE, 1.0, 1, "bagging", "logit")
    assert (at_1.same_answer, at_1.same_routing) == (1, 1)


FLOAT, INT8 = SetKey("onnx", "fp32"), SetKey("onnx", "int8")


def test_accuracies_by_hand():
    found = accuracies({FLOAT: TRUE, INT8: OTHER}, np.array([0, 1]), "bagging", "logit")
    rows = {row.what: row for row in found.rows}
    assert {what: row.accuracy for what, row in rows.items()} == {
        "base onnx/fp32": 0.5,
        "mixture onnx/fp32": 1.0,
        "base onnx/int8": 0.5,
        "mixture onnx/int8": 0.5,
    }
    assert (rows["base onnx/fp32"].low, rows["base onnx/fp32"].high) == wilson(1, 2)
    assert {what: numbers[0] for what, numbers in found.differences.items()} == {
        "mixture onnx/fp32 minus base onnx/fp32": 0.5,
        "mixture onnx/int8 minus base onnx/int8": 0.0,
        "base onnx/int8 minus base onnx/fp32": 0.0,
        "mixture onnx/int8 minus mixture onnx/fp32": -0.5,
    }
    for difference, low, high in found.differences.values():
        assert low <= difference <= high


def test_accuracies_over_groups():
    twice = {key: Outputs(*(np.repeat(x, 8, axis=0) for x in vars(one).values())) for key, one in
             {FLOAT: TRUE, INT8: OTHER}.items()}  # fmt: skip
    labels, groups = np.repeat([0, 1], 8), np.arange(16) // 4
    alone, together = (accuracies(twice, labels, "bagging", "logit", given) for given in (None, groups))
    assert alone.groups is None
    assert together.groups == 4
    base = {row.what: row for row in together.rows}["base onnx/fp32"]
    assert (base.low, base.high) == accuracy_interval(np.repeat([True, False], 8), groups)
    what = "mixture onnx/fp32 minus base onnx/fp32"
    assert np.ptp(together.differences[what][1:]) > np.ptp(alone.differences[what][1:])


def test_each_backend_is_compared_with_its_own_reference():
    sets = {FLOAT: TRUE, INT8: OTHER, SetKey("litert", "fp32"): TRUE, SetKey("litert", "int8"): TRUE}
    found = accuracies(sets, np.array([0, 1]), "bagging", "logit").differences
    assert found["mixture onnx/int8 minus mixture onnx/fp32"][0] == -0.5
    assert found["mixture litert/int8 minus mixture litert/fp32"][0] == 0
    assert not [what for what in found if "litert" in what and "onnx" in what]


def points(*accuracies):
    fields = {"samples": 9, "exit_rate": 0.0, "mean_macs": 1.0, "accuracy_low": None, "accuracy_high": None}
    return tuple(
        OperatingPoint(tau=n / 10, max_experts=1 + n % 2, accuracy=one, **fields) for n, one in enumerate(accuracies)
    )


def test_spread_by_hand():
    found = spread({INT8: points(0.5, 0.75), SetKey("litert", "int8"): points(0.625, 0.75)})
    assert msgspec.to_builtins(found) == [
        {
            "tau": 0.0,
            "max_experts": 1,
            "accuracy": {"onnx/int8": 0.5, "litert/int8": 0.625},
            "points_apart": 12.5,
        },
        {"tau": 0.1, "max_experts": 2, "accuracy": {"onnx/int8": 0.75, "litert/int8": 0.75}, "points_apart": 0.0},
    ]


def test_nothing_to_compare():
    assert spread({INT8: points(0.5)}) == []
    assert spread({INT8: points(None), FLOAT: points(None)}) == []
    assert spread({INT8: (), FLOAT: ()}) == []
