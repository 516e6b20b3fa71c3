"""The one training loop: SGD with momentum, a warm-up, a cosine to zero.

A state file after each epoch lets a killed run go on at its last epoch.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from edge_moe.errors import CheckpointError, UsageError
from edge_moe.ledger import Kept
from edge_moe.progress import Progress

__all__ = ["check_finite", "fit", "pick_device", "settle_statistics"]

_MOMENTUM = 0.9


def fit(
    module: nn.Module,
    losses: Callable[[int], Iterator[Tensor]],
    *,
    name: str,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    progress: Progress,
    state: Kept | None = None,
    accuracy: Callable[[], float] | None = None,
) -> None:
    """Train the parameters of `module` that require a gradient.

    `losses(epoch)` seeds itself by the epoch and yields one scalar loss a step, so that an epoch is the same whether
    or not the run was interrupted before it. `accuracy`, a share of 1, is asked and told after each epoch. `state` is
    written after each epoch, and gone on with if it is done; who saves the result removes it.

    Raises:
        UsageError: the loss is not finite; the message says what to lower.
        CheckpointError: `state` is whole, but of another network or torch.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},  # biases and BatchNorm
    ]
    optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=_MOMENTUM, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: _rate(epoch, epochs))
    first = 0
    if state is not None and (reached := state.read()) is not None:
        try:
            stored = torch.load(io.BytesIO(reached), map_location="cpu", weights_only=True)
            module.load_state_dict(stored["module"])
            optimizer.load_state_dict(stored["optimizer"])
            schedule.load_state_dict(stored["schedule"])
            first = stored["epochs"]
        except Exception:  # what torch.load raises on other bytes is nearly anything, and tells a user nothing
            raise CheckpointError(
                f"{state.file} is not of this network, or of another torch; delete it to train {name} from its first "
                "epoch"
            ) from None
    progress.start(name, epochs, first)
    for epoch in range(first, epochs):
        total, steps = 0.0, 0
        for loss in losses(epoch):
            if not torch.isfinite(loss):
                raise UsageError(f"{name}: the loss is {loss.item()} in epoch {epoch + 1}; lower the learning rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total, steps = total + loss.item(), steps + 1
        schedule.step()
        measured = "" if accuracy is None else f", validation accuracy {accuracy():.1%}"
        progress.advance(name, f"loss {total / max(steps, 1):.3f}{measured}")
        if state is not None:
            buffer = io.BytesIO()
            now = {
                "module": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epochs": epoch + 1,
            }
            torch.save(now, buffer)
            state.write(buffer.getvalue())


def _rate(epoch: int, epochs: int) -> float:
    """Return the share of the learning rate in `epoch`: up in the first tenth of the epochs, then a cosine to 0."""
    warm = epochs // 10
    if epoch < warm:
        return (epoch + 1) / (warm + 1)
    return (1 + math.cos(math.pi * (epoch - warm) / (epochs - warm))) / 2


def settle_statistics(module: nn.Module, inputs: Iterator[Tensor], most: int = 32) -> None:
    """Set the BatchNorm statistics of `module` to the mean over at most `most` batches of `inputs`.

    The running averages of a short training lag behind its weights, and evaluation would use them.
    """
    update_bn(islice(inputs, most), module)


def check_finite(module: nn.Module, name: str) -> None:
    """Raise UsageError if a weight or a statistic of `module` is NaN or infinite, which its last step can make it."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UsageError(f"{name}: the training diverged to weights that are no numbers; lower the learning rate")


def pick_device() -> torch.device:
    """Return the GPU when torch has one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
