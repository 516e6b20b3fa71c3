"""Agreement, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.converters.parity import accuracies, agreement, part_parity, routed_agreement, to_markdown
from edge_moe.evaluate import Outputs, wilson

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
    assert list(found) == ["base", "gate", "expert_00", "expert_01"]
    assert {name: one.top1 for name, one in found.items()} == {"base": 1, "gate": 0.5, "expert_00": 1, "expert_01": 1}


def test_routed_agreement_by_hand():
    at_0 = routed_agreement(OTHER, TRUE, 0.0, 1, "bagging", "logit")
    assert at_0 == {"tau": 0.0, "max_experts": 1, "same_answer": 0.5, "same_routing": 0.5}
    # Nobody is awake at tau = 1: the base answers alike.
    at_1 = routed_agreement(OTHER, TRUE, 1.0, 1, "bagging", "logit")
    assert (at_1["same_answer"], at_1["same_routing"]) == (1, 1)


def test_accuracies_by_hand():
    found = accuracies({"fp32": TRUE, "int8": OTHER}, np.array([0, 1]), "bagging", "logit")
    rows = {row.what: row for row in found["rows"]}
    assert {what: row.accuracy for what, row in rows.items()} == {
        "base-fp32": 0.5,
        "mixture-fp32": 1.0,
        "base-int8": 0.5,
        "mixture-int8": 0.5,
    }
    assert (rows["base-fp32"].low, rows["base-fp32"].high) == wilson(1, 2)
    assert {what: numbers[0] for what, numbers in found["differences"].items()} == {
        "mixture-fp32 minus base-fp32": 0.5,
        "mixture-int8 minus base-int8": 0.0,
        "base-int8 minus base-fp32": 0.0,
        "mixture-int8 minus mixture-fp32": -0.5,
    }
    for difference, low, high in found["differences"].values():
        assert low <= difference <= high


def report(**changes):
    row = {"bytes": 2048, "delegates": 1, "outside": 0}
    same = {"top1": 0.9876, "cosine": 0.9991, "sqnr_db": 31.25}
    return {
        "checkpoint": "birds",
        "trained": True,
        "data": "val",
        "images": 81,
        "reference": "fp32",
        "missed_bars": {"fp32": [], "int8": ["int8/gate is a mess"]},
        "shipped": ["int8", "fp32"],
        "recipes": {
            "fp32": [row | {"part": "base", "against_fp32": same, "torch_error": 1.5e-7}],
            "int8": [row | {"part": "gate", "against_fp32": same, "torch_error": None}],
        },
        "routed": {"int8": [{"tau": 0.25, "max_experts": 2, "same_answer": 0.9753, "same_routing": 0.9259}]},
        "accuracy": {
            "images": 81,
            "rows": [{"what": "base-fp32", "accuracy": 0.5, "low": 0.39, "high": 0.61}],
            "differences": {"mixture-fp32 minus base-fp32": [0.0123, -0.01, 0.04]},
        },
    } | changes


def test_the_page_has_every_section():
    page = to_markdown(report())
    for text in (
        "# Parity of birds\n",
        "81 images (val)",
        "int8/gate is a mess",
        "## Recipe fp32\n",
        "| base | 2 | 1 | 0 | reference |  |  | 1.5e-07 |",
        "## Recipe int8\n",
        "| gate | 2 | 1 | 0 | 98.76% | 0.9991 | 31.2 |  |",
        "tau = 0.25, max_experts = 2: 97.53% same answer, 92.59% same routing",
        "## Accuracy on 81 validation images",
        "| base-fp32 | 50.00% | 39.00% to 61.00% |",
        "| mixture-fp32 minus base-fp32 | +1.23 | -1.00 to +4.00 |",
    ):
        assert text in page
    assert "UNTRAINED" not in page


def test_the_page_of_an_untrained_network():
    page = to_markdown(report(trained=False, accuracy=None))
    assert "**UNTRAINED" in page.split("## Recipe")[0]
    assert "Accuracy on" not in page
