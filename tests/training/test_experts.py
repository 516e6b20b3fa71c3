from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from edge_moe.nn import Base, Expert, Gate, build_base
from edge_moe.progress import Silent
from edge_moe.training import experts as module
from edge_moe.training.experts import draw_weights, train_expert
from edge_moe.training.fit import settle_statistics
from edge_moe.training.gate import embed
from edge_moe.training.images import Images
from edge_moe.training.plan import TrainingPlan
from tests import ranks
from tests.training.conftest import Recorder, small_architecture

Frozen = tuple[Base, Gate, Tensor]


@pytest.fixture(scope="module")
def frozen(images: Images) -> Frozen:
    """A frozen base, a gate that parts the images, and their embeddings."""
    torch.manual_seed(0)
    base = build_base(small_architecture()).requires_grad_(False)
    # With statistics that fit, or activations, and with them gradients, fade to nothing in an untrained network.
    settle_statistics(base, iter([torch.stack([pixels for pixels, _ in images]) / 64 - 2]))
    base.eval()
    embeddings = torch.from_numpy(embed(base, images, Silent()))
    embeddings += torch.randn(embeddings.shape) * 2
    gate = Gate(embeddings.shape[1], 3).requires_grad_(False)
    return base, gate, embeddings


def state(part: torch.nn.Module) -> dict[str, bytes]:
    return {key: tensor.numpy().tobytes() for key, tensor in part.state_dict().items()}


def test_weights_worked_by_hand() -> None:
    gate = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    assert draw_weights(gate, 0, 0.3).tolist() == pytest.approx([0.7 * 0.7 + 0.1, 0.1])
    assert draw_weights(gate, 1, 0.3).tolist() == pytest.approx([0.7 * 0.2 + 0.1, 0.8])
    assert draw_weights(gate, 2, 0.0).tolist() == gate[:, 2].tolist()
    assert draw_weights(gate, 2, 1.0).tolist() == pytest.approx([1 / 3, 1 / 3])
    total = sum(draw_weights(gate, k, 0.3) for k in range(3))
    assert total.tolist() == pytest.approx([1, 1]), "the experts share every image out"


