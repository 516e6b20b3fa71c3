"""The mixture in one graph: the runtime's answers, and nothing run in vain.

The kernels are the same and meet the same numbers, in int8 the same integers: scores differ by the rounding of softmax.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edge_moe import Runtime
from edge_moe.benchmarks.peers.one_graph import EXITED, OneGraph, all_experts_graph, early_exit_graph
from edge_moe.bundle import Bundle, expert_name
from edge_moe.data import open_data
from edge_moe.errors import BackendError, ConversionError, MissingExtraError, UsageError

TAUS = (0.0, 0.02, 0.125, 0.5, 1.0)
CLOSE = {"rtol": 0, "atol": 1e-5}


class Altered(Bundle):
    """A bundle whose artifacts go through `change(model)`, by part, and whose manifest may be replaced."""

    def __init__(self, path, changes=None, **manifest):
        super().__init__(path)
        self.manifest = msgspec.structs.replace(self.manifest, **manifest)
        self.changes = changes or {}

    def read(self, artifact):
        data = super().read(artifact)
        change = self.changes.get(artifact.file.rpartition("/")[2].removesuffix(".onnx"))
        if change is None:
            return data
        model = onnx.load_from_string(data)
        change(model)
        return model.SerializeToString()


def with_experts(path, count):
    """Return the bundle with `count` experts that take turns to be those that it has, and a gate drawn for them."""

    def gate(model):
        weight, bias = np.random.default_rng(0).normal(0, 0.5, (count, 576)), np.zeros(count)
        for tensor in model.graph.initializer:
            value = weight if tensor.name.endswith("weight") else bias
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = count

    manifest = Bundle(path).manifest
    names = ["base", "gate", *(expert_name(k) for k in range(count))]
    taken = {name: name if k < 2 else expert_name(k % 2) for k, name in enumerate(names)}
    one = manifest.find("onnx", "fp32")
    fp32 = msgspec.structs.replace(one, parts={name: one.parts[other] for name, other in taken.items()})
    parts = {name: manifest.parts[other] for name, other in taken.items()}
    return Altered(path, {"gate": gate}, experts=count, sets=(fp32,), parts=parts)


@pytest.fixture(scope="module")
def images(tiny_bundle, tiny_images):
    known = list(open_data(str(tiny_images), "val").tensors(Bundle(tiny_bundle).manifest.preprocessing))
    noise = np.random.default_rng(0).normal(size=(24, *known[0].shape)).astype(np.float32)
    return [*known[::3], *noise]


def check(bundle, recipe, images, taus):
    """Compare with the runtime; return the experts that ran or EXITED."""
    artifacts = bundle.manifest.find("onnx", recipe)
    graph, everything = OneGraph(early_exit_graph(bundle, artifacts)), OneGraph(all_experts_graph(bundle, artifacts))
    seen = set()
    with Runtime(bundle, backend="onnx", recipe=recipe, max_experts=1) as runtime:
        for tau in taus:
            runtime.tau = tau
            for x in images:
                expected = runtime.predict_tensor(x)
                scores, expert = graph(x, tau)
                assert (() if expert == EXITED else (expert,)) == expected.experts
                np.testing.assert_allclose(scores, expected.scores, **CLOSE)
                if tau == 0:
                    scores, same = everything(x, tau)
                    assert same == expert
                    np.testing.assert_allclose(scores, expected.scores, **CLOSE)
                seen.add(expert)
    return seen


@pytest.mark.parametrize("recipe", ["int8", "fp32"])
def test_both_graphs_answer_as_the_runtime_does(tiny_bundle, images, recipe):
    assert {EXITED} < check(Bundle(tiny_bundle), recipe, images, TAUS)


@pytest.mark.parametrize(
    "how", [{"ensemble": "bagging", "space": "probability"}, {"ensemble": "expert", "space": "logit"}]
)
def test_ensembles_and_spaces(tiny_bundle, images, how):
    check(Altered(tiny_bundle, **how), "fp32", images[::4], (0.0,))


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_experts(tiny_bundle, images, count):
    seen = check(with_experts(tiny_bundle, count), "fp32", images, (0.0, 0.125))
    assert seen >= {0} if count == 1 else len(seen - {EXITED}) > 2


def test_tau_that_is_exactly_alpha_runs_the_expert(tiny_bundle, images):
    bundle = with_experts(tiny_bundle, 1)  # whose gate says 1, so that alpha is 1 - max phi
    graph = OneGraph(early_exit_graph(bundle, bundle.manifest.sets[0]))
    for x in images:
        phi, expert = graph(x, 1.0)
        assert expert == EXITED
        alpha = np.float32(1) - phi.max()
        assert graph(x, alpha)[1] == 0
        assert graph(x, np.nextafter(alpha, np.float32(2)))[1] == EXITED


def test_one_expert_runs_and_on_exit_nothing_of_any(tiny_bundle, images, tmp_path):
    bundle = Bundle(tiny_bundle)

    def ran(tau):
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
        options.log_severity_level = 3
        data = early_exit_graph(bundle, bundle.manifest.find("onnx", "fp32"))
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        session.run(None, {"image": images[0], "tau": np.array(tau, np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text())
        names = [event["name"] for event in events if event["cat"] == "Node"]
        return len(names), {name.split("/")[0] for name in names if name.startswith(("gate/", "expert_"))}

    exited, parts = ran(1.0)
    assert parts == set()
    everything, parts = ran(0.0)
    assert len(parts) == 2 and "gate" in parts
    assert everything > exited + 40


def test_what_does_not_fit_into_one_graph(tiny_bundle, monkeypatch):
    bundle = Bundle(tiny_bundle)
    artifacts = bundle.manifest.find("onnx", "fp32")
    with pytest.raises(UsageError, match="'litert'"):
        early_exit_graph(bundle, bundle.manifest.find("litert"))
    older = Altered(tiny_bundle, {"gate": lambda model: setattr(model, "ir_version", 9)})
    with pytest.raises(ConversionError, match=r"gate is in IR 9, .*base in IR 10"):
        all_experts_graph(older, artifacts)
    broken = Altered(tiny_bundle, {"gate": lambda model: model.graph.node[0].ClearField("input")})
    with pytest.raises(ConversionError, match="valid graph"):
        early_exit_graph(broken, artifacts)
    with pytest.raises(BackendError, match="refuses"):
        OneGraph(b"no graph")
    with pytest.raises(BackendError, match="could not run"):
        OneGraph(early_exit_graph(bundle, artifacts))(np.zeros((1, 3), np.float32), 0.5)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="onnx"):
        early_exit_graph(bundle, artifacts)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnxruntime"):
        OneGraph(b"")
