"""What recipes are ranked by, with a tool that has a price list."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.targets.qnn.price import price
from edge_moe.benchmarks.targets.qnn.tool import Estimate, Range, RefusedError
from edge_moe.progress import Silent
from edge_moe.sets import SetKey

STOCK, WIDE, WHOLE = (SetKey("onnx", name) for name in ("int8-stock", "int8-a16", "int8"))
US = {"base": 200, "gate": 2, "expert_00": 80}


class Priced:
    """Refuses `refused`, and lacks the costs of some operations of `lacking`."""

    def __init__(self, refused=(), lacking=()):
        self.refused, self.lacking, self.asked = refused, lacking, []

    def compile(self, artifact, what):
        self.asked.append(what)
        part, _, name = what.split()
        if name in self.refused:
            raise RefusedError(f"{what} cannot run")
        us = US[part]
        return Estimate(Range(us, us - 1, us + 1), Range(0, 0, 0), int(name in self.lacking))


def files(*keys):
    return {key: {part: Path(f"{part}.onnx") for part in US} for key in keys}


def test_the_estimate_of_every_part_once():
    tool = Priced()
    unit, samples = price(tool, files(STOCK, WIDE), Silent())
    assert samples == {key: {"base": [[0.2]], "gate": [[0.002]], "expert_00": [[0.08]]} for key in (STOCK, WIDE)}
    assert (unit.shown, unit.is_time) == ("ms by QNN's estimate", True)
    assert tool.asked == [f"{part} of {key}" for key in (STOCK, WIDE) for part in US]


def test_what_the_npu_does_not_take_or_not_every_operation_has_a_cost_of_has_no_price():
    tool = Priced(refused=["onnx/int8"], lacking=["onnx/int8-a16"])
    assert list(price(tool, files(WHOLE, STOCK, WIDE), Silent()).samples) == [STOCK]
    assert price(tool, files(WIDE), Silent()).samples == {}
    assert price(tool, {}, Silent()).samples == {}


def test_if_it_takes_none_it_says_why():
    with pytest.raises(BackendError, match="base of onnx/int8 cannot run"):
        price(Priced(refused=["onnx/int8", "onnx/int8-stock"]), files(WHOLE, STOCK), Silent())
