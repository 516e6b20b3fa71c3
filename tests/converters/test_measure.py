"""What is measured before packaging, against torch and against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from edge_moe.bundle import OperatingPoint, expert_name
from edge_moe.converters import litert, measure, package, recipes
from edge_moe.data import open_data
from edge_moe.errors import ConversionError
from edge_moe.evaluate import Outputs
from edge_moe.progress import Silent
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import load_checkpoint
from tests.tiny import EXPERTS


def point(tau, accuracy, max_experts=1):
    return OperatingPoint(
        tau=tau,
        max_experts=max_experts,
        samples=10,
        exit_rate=tau,
        mean_macs=1.0,
        accuracy=accuracy,
        accuracy_low=accuracy,
        accuracy_high=accuracy,
    )


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.8, 0.8, 0.7, 0.6), 0.1),  # the largest that loses nothing
        ((0.8, 0.7, 0.8, 0.7), 0.2),  # wherever it is
        ((0.8, 0.7, 0.7, 0.9), 0.3),  # or gains
        ((0.8, 0.7, 0.7, 0.7), 0.0),
    ],
)
def test_default_tau_by_hand(accuracies, expected):
    points = [point(tau, accuracy) for tau, accuracy in zip((0.0, 0.1, 0.2, 0.3), accuracies, strict=True)]
    assert measure.default_tau(points, 1) == expected


def test_default_tau_is_for_the_bundle_s_own_number_of_experts():
    points = [point(0.0, 0.8), point(0.5, 0.8), point(0.0, 0.8, 2), point(0.1, 0.8, 2), point(0.5, 0.7, 2)]
    assert measure.default_tau(points, 1) == 0.5
    assert measure.default_tau(points, 2) == 0.1


@pytest.mark.parametrize("points", [[], [point(0.0, None), point(0.5, None)]])
def test_default_tau_without_accuracy(points):
    assert measure.default_tau(points, 1) == 0.25


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint):
    return load_checkpoint(tiny_checkpoint)


def test_calibration_samples_are_what_each_part_is_fed(loaded, tiny_images, tmp_path):
    images = open_data(tiny_images, "train").sample(5)
    files = measure.calibration_samples(loaded, images, tmp_path, Silent())
    stored = {kind: np.load(file) for kind, file in files.items()}
    x = np.stack(list(images.tensors(loaded.config.preprocessing)))
    np.testing.assert_array_equal(stored["base"], x)
    with torch.no_grad():
        out = loaded.mixture.base(torch.from_numpy(x[:, 0].transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(stored["gate"][:, 0], out.embedding, atol=1e-4)
    np.testing.assert_allclose(stored["expert"][:, 0].transpose(0, 3, 1, 2), out.features, atol=1e-4)


def test_torch_errors(loaded, tiny_images):
    tensors = Tensors(open_data(tiny_images, "val").sample(6), loaded.config.preprocessing)
    images = list(tensors)
    with torch.no_grad():
        x = torch.from_numpy(np.concatenate(images).transpose(0, 3, 1, 2).copy())
        base, gate, experts = (part.numpy() for part in loaded.mixture(x))
    found = measure.torch_errors(loaded, Outputs(base, gate * 1.01, experts), images)
    assert list(found) == ["base", "gate", *(expert_name(k) for k in range(EXPERTS))]
    assert found["gate"] == pytest.approx(0.01, rel=1e-3)
    assert max(error for part, error in found.items() if part != "gate") < 1e-6


def test_outputs_and_partitions_of_every_recipe(tiny_bundle, tiny_images, loaded):
    names = ["base", "gate", "expert_00", "expert_01"]
    targets = {part: {r: tiny_bundle / package.artifact_file(r, part) for r in ("fp32", "int8")} for part in names}
    tensors = Tensors(open_data(tiny_images, "val").sample(6), loaded.config.preprocessing)
    outputs, partitions = measure.run_artifacts(targets, ["fp32", "int8"], EXPERTS, tensors, Silent())
    assert partitions == {recipe: dict.fromkeys(names, (1, 0)) for recipe in ("fp32", "int8")}
    errors = measure.torch_errors(loaded, outputs["fp32"], list(tensors))
    assert max(errors.values()) < 1e-4
    assert not np.array_equal(outputs["int8"].base_logits, outputs["fp32"].base_logits)
    assert outputs["int8"].expert_logits.shape == (6, EXPERTS, 3)


def test_an_artifact_that_litert_refuses_names_its_recipe_and_part(samples, exported, tmp_path):
    """The quantizer's int8-all of a base whose embedding goes straight into the last layer makes no sense."""
    part, x = "base", samples["base"]
    file = tmp_path / "base.tflite"
    file.write_bytes(litert.calibrate_and_quantize(exported[part], x, recipes.get("int8-all")))
    with pytest.raises(ConversionError, match=r"^int8-all/base: LiteRT refuses the artifact: .*try another --recipe$"):
        measure.run_artifacts({part: {"int8-all": file}}, ["int8-all"], 1, [], Silent())


def test_operating_points_need_answers_that_mean_something(loaded, tiny_images):
    images = open_data(tiny_images, "val").sample(3)
    zeros = Outputs(np.zeros((3, 3)), np.zeros((3, EXPERTS)), np.zeros((3, EXPERTS, 3)))
    specs = package.part_specs(loaded)
    points = measure.operating_points(zeros, images, specs, loaded, 2)
    assert [(p.max_experts, p.tau) for p in points] == [(most, tau) for most in (1, 2) for tau in measure.TAUS]
    untrained = replace(loaded, config=msgspec.structs.replace(loaded.config, origin="untrained"))
    assert measure.operating_points(zeros, images, specs, untrained, 2) == ()
