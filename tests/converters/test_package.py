"""What the manifest says of the parts, and the golden sample."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from edge_moe import Bundle, Runtime
from edge_moe.anytime import softmax
from edge_moe.bundle import TensorSpec, sha256
from edge_moe.converters import package
from edge_moe.converters.origin import METADATA
from edge_moe.converters.tolerances import tolerance
from edge_moe.nn import mixture_cost
from edge_moe.preprocess import prepare
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.verify import relative_error, verify
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
def test_the_golden_samples_are_what_the_parts_and_the_whole_answer(tiny_bundle, backend, recipe):
    bundle = Bundle(tiny_bundle)
    artifacts = bundle.manifest.find(backend, recipe)
    golden, tensors = artifacts.golden, bundle.golden(artifacts)
    assert [one.role for one in golden.samples] == ["exit", "expert_00", "expert_01", "top 2"]
    assert golden.missing == ()
    feeds = {"base": "input", "gate": "base.embedding", "expert_00": "base.features", "expert_01": "base.features"}
    run = set()
    with Runtime(bundle, backend=backend, recipe=recipe) as model:
        for one in tensors.values():
            for part, feed in feeds.items():
                if f"{part}.logits" not in one:
                    continue
                run.add(part)
                model.part(part).invoke(one[feed])
                for output in bundle.manifest.parts[part].outputs:
                    found = one[f"{part}.{output.name}"]
                    assert (found.shape, found.dtype) == (output.shape, np.float32)
                    np.testing.assert_array_equal(found, model.part(part).output(output.name))
        assert run == set(feeds)  # every part is run by some image
        for sample in golden.samples:
            model.tau, model.max_experts = sample.tau, sample.max_experts
            answer = model.predict(tiny_bundle / bundle.manifest.golden.images[sample.input].file)
            assert (answer.index, answer.exited, answer.experts) == (sample.label, sample.exited, sample.experts)
            stored = tensors[sample.input][f"scores.{sample.role}"]
            np.testing.assert_allclose(stored, answer.scores, rtol=1e-6)
    assert [one.experts for one in golden.samples] == [(), (0,), (1,), (0, 1)]
    assert all(check.passed for check in verify(bundle, backend=backend, recipe=recipe))
    assert golden.tolerance == tolerance(backend, recipe)


def test_an_app_that_runs_the_base_alone_does_not_pass(tiny_bundle):
    """What it would answer to the samples with an expert: the base's probabilities."""
    bundle = Bundle(tiny_bundle)
    for artifacts in bundle.manifest.sets:
        told = 0
        allowed = max((artifacts.golden.tolerance, *artifacts.golden.part_tolerances.values()))
        tensors = bundle.golden(artifacts)
        for sample in artifacts.golden.samples:
            one = tensors[sample.input]
            base, scores = softmax(one["base.logits"][0]), one[f"scores.{sample.role}"]
            if sample.exited:
                assert (sample.unlike_base, int(base.argmax())) == (None, sample.label)
            elif sample.unlike_base == "label":
                assert int(base.argmax()) != sample.label
            elif sample.unlike_base == "probabilities":
                assert relative_error(base, scores / scores.sum()) > allowed
            told += sample.unlike_base is not None
        assert told >= 2, artifacts.key


def test_the_sets_share_their_images(tiny_bundle):
    bundle = Bundle(tiny_bundle)
    names = [{one.input for one in artifacts.golden.samples} for artifacts in bundle.manifest.sets]
    assert set().union(*names) == set(bundle.manifest.golden.images) == set(bundle.golden_inputs())
    assert len(bundle.manifest.golden.images) <= 4  # and not four a set
    for name, image in bundle.manifest.golden.images.items():
        found = prepare(tiny_bundle / image.file, bundle.manifest.preprocessing)
        np.testing.assert_array_equal(found, bundle.golden_inputs()[name])


def test_the_manifest_has_the_tensors_of_the_files(tiny_bundle):
    """Read here by each format's own package, not by the backend."""
    from ai_edge_litert.interpreter import Interpreter

    for artifacts in Bundle(tiny_bundle).manifest.sets:
        for name, part in artifacts.parts.items():
            data = (tiny_bundle / part.file).read_bytes()
            if artifacts.backend == "onnx":
                graph = onnx.load_from_string(data).graph
                there = [
                    (one.name, tuple(d.dim_value for d in one.type.tensor_type.shape.dim))
                    for one in (*graph.input, *graph.output)
                ]
            else:
                opened = Interpreter(model_content=data)
                details = (*opened.get_input_details(), *opened.get_output_details())
                there = [(one["name"], tuple(one["shape"])) for one in details]
                ((_, signature),) = opened.get_signature_list().items()
                assert signature["inputs"] == [one.name for one in part.inputs], name  # not args_0
            assert [(one.tensor, one.shape) for one in (*part.inputs, *part.outputs)] == there
            for one in (*part.inputs, *part.outputs):
                assert one.layout == ("NHWC" if len(one.shape) == 4 else None)
                assert (one.dtype, one.scale, one.zero_point) == ("float32", None, None)


def test_artifacts_say_what_they_are(tiny_bundle):
    from ai_edge_litert.tools import flatbuffer_utils

    for artifacts in Bundle(tiny_bundle).manifest.sets:
        for name, part in artifacts.parts.items():
            data = (tiny_bundle / part.file).read_bytes()
            if artifacts.backend == "onnx":
                (text,) = [one.value for one in onnx.load_from_string(data).metadata_props if one.key == METADATA]
            else:
                model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
                (buffer,) = [one.buffer for one in model.metadata if one.name == METADATA.encode()]
                text = bytes(bytearray(model.buffers[buffer].data)).decode()
            assert json.loads(text) == {
                "name": "mobilenet_v3_small",
                "part": name.partition("_")[0],
                "set": str(artifacts.key),
                "digest": artifacts.made_from[name],
            }


def test_names_of_sets():
    key = SetKey("onnx", "int8")
    assert (str(key), key.is_float, key.reference) == ("onnx/int8", False, ("onnx", "fp32"))
    assert key.reference.is_float
    assert key.reference.reference == key.reference
