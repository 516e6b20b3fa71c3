"""The weights of the fixtures are the same everywhere, and the second implementation of int8 rounds as it says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests import fixed, own, tiny  # noqa: E402
from tests.rounding import rounded  # noqa: E402

MOST_BYTES = 200_000


def test_closed_form_to_the_last_bit():
    """As another processor had them; the products round once, as IEEE has it."""
    numbers = fixed.uniform(0, 2, 2)
    np.testing.assert_array_equal(numbers * 2**23, [[2297835, -3862339], [-7701187, -8111321]])
    digest = hashlib.sha256()
    for tensor in fixed.fill(own.Network(3), seed=1, gain=3**0.5).state_dict().values():
        digest.update(tensor.numpy().tobytes())
    assert digest.hexdigest() == "03e1811509d32a2f2314f44b36d58bbdd1e624e1e95f218f7d9a101c886aa4da"


def test_as_wide_as_torch_s_own():
    layer = fixed.fill(nn.Conv2d(8, 4, 3))
    for tensor in (layer.weight, layer.bias):
        assert tensor.abs().max() <= 1 / 72**0.5
    assert layer.weight.abs().mean().item() == pytest.approx(0.5 / 72**0.5, rel=0.1)
    assert not torch.equal(fixed.fill(nn.Linear(3, 3), 1).weight, fixed.fill(nn.Linear(3, 3), 2).weight)


@pytest.mark.parametrize("base", ["mobilenet_v3_small", own.NAME])
def test_what_was_trained_is_small_and_means_something(tiny_images, base, tmp_path):
    """Sure of most answers and right, with doubts; experts that differ; a gate that routes to all."""
    from edge_moe.data import open_data
    from edge_moe.training.checkpoint import load_checkpoint

    assert tiny.weights(base).stat().st_size < MOST_BYTES
    loaded = load_checkpoint(tiny.write_checkpoint(tmp_path / "checkpoint", tiny_images, base))
    images = open_data(tiny_images, "val")
    x = np.concatenate(list(images.tensors(loaded.config.preprocessing))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits, gate, experts = loaded.mixture(torch.from_numpy(x.copy()))
    doubt = 1 - logits.softmax(1).amax(1)
    assert (logits.argmax(1).numpy() == images.labels).mean() > 0.95
    assert doubt.min() < 0.1 < doubt.max()
    assert np.bincount(gate.argmax(1), minlength=tiny.EXPERTS).min() > 10
    assert (experts[:, 0] - experts[:, 1]).norm() > 0.3 * experts[:, 0].norm()


def test_rounding_by_hand():
    """A layer of one weight a channel: 127 steps; inputs from 0 to 51: steps of 0.2; outputs from -102 to 0."""
    layer = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-2.0], [-1.0]]))
    x = torch.tensor([[0.0], [0.33], [51.0]])
    # Inputs become 0, 0.4, 51; outputs -0.8 and -0.4 in steps of 0.4.
    np.testing.assert_allclose(rounded(layer, x), [[0, 0], [-0.8, -0.4], [-102, -51.2]], atol=1e-5)
    # What is seen decides on the steps, and on where they end: at 25.5 steps of 0.1, outputs in steps of 0.2.
    seen = torch.tensor([[0.0], [25.5]])
    np.testing.assert_allclose(rounded(layer, x, seen), [[0, 0], [-0.6, -0.4], [-51, -25.6]], atol=1e-5)


def test_rounding_leaves_the_part_alone_and_folds_batch_norm():
    part = nn.Sequential(fixed.fill(nn.Conv2d(3, 4, 1, bias=False)), nn.BatchNorm2d(4)).eval()
    part[1].running_mean.fill_(1e6)  # in between, 8 bits would leave nothing
    with torch.no_grad():
        part[1].bias.fill_(1e6)
        x = torch.from_numpy(fixed.uniform(0, 2, 3, 4, 4))
        before = part(x)
        error = (rounded(part, x) - before).abs().max()
        assert torch.equal(part(x), before)
    assert error < 0.1
