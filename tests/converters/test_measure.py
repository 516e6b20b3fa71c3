"""What is measured before packaging, against torch and against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from edge_moe.bundle import Bundle, OperatingPoint, expert_name
from edge_moe.converters import measure, package
from edge_moe.data import open_data
from edge_moe.errors import ConversionError
from edge_moe.evaluate import Outputs
from edge_moe.progress import Silent
from edge_moe.sets import SetKey
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.verify import relative_error
from tests.rounding import ALLOWED, rounded
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
        ((0.8, 0.7995, 0.799, 0.7989), 0.2),  # one image in a thousand, not more
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
    images = list(open_data(tiny_images, "train").sample(5).tensors(loaded.config.preprocessing))
    files = measure.calibration_samples(loaded, images, tmp_path, Silent())
    stored = {kind: np.load(file) for kind, file in files.items()}
    x = np.stack(images)
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


@pytest.fixture
def targets(tiny_bundle, tmp_path):
    """The artifacts of the bundle: set -> part -> file."""
    found = {}
    for one in Bundle(tiny_bundle).manifest.sets:
        key = SetKey(one.backend, one.recipe.name)
        found[key] = {}
        for part, artifact in one.parts.items():
            file = tmp_path / artifact.file.replace("/", "-")
            file.write_bytes((tiny_bundle / artifact.file).read_bytes())
            found[key][part] = file
    return found


def test_outputs_of_every_set(targets, tiny_images, loaded):
    tensors = Tensors(open_data(tiny_images, "val").sample(6), loaded.config.preprocessing)
    outputs = {key: measure.run_artifacts(key, files, tensors, Silent()) for key, files in targets.items()}
    # The same by a second implementation, see tests.rounding: each part is fed by the base of its own set.
    x = torch.from_numpy(np.concatenate(list(tensors)).transpose(0, 3, 1, 2).copy())
    known = open_data(tiny_images, "train").sample(128).tensors(loaded.config.preprocessing)
    seen = torch.from_numpy(np.concatenate(list(known)).transpose(0, 3, 1, 2).copy())
    mixture = loaded.mixture
    with torch.no_grad():
        through = mixture.base(seen)
        base = rounded(mixture.base, x, seen)
        coarse = {
            "base_logits": base.logits,
            "gate_logits": rounded(mixture.gate, base.embedding, through.embedding),
            "expert_logits": torch.stack([rounded(e, base.features, through.features) for e in mixture.experts], 1),
        }
    for backend in ("litert", "onnx"):
        fp32, int8 = outputs[SetKey(backend, "fp32")], outputs[SetKey(backend, "int8")]
        assert max(measure.torch_errors(loaded, fp32, list(tensors)).values()) < 1e-4
        assert not np.array_equal(int8.base_logits, fp32.base_logits)
        assert int8.expert_logits.shape == (6, EXPERTS, 3)
        for kind, values in coarse.items():
            exact = getattr(fp32, kind)
            assert relative_error(getattr(int8, kind), exact) < ALLOWED * relative_error(values.numpy(), exact) < 0.5


@pytest.mark.parametrize("backend", ["litert", "onnx"])
def test_an_artifact_that_the_backend_refuses_names_its_set_and_part(targets, backend):
    key = SetKey(backend, "int8")
    targets[key]["gate"].write_bytes(b"no artifact")
    with pytest.raises(
        ConversionError, match=rf"^{backend}/int8/gate: .* refuses the artifact: .*try another --recipe$"
    ):
        measure.run_artifacts(key, targets[key], [], Silent())


@pytest.mark.parametrize("backend", ["litert", "onnx"])
def test_an_artifact_that_opens_but_does_not_run_names_its_set(targets, tiny_images, loaded, backend):
    """As an error of the conversion, of which there may be one a backend."""
    key = SetKey(backend, "int8")
    targets[key]["gate"].write_bytes(targets[key]["base"].read_bytes())
    tensors = Tensors(open_data(tiny_images, "val").sample(1), loaded.config.preprocessing)
    with pytest.raises(ConversionError, match=rf"^{backend}/int8: .*; try another --recipe$"):
        measure.run_artifacts(key, targets[key], tensors, Silent())


def test_operating_points_need_answers_that_mean_something(loaded, tiny_images):
    images = open_data(tiny_images, "val").sample(3)
    zeros = Outputs(np.zeros((3, 3)), np.zeros((3, EXPERTS)), np.zeros((3, EXPERTS, 3)))
    specs = package.part_specs(loaded)
    points = measure.operating_points(zeros, images, specs, loaded, 2)
    assert [(p.max_experts, p.tau) for p in points] == [(most, tau) for most in (1, 2) for tau in measure.TAUS]
    untrained = replace(loaded, config=msgspec.structs.replace(loaded.config, origin="untrained"))
    assert measure.operating_points(zeros, images, specs, untrained, 2) == ()
