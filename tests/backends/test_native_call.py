"""Calling what is under a part gives what the part gives, and nothing is between."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_moe import Bundle, Runtime, backends
from tests.fakes import FakePart


@pytest.mark.parametrize("backend", ["litert", "onnx"])
@pytest.mark.parametrize("recipe", ["int8", "fp32"])
def test_the_logits_are_the_part_s(own_bundle, backend, recipe):
    draw = np.random.default_rng(0)
    bundle = Bundle(own_bundle)
    with Runtime(bundle, backend=backend, recipe=recipe) as runtime:
        for name, spec in bundle.manifest.parts.items():
            part = runtime.part(name)
            call = part.native_call()
            seen = []
            for _ in range(3):
                x = draw.normal(size=spec.inputs[0].shape).astype(np.float32)
                found = call(x).copy()
                part.invoke(x * 0)  # the same interpreter: what is asked for is not what was left in it
                part.invoke(x)
                np.testing.assert_array_equal(found, part.output("logits"), strict=True)
                seen.append(found)
            assert not np.array_equal(seen[0], seen[1])


def test_logits_that_are_not_the_first_output():
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("embedding", "logits")]
    nodes = [helper.make_node("Relu", ["x"], ["embedding"]), helper.make_node("Neg", ["x"], ["logits"])]
    graph = helper.make_graph(nodes, "part", [given], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    part = backends.get("onnx").open(model.SerializeToString())
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    np.testing.assert_array_equal(part.native_call()(x), -x)


def test_executorch():
    from tests.backends import test_executorch as executorch

    part = backends.get("executorch").open(executorch.convert(executorch.Tiny(), executorch.maps(executorch.X)))
    call = part.native_call()
    for x in (executorch.X, executorch.X * 2):
        found = call(x)
        part.invoke(x)
        np.testing.assert_array_equal(found, part.output("logits"), strict=True)
    kept = found.copy()
    call(executorch.X)
    np.testing.assert_array_equal(found, kept)  # a copy, as the part's
    part.close()


def test_a_library_without_a_call_of_its_own():
    part = FakePart({"logits": np.eye(3, dtype=np.float32) * 2})
    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(part.native_call()(x), 2 * x)


@pytest.mark.parametrize("name", backends.names())
def test_a_record_says_what_its_backend_says(name):
    backend, record = backends.get(name), backends.record(name)
    assert (record.name, record.suffix) == (backend.name, backend.suffix)
