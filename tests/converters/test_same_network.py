"""The same network gives the same outputs on the fixed input; another gives others, wherever it differs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edge_moe.converters.same_network import fixed_image, fixed_outputs, is_same
from edge_moe.training.checkpoint import load_checkpoint


@pytest.fixture
def mixture(own_checkpoint):
    return load_checkpoint(own_checkpoint).mixture


def test_the_image_is_what_the_formula_says():
    image = fixed_image(6, 4)
    assert (image.shape, image.dtype) == ((1, 6, 4, 3), np.float32)
    y, x = 4, 1

    def wave(a, b):
        return math.sin(2 * math.pi * (a * x / 4 + b * y / 6) + a)

    waves = wave(1, 2), wave(3, -1), wave(7, 5)
    expected = [0.9 * waves[c] + 0.5 * waves[(c + 1) % 3] + 0.2 * (c - 1) for c in range(3)]
    np.testing.assert_allclose(image[0, y, x], expected, rtol=1e-5)
    assert 0.5 < fixed_image(32, 32).std() < 1.5  # as normalised images


@torch.no_grad()
def test_outputs_of_every_part(mixture):
    image = fixed_image(32, 32)
    found = fixed_outputs(mixture, image)
    assert list(found) == ["base", "gate", "expert_00", "expert_01"]
    base = mixture.base(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_array_equal(found["base"]["logits"], base.logits.numpy().ravel())
    np.testing.assert_array_equal(found["gate"]["logits"], mixture.gate(base.embedding).numpy().ravel())
    np.testing.assert_array_equal(found["expert_01"]["logits"], mixture.experts[1](base.features).numpy().ravel())
    features = base.features.numpy().ravel()
    assert features.size == 80 * 8 * 8 > 4096
    np.testing.assert_array_equal(found["base"]["features"], features[::2])


@torch.no_grad()
def test_what_differs_is_seen_in_the_part_in_which_it_does(mixture):
    image = fixed_image(32, 32)
    before = fixed_outputs(mixture, image)
    assert all(is_same(before[part], found) for part, found in fixed_outputs(mixture, image).items())
    mixture.experts[0].get_submodule("last.2").__class__ = torch.nn.ReLU
    after = fixed_outputs(mixture, image)
    assert [part for part in after if not is_same(before[part], after[part])] == ["expert_00"]


@pytest.mark.parametrize(
    ("stored", "found", "same"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0001]}, True),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.001]}, False),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0, 3.0]}, False),
        ({"a": [1.0]}, {"b": [1.0]}, False),
        ({"a": [1.0]}, {"a": [1.0], "b": [1.0]}, False),
        ({"a": [float("nan")]}, {"a": [float("nan")]}, False),
        ({"a": [0.0]}, {"a": [0.0]}, True),
    ],
)
def test_up_to_rounding(stored, found, same):
    def arrays(given):
        return {name: np.array(values, np.float32) for name, values in given.items()}

    assert is_same(arrays(stored), arrays(found)) is same
