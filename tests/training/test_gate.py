from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional

from edge_moe.checkpoint import Normalization
from edge_moe.errors import UsageError
from edge_moe.nn import Gate, build_base
from edge_moe.progress import Silent
from edge_moe.training import gate as module
from edge_moe.training.gate import cluster, embed, train_gate
from edge_moe.training.images import Images
from edge_moe.training.plan import TrainingPlan
from tests.training.conftest import Recorder, small_architecture, small_preprocessing


@pytest.fixture(scope="module")
def embeddings() -> npt.NDArray[np.float32]:
    """Four blobs of 30 points each, on axes of very different scale, one of which is dead."""
    rng = np.random.default_rng(0)
    blobs = np.concatenate([rng.normal(centre, 1, (30, 6)) for centre in rng.normal(0, 5, (4, 6))])
    return (blobs * [1, 10, 0.1, 1, 1, 0] + [0, 100, 0, 1, 2, 3]).astype(np.float32)


def floored_deviation(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The standard deviation of each channel, but no less than a tenth of the mean over channels."""
    return np.maximum(embeddings.std(0), embeddings.std(0).mean() / 10)


def test_a_channel_that_hardly_moves_is_not_blown_up(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan]
) -> None:
    quiet = embeddings.copy()
    quiet[:, 5] = 1e-5 * np.arange(len(quiet))
    clusters = cluster(quiet, 4, plan().config)
    assert np.abs(clusters.normalize(quiet)[:, 5]).max() < 0.01
    weight = train_gate(quiet, clusters, plan().config, Silent()).weight
    assert weight[:, 5].abs().max() < 10 * weight[:, :5].abs().max()


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_the_target_is_sklearns_own(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan], normalization: Normalization
) -> None:
    clusters = cluster(embeddings, 4, plan(normalization=normalization).config)
    points = {
        "none": embeddings,
        "l2": embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        "standardize": (embeddings - embeddings.mean(0)) / floored_deviation(embeddings),
    }[normalization]
    theirs = KMeans(4, n_init=1, random_state=0).fit(points)
    assert clusters.nearest(embeddings).tolist() == theirs.predict(points).tolist()
    assert set(clusters.nearest(embeddings)) == {0, 1, 2, 3}
    by_hand = ((clusters.normalize(embeddings)[:, None] - clusters.centroids) ** 2).sum(-1).argmin(1)
    assert clusters.nearest(embeddings).tolist() == by_hand.tolist()


def test_normalisations_are_different_choices(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan]
) -> None:
    found = [cluster(embeddings, 4, plan(normalization=n).config).nearest(embeddings) for n in get_args(Normalization)]
    shares = {tuple(np.sort(np.bincount(f, minlength=4))) for f in found}
    assert len(shares) > 1


def test_one_expert_gets_everything(embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan]) -> None:
    clusters = cluster(embeddings, 1, plan().config)
    assert set(clusters.nearest(embeddings)) == {0}
    gate = train_gate(embeddings, clusters, plan().config, Silent())
    assert gate(torch.from_numpy(embeddings)).softmax(-1).tolist() == [[1.0]] * len(embeddings)


def test_more_experts_than_there_is_to_tell_apart(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan]
) -> None:
    with pytest.raises(UsageError, match="121 experts need at least as many training images; found 120"):
        cluster(embeddings, 121, plan().config)
    for same in (np.ones((9, 4), np.float32), np.zeros((9, 4), np.float32)):
        with pytest.raises(UsageError, match=r"2 experts .* only 1 different embeddings; use fewer experts"):
            cluster(same, 2, plan().config)
    two = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    assert len(set(cluster(two, 2, plan().config).nearest(two))) == 2
    with pytest.raises(UsageError, match=r"3 experts .* only 2 different"):
        cluster(two, 3, plan().config)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_of_a_diverged_base(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan], value: float
) -> None:
    spoiled = embeddings.copy()
    spoiled[3, 1] = value
    with pytest.raises(UsageError, match="not finite"):
        cluster(spoiled, 2, plan().config)


def test_the_gate_learns_the_target(embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan]) -> None:
    config = plan(gate_epochs=60, gate_learning_rate=0.05).config
    clusters = cluster(embeddings, 4, config)
    recorder = Recorder()
    gate = train_gate(embeddings, clusters, config, recorder)
    assert gate(torch.from_numpy(embeddings)).argmax(1).tolist() == clusters.nearest(embeddings).tolist()
    assert recorder.steps == {"gate": [60, 0, 60]}
    assert not any(parameter.requires_grad for parameter in gate.parameters())


def test_the_standardisation_is_folded_into_the_weights(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, torch.Tensor] = {}
    fit = module.fit

    def spy(trained: Gate, *arguments: Any, **options: Any) -> None:
        fit(trained, *arguments, **options)
        kept.update({key: tensor.clone() for key, tensor in trained.state_dict().items()})

    monkeypatch.setattr(module, "fit", spy)
    alive = embeddings[:, :5]
    gate = train_gate(alive, cluster(alive, 4, plan().config), plan().config, Silent())
    standardised = (alive - alive.mean(0)) / floored_deviation(alive)
    unfolded = functional.linear(torch.from_numpy(standardised), kept["weight"], kept["bias"])
    torch.testing.assert_close(gate(torch.from_numpy(alive)), unfolded, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(gate.weight, kept["weight"])


def test_the_loss_is_the_divergence_from_the_target(
    embeddings: npt.NDArray[np.float32], plan: Callable[..., TrainingPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[float, dict[str, torch.Tensor]]] = []

    def first_loss(gate: Gate, losses: Any, **_: Any) -> None:
        found.append((next(losses(0)).item(), {key: tensor.clone() for key, tensor in gate.state_dict().items()}))

    monkeypatch.setattr(module, "fit", first_loss)
    alive = embeddings[:, :5]
    clusters = cluster(alive, 4, plan().config)
    train_gate(alive, clusters, plan().config, Silent())
    loss, state = found[0]
    standardised = torch.from_numpy((alive - alive.mean(0)) / floored_deviation(alive))
    log_g = functional.linear(standardised, state["weight"], state["bias"]).log_softmax(-1)
    target = torch.eye(4)[torch.from_numpy(clusters.nearest(alive))]  # g*
    assert loss == pytest.approx(functional.kl_div(log_g, target, reduction="batchmean").item(), rel=1e-5)


@torch.no_grad()
def test_embeddings_are_the_bases(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    base = build_base(small_architecture()).eval()
    monkeypatch.setattr(module, "_BATCH", 16)
    recorder = Recorder()
    found = embed(base, images, recorder)
    assert recorder.steps == {"embeddings": [3, 0, 3]}
    tensors = np.concatenate(list(images.source.tensors(small_preprocessing()))).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, base(torch.from_numpy(tensors)).embedding.numpy(), atol=1e-4)
    assert found.std() > 0
