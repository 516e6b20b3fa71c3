"""What an artifact takes and gives, whatever the backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_moe.converters.interface import INPUTS, OUTPUTS, channels_first, kind_of, tensor_shapes, with_channels_last
from tests.converters.conftest import run_torch

SHAPES = {
    "base": ({"image": (1, 16, 16, 3)}, {"logits": (1, 5), "features": (1, 8, 8, 8), "embedding": (1, 24)}),
    "gate": ({"embedding": (1, 24)}, {"logits": (1, 3)}),
    "expert": ({"features": (1, 8, 8, 8)}, {"logits": (1, 5)}),
}


@pytest.mark.parametrize(
    ("part", "kind"), [("base", "base"), ("gate", "gate"), ("expert_00", "expert"), ("expert_123", "expert")]
)
def test_kinds(part, kind):
    assert kind_of(part) == kind


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_of_tensors(parts, kind):
    inputs, outputs = SHAPES[kind]
    (shape,) = inputs.values()
    assert tensor_shapes(parts[kind], kind, np.zeros(shape, np.float32)) == (inputs, outputs)
    assert (tuple(inputs), tuple(outputs)) == ((INPUTS[kind],), OUTPUTS[kind])


@pytest.mark.parametrize("kind", SHAPES)
def test_wrapped_parts_answer_with_channels_last(parts, samples, kind):
    wrapped = with_channels_last(parts[kind], kind)
    with torch.no_grad():
        found = wrapped(torch.from_numpy(samples[kind][:4, 0]))
    expected = run_torch(parts[kind], kind, samples[kind][:4])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert {name.partition(".")[0] for name in wrapped.state_dict()} == {"part"}
    assert not wrapped.training


def test_channels_first_is_a_view_of_the_same_bytes():
    maps = np.random.default_rng(0).random((2, 4, 5, 3)).astype(np.float32)
    found = channels_first(maps)
    assert found.shape == (2, 3, 4, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1), maps)
    assert found.data_ptr() == maps.ctypes.data
    row = np.ones((2, 7), np.float32)
    np.testing.assert_array_equal(channels_first(row), row)
    frozen = maps[:, ::-1]
    frozen.setflags(write=False)
    np.testing.assert_array_equal(channels_first(frozen).permute(0, 2, 3, 1), frozen)
