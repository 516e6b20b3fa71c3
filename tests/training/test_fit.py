from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_moe.errors import UsageError
from edge_moe.ledger import Kept
from edge_moe.training.fit import fit, settle_statistics
from tests.training.conftest import Recorder

X, Y = (torch.randn(40, width, generator=torch.Generator().manual_seed(1)) for width in (3, 1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))


def train(module: nn.Module, *, stop_before: int | None = None, **options: Any) -> Recorder:
    """Fit X to Y; `stop_before` raises KeyboardInterrupt before that epoch."""

    def losses(epoch: int) -> Iterator[Tensor]:
        if epoch == stop_before:
            raise KeyboardInterrupt
        torch.manual_seed(epoch)
        for chosen in torch.randperm(len(X)).split(16):
            yield (module(X[chosen]) - Y[chosen]).square().mean()

    recorder = Recorder()
    defaults = {"name": "it", "epochs": 4, "learning_rate": 0.01, "weight_decay": 0.01, "progress": recorder}
    fit(module, losses, **(defaults | options))
    return recorder


def flat(module: nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()


def test_the_loss_falls_and_is_reported() -> None:
    recorder = train(network())
    assert recorder.steps == {"it": [4, 0, 4]}
    losses = [float(note.removeprefix("loss ")) for note in recorder.notes]
    assert losses[-1] < losses[0]


def test_the_learning_rate_ends_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.SGD.step

    def recorded(self: torch.optim.SGD, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    train(network(), epochs=2)
    assert rates == pytest.approx([0.01] * 3 + [0.005] * 3)  # a cosine over two epochs: 1, 1/2, then 0
    rates.clear()
    train(network(), epochs=20)
    by_epoch = rates[::3]
    assert by_epoch[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])  # a tenth of the epochs to warm up
    assert by_epoch[3:] == sorted(by_epoch[3:], reverse=True)
    assert by_epoch[11] == pytest.approx(0.005)  # half of the cosine's 18 epochs later


def test_a_fit_that_was_interrupted_ends_where_it_would_have(tmp_path: Path) -> None:
    whole = network()
    train(whole)
    state = Kept(tmp_path / "it.state")
    first = network()
    with pytest.raises(KeyboardInterrupt):
        train(first, stop_before=2, state=state)
    assert flat(first) != flat(whole)
    second = network()
    assert train(second, state=state).steps == {"it": [4, 2, 2]}
    assert flat(second) == flat(whole)
    third = network()
    assert train(third, state=state).steps == {"it": [4, 4, 0]}, "after its last epoch nothing is left to do"
    assert flat(third) == flat(whole)


def test_what_needs_no_gradient_stays() -> None:
    module = network()
    module[0].requires_grad_(False)
    before = flat(module[0]), flat(module[2])
    train(module)
    assert flat(module[0]) == before[0]
    assert flat(module[2]) != before[1]


@pytest.mark.parametrize("spoil", [lambda loss: loss * torch.nan, lambda loss: loss + torch.inf])
def test_a_loss_that_is_not_finite_stops_before_it_harms(spoil: Callable[[Tensor], Tensor]) -> None:
    module = network()
    before = flat(module)
    with pytest.raises(UsageError, match=r"it: the loss is (nan|inf) in epoch 1; lower the learning rate"):
        fit(
            module,
            lambda _: iter([spoil(module(X).mean())]),
            name="it",
            epochs=1,
            learning_rate=0.1,
            weight_decay=0,
            progress=Recorder(),
        )
    assert flat(module) == before


def test_statistics_settle_at_the_mean_over_batches() -> None:
    norm = nn.BatchNorm1d(3)
    inputs = [torch.randn(5, 3, generator=torch.Generator().manual_seed(i)) + i for i in range(4)]
    norm.running_mean.fill_(100)
    settle_statistics(norm, iter(inputs), most=3)
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in inputs[:3]]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in inputs[:3]]).mean(0))
    assert norm.momentum == 0.1
