from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_moe.evaluate import Outputs
from edge_moe.intervals import wilson
from edge_moe.nn import SingleGateMoE
from edge_moe.training import measure
from edge_moe.training.checkpoint import new_mixture
from edge_moe.training.images import Images
from edge_moe.training.measure import collect_torch, mixture_metrics
from tests.training.conftest import Recorder, small_architecture, small_preprocessing


def test_outputs_are_the_mixtures(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixture: SingleGateMoE = new_mixture(small_architecture(), 2).eval()
    monkeypatch.setattr(measure, "_BATCH", 16)
    recorder = Recorder()
    found = collect_torch(mixture, images, progress=recorder)
    assert recorder.steps == {"validation": [3, 0, 3]}
    tensors = np.concatenate(list(images.source.tensors(small_preprocessing()))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = mixture(torch.from_numpy(tensors))
    for ours, theirs in zip((found.base_logits, found.gate_logits, found.expert_logits), expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def test_metrics_worked_by_hand() -> None:
    # Four images of classes 0 0 1 1; the base is right on the first and the last, and never sure.
    base = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    gate = np.array([[5, 0], [5, 0], [5, 0], [0, 5]], np.float32)
    # Expert 0 sets the second image right; expert 1, asked for the last alone, sets that wrong.
    first, second = [[0, 0], [9, 0], [0, 0], [0, 0]], [[0, 9], [0, 9], [0, 9], [9, 0]]
    experts = np.stack([first, second], axis=1).astype(np.float32)
    found = mixture_metrics(Outputs(base, gate, experts), np.array([0, 0, 1, 1]), "bagging", "logit")
    assert found["validation_images"] == 4
    assert found["base_accuracy"] == 0.5
    assert found["mixture_accuracy"] == 0.5
    assert found["mixture_minus_base"] == 0
    assert found["expert_shares"] == [0.75, 0.25]
    low, high = found["mixture_minus_base_95"]
    assert low < 0 < high
    for name in ("base", "mixture"):
        low, high = found[f"{name}_accuracy_95"]
        assert 0 < low < 0.5 < high < 1


def test_an_expert_without_images_has_a_share_of_none() -> None:
    outputs = Outputs(
        np.eye(2, dtype=np.float32), np.array([[1, 0, 0]] * 2, np.float32), np.zeros((2, 3, 2), np.float32)
    )
    assert mixture_metrics(outputs, np.array([0, 1]), "bagging", "logit")["expert_shares"] == [1, 0, 0]


def test_intervals_over_groups() -> None:
    outputs = Outputs(
        np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1, 1] * 4],
        np.zeros((24, 2), np.float32),
        np.zeros((24, 2, 2), np.float32),
    )
    labels, groups = np.zeros(24, np.int64), np.repeat(np.arange(8), 3)
    alone, together = (mixture_metrics(outputs, labels, "bagging", "logit", given) for given in (None, groups))
    assert "validation_groups" not in alone
    assert together["validation_groups"] == 8
    assert together["base_accuracy_95"] == pytest.approx(wilson(4, 8), abs=0.02)
    assert together["base_accuracy_95"][0] < alone["base_accuracy_95"][0]
    assert together["mixture_accuracy_95"] == together["base_accuracy_95"]
    assert together["base_accuracy"] == alone["base_accuracy"] == 0.5