def test_images_are_drawn_by_their_weights(
    frozen: Frozen, images: Images, plan: Callable[..., TrainingPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, gate, embeddings = frozen
    drawn: list[list[int]] = []

    def record(*_: Any, indices: list[int], **__: Any) -> Iterator[Any]:
        drawn.append(indices)
        return iter(())

    def epochs(_: Expert, losses: Callable[[int], Iterator[Tensor]], **__: Any) -> None:
        for epoch in range(400):
            assert list(losses(epoch)) == []

    monkeypatch.setattr(module, "batches", record)
    monkeypatch.setattr(module, "fit", epochs)
    train_expert(base, gate, 1, images, embeddings, plan(epsilon=0.2, batch_size=1000).config, progress=Silent())

    weights = draw_weights(gate(embeddings).softmax(-1), 1, 0.2).double().numpy()
    assert weights.max() > 2 * weights.min(), "this gate would not show a difference"
    assert {len(indices) for indices in drawn} == {round(weights.sum())}
    assert len({tuple(indices) for indices in drawn}) == len(drawn), "drawn anew each epoch"
    n = sum(map(len, drawn))
    share = weights / weights.sum()
    counts = np.bincount(np.concatenate(drawn), minlength=len(images))
    spread = np.sqrt(n * share * (1 - share))
    assert np.abs(counts - n * share).max() < 4.5 * spread.max()
    assert np.abs((counts - n * share) / spread).max() < 4.5


def test_base_and_gate_stay_and_the_expert_moves(
    frozen: Frozen, images: Images, plan: Callable[..., TrainingPlan]
) -> None:
    base, gate, embeddings = frozen
    before = state(base), state(gate)
    recorder = Recorder()
    expert = train_expert(
        base, gate, 0, images, embeddings, plan(expert_epochs=2, expert_learning_rate=0.01).config, progress=recorder
    )
    assert (state(base), state(gate)) == before
    assert not base.training
    assert all(parameter.grad is None for parameter in [*base.parameters(), *gate.parameters()])
    trained, own = state(expert), state(base.new_expert())
    assert all(trained[name] != own[name] for name, _ in expert.named_parameters())
    assert recorder.steps == {"expert 0": [2, 0, 2]}
    assert not expert.training
    assert not any(parameter.requires_grad for parameter in expert.parameters())


def test_an_expert_starts_from_the_bases_tail(
    frozen: Frozen, images: Images, plan: Callable[..., TrainingPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, gate, embeddings = frozen
    starts: list[dict[str, bytes]] = []
    monkeypatch.setattr(module, "fit", lambda expert, *_, **__: starts.append(state(expert)))
    train_expert(base, gate, 2, images, embeddings, plan().config, progress=Silent())
    tail = {key: value for key, value in state(base).items() if key in starts[0]}
    assert starts == [tail]


@pytest.mark.parametrize(
    ("kind", "space", "by_hand"),
    [
        ("bagging", "logit", lambda phi, e: (phi + e).softmax(-1)),
        ("bagging", "probability", lambda phi, e: (phi.softmax(-1) + e.softmax(-1)) / 2),
        ("expert", "logit", lambda phi, e: e.softmax(-1)),
    ],
)
def test_the_loss_goes_through_the_ensemble(
    frozen: Frozen,
    images: Images,
    plan: Callable[..., TrainingPlan],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    space: str,
    by_hand: Any,
) -> None:
    base, gate, embeddings = frozen
    x, y = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 2, 1, 0])
    found: list[tuple[Tensor, Tensor]] = []

    def first_loss(expert: Expert, losses: Callable[[int], Iterator[Tensor]], **_: Any) -> None:
        expert.eval()  # no dropout, so that it can be repeated
        phi, features, _ = base(x)
        found.append((next(losses(0)), by_hand(phi, expert(features))))

    monkeypatch.setattr(module, "batches", lambda *_, **__: iter([(x, y)]))
    monkeypatch.setattr(module, "fit", first_loss)
    train_expert(base, gate, 0, images, embeddings, plan(ensemble=kind, space=space).config, progress=Silent())
    loss, d = found[0]
    assert loss.item() == pytest.approx(-d[range(6), y].log().mean().item(), rel=1e-5)


def test_experts_wait_for_no_other(frozen: Frozen, images: Images, plan: Callable[..., TrainingPlan]) -> None:
    base, gate, embeddings = frozen

    def train(*order: int) -> dict[int, dict[str, bytes]]:
        return {
            k: state(train_expert(base, gate, k, images, embeddings, plan().config, progress=Silent())) for k in order
        }

    forth, back = train(0, 1), train(1, 0)
    assert forth == back
    assert forth[0] != forth[1]


def test_batchnorm_keeps_the_statistics_of_the_base(
    frozen: Frozen, images: Images, plan: Callable[..., TrainingPlan]
) -> None:
    base, gate, embeddings = frozen
    trained = state(train_expert(base, gate, 1, images, embeddings, plan().config, progress=Silent()))
    statistics = [key for key in trained if key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(statistics) > 10
    own = state(base)
    assert all(trained[key] == own[key] for key in statistics)


def test_what_the_base_makes_of_images_is_kept_where_they_stay_the_same(
    frozen: Frozen, images: Images, plan: Callable[..., TrainingPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, gate, embeddings = copy.deepcopy(frozen)
    for module_ in base.modules():
        if isinstance(module_, torch.nn.Dropout):
            module_.p = 0.0  # what is dropped depends on how the images were read
    config = plan(expert_epochs=2, augment="none").config
    calls: list[int] = []

    def train() -> torch.nn.Module:
        calls.clear()
        return train_expert(base, gate, 1, images, embeddings, config, progress=Silent())

    forward = type(base).forward
    with monkeypatch.context() as patch:
        patch.setattr(type(base), "forward", lambda *x: calls.append(1) or forward(*x))
        kept, once = train(), len(calls)
        patch.setattr(module, "_MEMORY_BYTES", 0)
        anew, often = train(), len(calls)
    assert once < often
    for a, b in zip(kept.state_dict().values(), anew.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [ranks.VECTOR, ranks.TOKENS])
@pytest.mark.parametrize("augment", ["none", "crop"])
def test_an_expert_of_features_that_are_no_maps(
    images: Images, plan: Callable[..., TrainingPlan], name: str, augment: str
) -> None:
    torch.manual_seed(0)
    base = build_base(msgspec.structs.replace(small_architecture(), base=name))
    if name == ranks.VECTOR:  # of vectors, not of maps: it keeps the base's statistics all the same
        base.get_submodule("tail.wide").append(torch.nn.BatchNorm1d(ranks.WIDTH))  # type: ignore[operator]
    settle_statistics(base, iter([torch.stack([pixels for pixels, _ in images]) / 64 - 2]))
    base.requires_grad_(False).eval()
    embeddings = torch.from_numpy(embed(base, images, Silent()))
    gate = base.new_gate(2, images.spec.image_size).requires_grad_(False)
    expert = train_expert(
        base, gate, 0, images, embeddings, plan(augment=augment, expert_learning_rate=0.1).config, progress=Silent()
    )
    before, after = state(base.new_expert()), state(expert)
    changed = {key for key in before if before[key] != after[key]}
    assert {"tail.head.weight", "tail.wide.0.weight"} <= changed
    assert not {key for key in changed if "running" in key}
