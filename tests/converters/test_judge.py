"""A set is judged once, against its own fp32, as the checkpoint says, and at the tau that it would be shipped with."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_moe.converters import measure, package
from edge_moe.converters.judge import Judge
from edge_moe.converters.options import ConversionOptions
from edge_moe.converters.toolchain import Structure
from edge_moe.data import open_data
from edge_moe.evaluate import Outputs
from edge_moe.progress import Silent
from edge_moe.sets import SetKey
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import load_checkpoint

FP32, INT8 = SetKey("litert", "fp32"), SetKey("litert", "int8")
PARTS = ("base", "gate", "expert_00", "expert_01")


@pytest.fixture
def loaded(own_checkpoint):
    return load_checkpoint(own_checkpoint)


@pytest.fixture
def judge(loaded, tiny_images, monkeypatch, tmp_path):
    """judge(options, ensemble) -> a Judge; what artifacts answer is in `judge.answers`, what was run in `judge.ran`."""
    validation = open_data(tiny_images, "val").sample(2)
    ran = []

    def run(key, files, tensors, progress):
        ran.append(key)
        return make.answers[key]

    monkeypatch.setattr(measure, "run_artifacts", run)
    monkeypatch.setattr(measure, "torch_errors", lambda *_: {})

    def make(options=None, ensemble="bagging"):
        config = msgspec.structs.replace(loaded.config, ensemble=ensemble)
        return Judge(
            loaded=replace(loaded, config=config),
            validation=validation,
            tensors=Tensors(validation, config.preprocessing),
            specs=package.part_specs(loaded),
            options=options or ConversionOptions(),
            progress=Silent(),
        )

    # The gates disagree on one image of two: of the sums of logits the answer is the same, of the expert's it is not.
    base = np.float32([[1, 0, 0], [1, 0, 0]])
    experts = np.float32([[[2, 0, 0], [0, 0, 0.5]]] * 2)
    make.answers = {
        FP32: Outputs(base, np.float32([[9, 0], [9, 0]]), experts),
        INT8: Outputs(base, np.float32([[9, 0], [0, 9]]), experts),
    }
    make.ran, make.files = ran, {part: tmp_path / part for part in PARTS}
    for file in make.files.values():
        file.write_bytes(b"1234")
    make.structures = {file: Structure(1, n) for n, file in enumerate(make.files.values())}
    make.structures[make.files["gate"]] = None
    return make


def judged(one, given):
    for key in (FP32, INT8):
        one.judge(key, given.files, given.structures)


def test_routing_is_compared_as_the_checkpoint_says(judge):
    both = judge()
    judged(both, judge)
    assert both.verdicts[FP32].routed == []
    at_0 = both.verdicts[INT8].routed[0]
    assert (at_0.tau, at_0.same_routing, at_0.same_answer) == (0, 0.5, 1.0)
    alone = judge(ensemble="expert")
    judged(alone, judge)
    assert alone.verdicts[INT8].routed[0].same_answer == 0.5


def test_the_default_tau_is_held_against_the_bar(judge, monkeypatch):
    monkeypatch.setattr(measure, "default_tau", lambda points, most, asked: 0.15 if asked is None else asked)
    one = judge()
    judged(one, judge)
    found = one.verdicts[INT8]
    assert ([setting.tau for setting in found.routed], found.default_tau) == ([0.0, 0.15, 0.25], 0.15)
    assert "litert/int8 as routed at tau 0.15 exits or wakes" in [m.problem for m in found.missed if not m.part][1]
    given = judge(ConversionOptions(tau=0.3, max_experts=2))
    judged(given, judge)
    assert [(one.tau, one.max_experts) for one in given.verdicts[INT8].routed] == [(0.0, 2), (0.3, 2)]


def test_each_set_is_run_and_judged_once(judge):
    one = judge()
    one.judge(FP32, judge.files, judge.structures)
    first = one.verdicts[FP32]
    one.judge(INT8, judge.files, judge.structures)
    assert judge.ran == [FP32, INT8]
    assert one.verdicts[FP32] is first
    assert list(one.missed) == [FP32, INT8]
    assert list(one.in_order([INT8, SetKey("onnx", "int8"), FP32])) == [INT8, FP32]


def test_how_parts_are_split_stands_in_their_rows(judge):
    one = judge()
    one.judge(FP32, judge.files, judge.structures)
    found = {row.part: row.structure for row in one.verdicts[FP32].parts}
    assert found == {"base": Structure(1, 0), "gate": None, "expert_00": Structure(1, 2), "expert_01": Structure(1, 3)}
    assert {m.part for m in one.missed[FP32] if "nodes outside" in m.problem} == {"expert_00", "expert_01"}
