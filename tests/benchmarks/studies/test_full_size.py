"""What the full-size benchmarks measure, at a small size here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edge_moe.backends import native
from edge_moe.benchmarks.studies import full_size
from edge_moe.bundle import Bundle
from edge_moe.converters.recipes import book
from edge_moe.data import open_data
from edge_moe.progress import Silent
from edge_moe.training.checkpoint import load_checkpoint


@pytest.fixture
def converted(monkeypatch):
    """The arguments of `convert`, which is not carried out, by the bundle's name."""
    made = {}

    def convert(checkpoint, data, out, options, **_):
        assert out.name not in made
        made[out.name] = (checkpoint, data, options)
        out.mkdir()

    monkeypatch.setattr(full_size, "convert", convert)
    monkeypatch.setattr(full_size, "_SIZE", 32)
    return made


def test_the_bundle_is_made_once_and_is_untrained(converted, tmp_path):
    for _ in range(2):
        assert full_size.full_size_bundle(tmp_path, 1, Silent()) == tmp_path / "bundle-1-litert"
    ((checkpoint, data, options),) = converted.values()
    config = json.loads((checkpoint / "config.json").read_text())
    assert (config["origin"], config["experts"]) == ("untrained", 1)
    assert config["architecture"]["classes"] == 1000
    assert data == "noise"
    assert options.backends == ("litert",)


def test_every_int8_recipe_is_in_the_bundle(converted, tmp_path):
    bundles = [full_size.full_size_bundle(tmp_path, 1, Silent(), given) for given in (("litert",), native())]
    assert [bundle.name for bundle in bundles] == list(converted) and len(converted) == 2
    (checkpoint, _, options), (same, _, everything) = converted.values()
    assert checkpoint == same
    assert set(options.recipes) == {f"litert/{name}" for name in book("litert").recipes if name != "fp32"}
    assert set(everything.recipes) == {f"{b}/{name}" for b in native() for name in book(b).recipes if name != "fp32"}
    assert everything.ship_float  # what they are compared with
    assert set(everything.backends) == set(native())


def test_inputs_are_images_and_what_the_base_makes_of_them(tiny_bundle, tiny_checkpoint):
    bundle = Bundle(tiny_bundle)
    images, features = full_size.inputs(bundle)
    preprocessing = bundle.manifest.preprocessing
    noise = list(open_data("noise", "val").sample(8).tensors(preprocessing))
    np.testing.assert_array_equal(images, np.stack(noise))
    with torch.no_grad():
        expected = load_checkpoint(tiny_checkpoint).mixture.base(torch.from_numpy(images[:, 0].transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(features[:, 0], expected.features.permute(0, 2, 3, 1).numpy(), rtol=1e-3, atol=1e-4)
