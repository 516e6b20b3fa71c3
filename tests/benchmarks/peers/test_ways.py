"""The other ways to answer: which there are, and that each of them does what it says."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from edge_moe import Bundle, Runtime
from edge_moe.benchmarks.peers import stock, ways
from edge_moe.benchmarks.peers.one_graph import EXITED
from edge_moe.data import open_data
from edge_moe.progress import Silent
from edge_moe.sets import SetKey
from tests.benchmarks.jobs import make_job, setting
from tests.fakes import FakePart

TIMED, TAU = 8, 0.1
SETTINGS = (setting(0.0, 1), setting(TAU, 1), setting(1.0, 1), setting(TAU, 2))
SETS = ("litert/int8", "onnx/fp32")


@pytest.fixture(scope="module")
def bundle(own_bundle):
    return Bundle(own_bundle)


@pytest.fixture(scope="module")
def inputs(bundle, tiny_images):
    return list(open_data(str(tiny_images), "val").sample(TIMED).tensors(bundle.manifest.preprocessing))


def job_of(bundle, inputs, sets, folder, **more):
    return make_job(folder, bundle, SETTINGS, inputs, sets=sets, peers=True, **more)


@pytest.fixture
def made(bundle, inputs, tmp_path):
    """made(*sets, stock=files, checkpoint=...) -> the ways; everything stays open until the test ends."""
    with contextlib.ExitStack() as stack:

        def make(*sets, files=None, **more):
            job = job_of(bundle, inputs, sets, tmp_path, **more)
            runtimes = [
                stack.enter_context(Runtime(bundle, backend=one.backend, recipe=one.recipe.name)) for one in job.sets
            ]
            return ways.ways(job, runtimes, files or {}, stack)

        yield make


def named(ways, name, backend, tau=None):
    (way,) = [way for way in ways if (way.peer.name, way.peer.backend, way.peer.tau) == (name, backend, tau)]
    return way


def test_which_ways_there_are_without_a_checkpoint(made):
    ways = made(*SETS)
    found = [(way.peer.name, way.peer.backend, way.peer.recipe, way.peer.tau) for way in ways]
    always = ("base only", "base + its expert, always", "all experts, always")
    assert found == [
        *((name, "litert", "int8", None) for name in always),
        *((name, "onnx", "fp32", None) for name in always),
        *(("one graph with If", "onnx", "fp32", tau) for tau in (0.0, TAU, 1.0)),  # one expert is all that it can
        ("one graph, all experts", "onnx", "fp32", None),
        ("stock int8", "litert", "int8-stock", None),
        ("stock int8", "onnx", "int8-stock", None),
        ("torch eager", "torch", "fp32", None),
    ]
    missing = [way for way in ways if way.call is None]
    assert missing == ways[-3:]
    assert {way.peer.missing for way in missing} == {"needs the checkpoint; repeat with --checkpoint"}
    for way in ways[:-3]:
        assert way.peer.missing is None
        assert way.peer.about


def test_without_onnx_there_is_no_graph(made):
    names = {(way.peer.name, way.peer.backend) for way in made("litert/fp32", "litert/int8")}
    assert not any("graph" in name or backend == "onnx" for name, backend in names)


@pytest.fixture
def experts_that_ran(monkeypatch):
    """Every (part, invoked) since it was cleared, through Runtime.part."""
    ran, part = [], Runtime.part

    class Noted(FakePart):
        def __init__(self, name, real):
            self.name, self.real = name, real

        def invoke(self, x):
            ran.append(self.name)
            self.real.invoke(x)

        def output(self, name):
            return self.real.output(name)

    monkeypatch.setattr(FakePart, "native_call", lambda part: None)
    monkeypatch.setattr(Runtime, "part", lambda self, name: Noted(name, part(self, name)))
    return ran


def test_base_only_is_the_base_s_logits(made, bundle, inputs):
    for label in SETS:
        backend, recipe = label.split("/")
        way = named(made(label), "base only", backend)
        with Runtime(bundle, backend=backend, recipe=recipe) as runtime:
            for i, x in enumerate(inputs):
                runtime.part("base").invoke(x)
                np.testing.assert_array_equal(way.call(i), runtime.part("base").output("logits"))


@pytest.mark.parametrize("label", SETS)
def test_the_mixture_without_exit_answers_as_the_runtime_at_tau_0(made, bundle, inputs, label):
    backend, recipe = label.split("/")
    ways = made(label)
    with Runtime(bundle, backend=backend, recipe=recipe, tau=0.0, max_experts=1) as runtime:
        expected = [runtime.predict_tensor(x).index for x in inputs]
    assert len(set(expected)) > 1
    for name in ("base + its expert, always", "all experts, always"):
        assert [named(ways, name, backend).call(i) for i in range(TIMED)] == expected


@pytest.mark.parametrize("label", SETS)
def test_which_parts_run_without_exit(made, bundle, inputs, label, experts_that_ran):
    backend, recipe = label.split("/")
    ways = made(label)
    with Runtime(bundle, backend=backend, recipe=recipe, tau=0.0, max_experts=1) as runtime:
        best = [runtime.predict_tensor(x).experts for x in inputs]
    chosen = set()
    for i, (k,) in enumerate(best):
        for name, experts in (("base + its expert, always", [k]), ("all experts, always", [0, 1])):
            experts_that_ran.clear()
            named(ways, name, backend).call(i)
            assert experts_that_ran == ["base", "gate", *(f"expert_{j:02d}" for j in experts)]
        chosen.add(k)
    assert chosen == {0, 1}


@pytest.mark.parametrize("tau", [0.0, TAU, 1.0])
def test_one_graph_answers_as_the_runtime(made, bundle, inputs, tau):
    way = named(made("onnx/fp32"), "one graph with If", "onnx", tau)
    with Runtime(bundle, backend="onnx", recipe="fp32", tau=tau, max_experts=1) as runtime:
        for i, x in enumerate(inputs):
            expected = runtime.predict_tensor(x)
            scores, expert = way.call(i)
            assert (() if expert == EXITED else (expert,)) == expected.experts
            np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=1e-5)


def test_a_traced_graph_answers_as_the_runtime_at_tau_0(made, bundle, inputs):
    way = named(made("onnx/fp32"), "one graph, all experts", "onnx")
    with Runtime(bundle, backend="onnx", recipe="fp32", tau=0.0, max_experts=1) as runtime:
        for i, x in enumerate(inputs):
            expected = runtime.predict_tensor(x)
            scores, expert = way.call(i)
            assert (expert,) == expected.experts
            np.testing.assert_allclose(scores, expected.scores, rtol=0, atol=1e-5)


@pytest.fixture
def stand_ins(bundle):
    """Artifacts of the bundle in place of stock ones; LiteRT's stock takes integers, see test_stock."""
    one = bundle.manifest.find("onnx", "int8")
    key = SetKey("onnx", "int8-stock")
    return {kind: {key: bundle.path / one.parts[name].file} for kind, name in stock.PARTS.items()}


