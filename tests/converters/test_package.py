"""What the manifest says of the parts, and the golden sample."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_moe import Bundle, Runtime
from edge_moe.bundle import TensorSpec, sha256
from edge_moe.converters import package
from edge_moe.converters.tolerances import tolerance
from edge_moe.nn import mixture_cost
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.verify import verify
from tests.tiny import EXPERTS, SIZE


def test_part_specs(tiny_checkpoint):
    loaded = load_checkpoint(tiny_checkpoint)
    specs = package.part_specs(loaded)
    assert list(specs) == ["base", "gate", "expert_00", "expert_01"]
    cost = mixture_cost(loaded.config.architecture, EXPERTS)
    for name, expected in (("base", cost.base), ("gate", cost.gate), ("expert_00", cost.expert)):
        assert (specs[name].macs, specs[name].parameters) == (expected.macs, expected.parameters)
    tensor = TensorSpec
    # At 32 pixels with stem stride 1 the branch point, three halvings on, is a map of 4 x 4.
    assert specs["base"].inputs == (tensor(name="image", shape=(1, SIZE, SIZE, 3)),)
    assert specs["base"].outputs == (
        tensor(name="logits", shape=(1, 3)),
        tensor(name="features", shape=(1, 4, 4, 48)),
        tensor(name="embedding", shape=(1, 576)),
    )
    assert specs["gate"].inputs == (tensor(name="embedding", shape=(1, 576)),)
    assert specs["gate"].outputs == (tensor(name="logits", shape=(1, EXPERTS)),)
    assert specs["expert_01"].inputs == (tensor(name="features", shape=(1, 4, 4, 48)),)
    assert specs["expert_01"] == specs["expert_00"]


def test_artifacts_are_the_files_on_disk(tiny_bundle):
    for artifacts in Bundle(tiny_bundle).manifest.sets:
        for part, artifact in artifacts.parts.items():
            suffix = {"litert": "tflite", "onnx": "onnx"}[artifacts.backend]
            assert artifact.file == f"{artifacts.backend}/{artifacts.recipe.name}/{part}.{suffix}"
            data = (tiny_bundle / artifact.file).read_bytes()
            assert (artifact.sha256, artifact.bytes) == (sha256(data), len(data))


@pytest.mark.parametrize("recipe", ["int8", "fp32"])
@pytest.mark.parametrize("backend", ["litert", "onnx"])
def test_the_golden_sample_is_what_the_parts_and_the_whole_answer(tiny_bundle, backend, recipe):
    bundle = Bundle(tiny_bundle)
    artifacts = bundle.manifest.find(backend, recipe)
    golden, tensors = artifacts.golden, bundle.golden(artifacts)
    assert (golden.tau, golden.max_experts, golden.exited, golden.experts) == (0.0, 2, False, (0, 1))
    feeds = {"base": "input", "gate": "base.embedding", "expert_00": "base.features", "expert_01": "base.features"}
    with Runtime(bundle, backend=backend, recipe=recipe, tau=0.0, max_experts=2) as model:
        for part, feed in feeds.items():
            model.part(part).invoke(tensors[feed])
            for output in bundle.manifest.parts[part].outputs:
                found = tensors[f"{part}.{output.name}"]
                assert (found.shape, found.dtype) == (output.shape, np.float32)
                np.testing.assert_array_equal(found, model.part(part).output(output.name))
        answer = model.predict_tensor(tensors["input"])
    assert (answer.index, answer.experts) == (golden.label, golden.experts)
    np.testing.assert_allclose(tensors["scores"], answer.scores, rtol=1e-6)
    assert all(check.passed for check in verify(bundle, backend=backend, recipe=recipe))
    assert golden.tolerance == tolerance(backend, recipe)


def test_names_of_sets():
    key = SetKey("onnx", "int8")
    assert (str(key), key.is_float, key.reference) == ("onnx/int8", False, ("onnx", "fp32"))
    assert key.reference.is_float
    assert key.reference.reference == key.reference


def test_json_is_indented_for_people():
    assert package.to_json({"a": [1.5, None]}) == b'{\n  "a": [\n    1.5,\n    null\n  ]\n}\n'
    assert json.loads(package.to_json({"a": 1})) == {"a": 1}
