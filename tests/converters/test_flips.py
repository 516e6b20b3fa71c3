"""How often an NPU answers otherwise than a processor: by hand, on four images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_moe.converters import flips
from edge_moe.converters.report import Flips
from edge_moe.evaluate import Outputs
from edge_moe.sets import SetKey

NPU, HOST, FLOAT = SetKey("ethos-u", "int8"), SetKey("litert", "int8"), SetKey("ethos-u", "fp32")
CONFIG = SimpleNamespace(ensemble="bagging", space="logit")


def verdict(answers, tau=1.0):
    """Of a network that says this of each image, for the base alone answers at tau = 1."""
    logits = np.eye(3, dtype=np.float32)[answers] * 9
    return SimpleNamespace(outputs=Outputs.of_base(logits), default_tau=tau)


VERDICTS = {NPU: verdict([0, 1, 2, 0]), HOST: verdict([0, 1, 1, 0]), FLOAT: verdict([1, 2, 1, 0])}


@pytest.mark.parametrize(("shipped", "other", "share"), [([HOST, NPU], HOST, 0.25), ([NPU], FLOAT, 0.75)])
def test_one_of_four_beside_the_processor_s_and_three_beside_float(shipped, other, share):
    assert flips.found(shipped, VERDICTS, CONFIG, 0) == [
        Flips(set="ethos-u/int8", other=str(other), share=share, images=4)
    ]


def test_without_an_npu_s_set_there_is_nothing_to_say():
    assert flips.found([HOST], VERDICTS, CONFIG, 0) == []


def test_more_than_rounding_does_is_said():
    few, many = (Flips(set="a/b", other="c/d", share=share, images=1000).words for share in (0.03, 0.031))
    assert few == "a/b answers 3.00% of 1000 images otherwise than c/d"
    assert many == "a/b answers 3.10% of 1000 images otherwise than c/d: more than the 3% that rounding does"
