"""docs/plain-code.md is run: its answers are those of the runtime, and of the golden samples."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from edge_moe import Runtime
from edge_moe.converters.convert import ConversionOptions, convert
from tests import fixed, tiny
from tests.fakes import agree
from tests.fixtures import JOB

PAGE = Path(__file__).parents[1] / "docs" / "plain-code.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
RULE, *READERS, GOLDEN = BLOCKS
MOST_LINES = 40


@pytest.fixture(scope="module")
def bundle(own_checkpoint, tiny_images, tmp_path_factory):
    """For three backends."""
    out = tmp_path_factory.mktemp("plain") / "bundle"
    with pytest.MonkeyPatch.context() as patch, tiny.one_thread():
        patch.setattr("edge_moe.converters.make.carry_out", tiny.PartsMadeHere())
        options = ConversionOptions(
            recipes=("litert/int8", "onnx/int8", "executorch/int8-dynamic"),
            backends=("litert", "onnx", "executorch"),
            calibration_images=8,
            min_agreement=0,
            min_routing=0,
        )
        convert(own_checkpoint, str(tiny_images), out, options)
    return out


def read(reader, bundle):
    """Return what a page's reader makes of the bundle, and the name of its set."""
    code = (RULE + reader).replace('"bundle/"', repr(str(bundle)))
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch says of its own API that it may change
        exec(compile(code, str(PAGE), "exec"), found)
    return found["model"], re.search(r'Mixture\("bundle/", "([^"]+)"', reader)[1]


def code_lines(text):
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("reader", READERS, ids=["litert", "onnx", "executorch"])
@pytest.mark.parametrize(("ensemble", "space"), [("bagging", "logit"), ("bagging", "probability"), ("expert", "logit")])
def test_a_reader_answers_as_the_runtime(bundle, reader, ensemble, space):
    raw = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(raw | {"ensemble": ensemble, "space": space}))
    agree(bundle)
    model, name = read(reader, bundle)
    backend, recipe = name.split("/")
    ran = set()
    with Runtime(bundle, backend=backend, recipe=recipe) as runtime:
        shape = runtime.manifest.parts["base"].inputs[0].shape
        assert (model.tau, model.max_experts) == (runtime.tau, runtime.max_experts)
        for number, x in enumerate(3 * fixed.uniform(0, 12, *shape)):
            runtime.tau, runtime.max_experts = ((0.0, 1), (0.0, 2), (0.2, 2), (1.0, 1))[number % 4]
            model.tau, model.max_experts = runtime.tau, runtime.max_experts
            expected = runtime.predict_tensor(x)
            label, probability, experts = model.answer(x)
            assert (label, experts) == (expected.label, list(expected.experts))
            assert probability == pytest.approx(expected.probability, rel=1e-4)
            ran.add(len(experts))
    assert ran == {0, 1, 2}


def test_the_golden_samples_come_out(monkeypatch):
    monkeypatch.chdir(JOB)  # where "bundle/" is one
    exec(compile(RULE + READERS[0] + GOLDEN, str(PAGE), "exec"), {})


def test_a_plain_network_is_answered_too(bundle, tmp_path):
    model, _ = read(READERS[0], bundle)
    model.manifest["experts"] = 0
    model.tau = 0.0
    shape = model.manifest["parts"]["base"]["inputs"][0]["shape"]
    assert model.answer(fixed.uniform(0, *shape))[2] == []


@pytest.mark.parametrize("reader", READERS, ids=["litert", "onnx", "executorch"])
def test_a_reader_is_short_and_needs_numpy_and_its_runtime_alone(reader):
    imported = set(re.findall(r"^(?:import|from) (\w+)", RULE + reader, re.MULTILINE))
    assert len(imported - {"json", "numpy", "pathlib", "torch"}) == 1
    assert len(code_lines(RULE)) <= MOST_LINES
    assert np.__name__ in RULE
