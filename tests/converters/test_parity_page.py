"""The parity report as a page: nothing is missing from it, and nothing is made up."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe.converters.parity_page import to_markdown
from edge_moe.converters.report import Report


def report(**changes):
    row = {"bytes": 2048, "structure": [1, 0], "images": 81}
    same = {"top1": 0.9876, "cosine": 0.9991, "sqnr_db": 31.25}
    told = {
        "schema_version": 1,
        "calibration_images": 16,
        "machine": {"system": "Linux x86_64", "processor": "A chip (avx2)"},
        "tools": {"torch": "2.13.0"},
        "bars": {"min_agreement": 0.985, "min_routing": 0.97, "max_float_error": 1e-4},
        "default_taus": {"litert/fp32": 0.3, "litert/int8": 0.25, "onnx/int8": 0.1},
        "left_out": {},
        "unmade": {},
        "ranked": {},
        "made_anew": [],
        "kernels": {},
        "checkpoint": "birds",
        "trained": True,
        "data": "val",
        "images": 81,
        "missed_bars": {
            "litert/fp32": [],
            "litert/int8": [{"part": "gate", "problem": "litert/int8/gate is a mess", "agreement": False}],
            "onnx/int8": [],
        },
        "shipped": ["litert/int8", "litert/fp32"],
        "sets": {
            "litert/fp32": [row | {"part": "base", "against_fp32": same, "torch_error": 1.5e-7}],
            "litert/int8": [row | {"part": "gate", "images": 7, "against_fp32": same, "torch_error": None}],
            "onnx/int8": [row | {"part": "gate", "structure": None, "against_fp32": same, "torch_error": None}],
        },
        "routed": {"litert/int8": [{"tau": 0.25, "max_experts": 2, "same_answer": 0.9753, "same_routing": 0.9259}]},
        "accuracy": {
            "images": 81,
            "rows": [{"what": "base litert/fp32", "accuracy": 0.5, "low": 0.39, "high": 0.61}],
            "differences": {"mixture litert/fp32 minus base litert/fp32": [0.0123, -0.01, 0.04]},
        },
        "operating_points": [
            {
                "tau": 0.25,
                "max_experts": 1,
                "accuracy": {"litert/int8": 0.625, "onnx/int8": 0.5},
                "points_apart": 12.5,
            }
        ],
        "layers": {
            "litert/int8/base": [
                {"layer": f"features.{n}", "own_sqnr_db": n, "input_sqnr_db": 33.333, "sqnr_db": 22.25, "position": n}
                for n in range(10)
            ]
        },
        "seconds": {"litert/base": 12.34, "litert/base graph": 5.0},
    }
    return msgspec.convert(told | changes, Report)


def test_the_page_has_every_section():
    page = to_markdown(report())
    for text in (
        "# Parity of birds\n",
        "81 images (val)",
        "Shipped: litert/int8, litert/fp32.",
        "## litert/fp32\n",
        "| base | 2 | 1 | 0 | 81 | reference |  |  | 1.5e-07 |",
        "## litert/int8\n",
        "| gate | 2 | 1 | 0 | 7 | 98.76% | 0.9991 | 31.2 |  |",
        "- as routed at tau = 0.25, max_experts = 2: 97.53% same answer, 92.59% same routing",
        "- **missed:** litert/int8/gate is a mess",
        "| gate | 2 |  |  | 81 | 98.76% | 0.9991 | 31.2 |  |",
        "## Accuracy on 81 validation images",
        "| base litert/fp32 | 50.00% | 39.00% to 61.00% |",
        "| mixture litert/fp32 minus base litert/fp32 | +1.23 | -1.00 to +4.00 |",
        "| tau | max_experts | litert/int8 | onnx/int8 | points apart |",
        "| 0.25 | 1 | 62.50% | 50.00% | 12.50 |",
        "## Layers of litert/int8/base, the noisiest first",
        "| features.0 | 0.0 | 33.3 | 22.2 |",
        "and 2 more, see parity.json",
        "- agreement: a part, and the whole as routed, answers at least 98.50% of the images as fp32",
        "at least 97.00% of the images exit, or wake the same experts",
        "differs from torch by more than 1e-04",
        "| litert/int8 | 0.25 | 1 MISSED |",
        "| onnx/int8 | 0.1 | met |",
        "Calibrated on 16 images. Made and measured on A chip (avx2), Linux x86_64, with torch 2.13.0.",
        "| litert/base | 12.3 |",
    ):
        assert text in page
    assert "UNTRAINED" not in page
    assert "features.8" not in page


def test_every_table_is_one():
    """Each row has as many cells as its head, and an empty line before it."""
    lines = ["", *to_markdown(report()).splitlines()]
    heads = [n for n, line in enumerate(lines) if line.startswith("|---")]
    assert len(heads) == 9
    for n in heads:
        assert lines[n - 2] == ""
        rows = lines[n - 1 :]
        table = rows[: next((i for i, line in enumerate(rows) if not line.startswith("|")), len(rows))]
        assert len(table) >= 3
        assert len({row.count("|") for row in table}) == 1


@pytest.mark.parametrize("empty", ["layers", "operating_points", "seconds", "accuracy"])
def test_sections_without_content_are_left_out(empty):
    title = {"layers": "Layers of", "operating_points": "equal tau", "seconds": "Seconds", "accuracy": "Accuracy on"}
    assert title[empty] in to_markdown(report())
    assert title[empty] not in to_markdown(report(**{empty: {"accuracy": None, "operating_points": []}.get(empty, {})}))


def test_the_page_of_an_untrained_network():
    page = to_markdown(report(trained=False, accuracy=None))
    assert "**UNTRAINED" in page.split("## litert")[0]
    assert "98.50%" not in page  # a bar that does not apply


def test_what_was_left_out_and_what_was_made_anew_stand_at_the_top():
    page = to_markdown(report(left_out={"onnx": "onnx/int8 is a mess"}, made_anew=["base: made anew, because"]))
    top = page.split("## litert")[0].split("\n\n")
    assert "**onnx was left out of the bundle:** onnx/int8 is a mess" in top
    assert "base: made anew, because" in top


def test_intervals_over_originals_are_said_to_be():
    note = "Intervals are over the 27 originals of which these 81 images are versions."
    accuracy = msgspec.structs.replace(report().accuracy, groups=27)
    assert note in to_markdown(msgspec.structs.replace(report(), accuracy=accuracy))
    assert "originals" not in to_markdown(report())


def test_what_cannot_be_made_is_named_once():
    page = to_markdown(report(unmade={"onnx/int8": "no", "onnx/int8-all": "never"}, left_out={"onnx/int8": "no"}))
    assert "**onnx/int8-all cannot be made:** never" in page
    assert "**onnx/int8 cannot be made" not in page


def test_why_a_set_is_the_default():
    one = {"row": "x86", "where": "on this host", "unit": "ms", "why": "litert/int8 is 12% cheaper than litert/slow"}
    told = one | {"costs": {"litert/slow": [0.9, 1.0, 1.25]}, "shares": {"base": 1.0, "expert_03": 0.25}}
    taus = {"litert/fp32": 0.3, "litert/int8": 0.25, "litert/slow": 0.1}
    missed = {"litert/fp32": [], "litert/int8": report().missed_bars["litert/int8"], "litert/slow": []}
    page = to_markdown(report(ranked={"litert": told}, missed_bars=missed, default_taus=taus, sets={}))
    assert "## The default of litert\n\nWhy this one: litert/int8 is 12% cheaper than litert/slow.\n" in page
    assert "(base 1.00, expert_03 0.25; one expert stands for all)" in page
    rows = "| litert/slow | 1 | 0.9 to 1.25 | met |\n| litert/int8 |  |  | 1 MISSED |\n"
    assert "| set | median ms | p10 to p90 | bars |\n|---|---:|---:|---|\n" + rows in page
    plain = to_markdown(report(ranked={"litert": one | {"costs": {}, "shares": {}}}))
    assert "Why this one: " in plain
    assert "p10 to p90" not in plain