def test_with_a_checkpoint_every_way_answers_every_image(made, own_checkpoint, stand_ins):
    ways = made("litert/int8", "onnx/fp32", files=stand_ins, checkpoint=own_checkpoint)
    assert [(way.peer.name, way.peer.backend, way.peer.recipe) for way in ways[-5:]] == [
        ("stock int8, base only", "onnx", "int8-stock"),
        ("stock int8, base + expert", "onnx", "int8-stock"),
        ("torch eager, base only", "torch", "fp32"),
        ("torch eager, base + its expert", "torch", "fp32"),
        ("torch eager, all experts", "torch", "fp32"),
    ]
    for way in ways:
        assert way.peer.missing is None
        for i in range(TIMED):
            way.call(i)


def test_stock_runs_the_base_then_the_expert(made, own_checkpoint, stand_ins, monkeypatch, inputs):
    called = []

    def call(key, file, threads, x):
        called.append(("made", file.stem, threads, x.shape))
        return lambda: called.append(file.stem)

    monkeypatch.setattr(stock, "stock_call", call)
    ways = made("onnx/fp32", files=stand_ins, checkpoint=own_checkpoint)
    assert called == [("made", "base", 1, (1, 32, 32, 3)), ("made", "expert_00", 1, (1, 8, 8, 80))]
    called.clear()
    named(ways, "stock int8, base only", "onnx").call(3)
    assert called == ["base"]
    named(ways, "stock int8, base + expert", "onnx").call(3)
    assert called == ["base", "base", "expert_00"]


def test_eager_runs_the_parts_that_it_says(made, own_checkpoint, stand_ins, monkeypatch, inputs):
    from edge_moe.training import checkpoint

    ran, loaded = [], []

    def load(path):
        found = checkpoint_load(path)
        mixture = found.mixture
        parts = {"base": mixture.base, "gate": mixture.gate}
        parts |= {f"expert {k}": expert for k, expert in enumerate(mixture.experts)}
        for name, part in parts.items():
            part.register_forward_hook(lambda *_, name=name: ran.append(name))
        loaded.append(mixture)
        return found

    checkpoint_load = checkpoint.load_checkpoint
    monkeypatch.setattr(checkpoint, "load_checkpoint", load)
    ways = made("onnx/fp32", files=stand_ins, checkpoint=own_checkpoint)
    (mixture,) = loaded
    assert not mixture.training
    for i, x in enumerate(inputs):
        with torch.inference_mode():
            embedding = mixture.base(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).embedding
            best = int(mixture.gate(embedding).argmax())
        for name, expected in (
            ("base only", ["base"]),
            ("base + its expert", ["base", "gate", f"expert {best}"]),
            ("all experts", ["base", "gate", "expert 0", "expert 1"]),
        ):
            ran.clear()
            named(ways, f"torch eager, {name}", "torch").call(i)
            assert ran == expected


def test_torch_s_threads_are_set_back(bundle, inputs, tmp_path, own_checkpoint, stand_ins):
    before = torch.get_num_threads()
    job = job_of(bundle, inputs, ("onnx/fp32",), tmp_path, checkpoint=own_checkpoint, threads=before + 1)
    with contextlib.ExitStack() as stack:
        runtime = stack.enter_context(Runtime(bundle, backend="onnx", recipe="fp32"))
        ways.ways(job, [runtime], stand_ins, stack)
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_stock_parts_are_made_of_the_plan_s_images_for_the_plan_s_backends(bundle, inputs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(stock, "make_stock", lambda *arguments: asked.append(arguments) or {"base": {}})
    job = job_of(bundle, inputs, ("onnx/fp32",), tmp_path, checkpoint=tmp_path / "checkpoint")
    assert ways.make_stock_parts(job, Silent()) == {"base": {}}
    ((wanted, checkpoint, samples, folder, _),) = asked
    assert (set(wanted), checkpoint, folder) == ({"onnx"}, tmp_path / "checkpoint", tmp_path / "stock")
    np.testing.assert_array_equal(samples["base"], np.stack(inputs[:8]))
    with Runtime(bundle, backend="onnx", recipe="fp32") as runtime:
        for x, features in zip(inputs, samples["expert"], strict=True):
            runtime.part("base").invoke(x)
            np.testing.assert_array_equal(features, runtime.part("base").output("features"))


def test_without_a_checkpoint_nothing_is_converted(bundle, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "make_stock", lambda *_: pytest.fail("converted"))
    assert ways.make_stock_parts(job_of(bundle, inputs, SETS, tmp_path), Silent()) == {}
