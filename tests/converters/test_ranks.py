"""Features that are no maps, and networks that are alone, through every backend: converted, verified, run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_moe import Runtime
from edge_moe.anytime import softmax
from edge_moe.backends import native
from edge_moe.bundle import Bundle, Preprocessing
from edge_moe.converters.convert import ConversionOptions, convert
from edge_moe.converters.interface import channels_last, kind_of, tensor_shapes, with_channels_last
from edge_moe.converters.sharing import fold_batch_norm
from edge_moe.data import NOISE, open_data
from edge_moe.evaluate import collect, route
from edge_moe.nn import Architecture, build_base
from edge_moe.training.checkpoint import save_checkpoint
from edge_moe.training.untrained import new_untrained
from edge_moe.verify import verify
from tests import own, ranks, whole

SPEC = Preprocessing(image_size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3)
OPTIONS = ConversionOptions(backends=native(), recipes=("int8",), calibration_images=8, validation_images=8)
FEATURES = {**ranks.FEATURES, own.NAME: (1, 8, 8, 80)}


@pytest.mark.parametrize(
    ("base", "experts"), [(ranks.VECTOR, 1), (ranks.TOKENS, 1), (ranks.VECTOR, 0), (ranks.TOKENS, 0), (own.NAME, 0)]
)
def test_every_backend_takes_it(base: str, experts: int, tmp_path: Path, made_here) -> None:
    architecture = Architecture(base=base, classes=3, image_size=32)
    checkpoint = new_untrained(architecture, experts, SPEC, seed=0)
    save_checkpoint(tmp_path / "checkpoint", checkpoint)
    # No bar is missed: one partition a part, and in fp32 what torch gives.
    convert(tmp_path / "checkpoint", NOISE, tmp_path / "bundle", OPTIONS)

    manifest = Bundle(tmp_path / "bundle").manifest
    assert {one.backend for one in manifest.sets} == set(native())
    given = {name: {one.name: one.shape for one in spec.outputs} for name, spec in manifest.parts.items()}
    if experts:
        assert given["base"] == {"logits": (1, 3), "features": FEATURES[base], "embedding": (1, ranks.WIDTH)}
        assert manifest.parts["expert_00"].inputs[0].shape == FEATURES[base]
        assert manifest.parts["expert_00"].macs > 0
    else:
        assert given == {"base": {"logits": (1, 3)}}
        assert (
            manifest.experts,
            {one.default_max_experts for one in Bundle(tmp_path / "bundle").operating_sets.values()},
        ) == (0, {0})
    assert [one for one in verify(tmp_path / "bundle") if not one.passed] == []

    images = list(open_data(NOISE, "val").sample(4).tensors(SPEC))
    with torch.no_grad():
        outputs = checkpoint.mixture(torch.from_numpy(np.concatenate(images).transpose(0, 3, 1, 2)))
    for backend in native():
        with Runtime(tmp_path / "bundle", tau=0.0, backend=backend, recipe="fp32") as runtime:
            found = collect(runtime.part, experts, images)
            for logits, expected in zip(vars(found).values(), outputs, strict=True):
                np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
            routed = route(found, 0.0, experts, "bagging", "logit")
            for n, image in enumerate(images):
                answer = runtime.predict_tensor(image)
                assert (answer.index, answer.exited) == (routed.predictions[n], not experts)
                scores = routed.scores[n] if experts else softmax(outputs.base_logits[n].numpy())
                np.testing.assert_allclose(answer.scores, scores, atol=1e-4)


def test_a_plain_network_gives_what_its_own_weights_give(tmp_path: Path, made_here) -> None:
    """A base that gives nothing but logits, which is all that a plain network has to."""
    architecture = Architecture(base=whole.NAME, classes=3, image_size=32)
    checkpoint = new_untrained(architecture, 0, SPEC, seed=0)
    save_checkpoint(tmp_path / "checkpoint", checkpoint)
    report = convert(tmp_path / "checkpoint", NOISE, tmp_path / "bundle", OPTIONS)
    assert [row.part for rows in report.sets.values() for row in rows] == ["base"] * 6
    assert (report.routed, report.accuracy) == ({}, None)
    page = (tmp_path / "bundle" / "parity.md").read_text()
    assert "expert" not in page
    image = next(open_data(NOISE, "val").tensors(SPEC))
    with torch.no_grad():
        expected = checkpoint.mixture.base(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).logits.numpy()
    with Runtime(tmp_path / "bundle", recipe="fp32") as runtime:
        part = runtime.part("base")
        part.invoke(image)
        np.testing.assert_allclose(part.output("logits"), expected, atol=1e-4)


@pytest.mark.parametrize("base", FEATURES)
def test_tokens_and_vectors_pass_as_they_are_and_batch_norm_is_folded(base: str) -> None:
    network = build_base(Architecture(base=base, classes=3, image_size=32)).eval()
    image = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    _, outputs = tensor_shapes(network, "base", image)
    assert outputs["features"] == FEATURES[base]
    folded = fold_batch_norm(with_channels_last(network, "base"))
    assert not any("BatchNorm2d" in type(module).__name__ for module in folded.modules())
    with torch.no_grad():
        out = network(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
        for name, value in folded(torch.from_numpy(image)).items():
            torch.testing.assert_close(value, channels_last(getattr(out, name)), atol=1e-5, rtol=1e-4)


def test_the_one_part_of_a_plain_network_is_of_a_kind_of_its_own() -> None:
    assert [kind_of("base", plain=True), kind_of("base"), kind_of("expert_01")] == ["plain", "base", "expert"]
