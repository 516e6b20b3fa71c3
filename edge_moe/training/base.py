"""Step 1: train or load the base, then freeze it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_moe.checkpoint import TrainingConfig
from edge_moe.errors import CheckpointError, UsageError
from edge_moe.ledger import Kept
from edge_moe.nn import Base
from edge_moe.progress import Progress
from edge_moe.training.fit import check_finite, fit, settle_statistics
from edge_moe.training.images import Images, batches, seed_everything
from edge_moe.training.weights import fit_names, load_state, read_weights

__all__ = ["load_base_weights", "train_base"]

_WATCHED, _BATCH = 2000, 64  # of the validation images, between epochs
_STAGE = 1  # keeps the seeds of base, gate and experts apart


def load_base_weights(base: Base, file: Path) -> bool:
    """Load a torchvision state dict; return whether the last linear layer fitted too.

    Where it has another number of classes it keeps its fresh initialisation.

    Raises:
        CheckpointError: missing, extra or misshapen tensors other than the last layer's.
    """
    state = fit_names(read_weights(file), base.state_dict(), str(file))
    if not state.keys() & base.state_dict().keys():
        load_state(base, state, str(file))  # says what is there instead
    name, layer = _last_linear(base)
    weight = state.get(f"{name}.weight")
    fits = weight is not None and weight.shape == layer.weight.shape
    if not fits:
        if weight is None or weight.ndim != 2 or weight.shape[1] != layer.in_features:
            found = "it has none" if weight is None else f"it has {list(weight.shape)}"
            raise CheckpointError(
                f"{file} does not fit: expected {name}.weight of [classes, {layer.in_features}], but {found}: is it of "
                "another architecture?"
            )
        own = base.state_dict()
        state |= {key: own[key] for key in (f"{name}.weight", f"{name}.bias")}
    load_state(base, state, str(file))
    return fits


def check_finetune(config: TrainingConfig, fits: bool) -> None:
    """Raise UsageError where `finetune` keeps what is not there: `fits`, the given weights have a classifier."""
    if config.finetune != "all" and not config.base_weights:
        raise UsageError(f"finetune={config.finetune} keeps the base as it is; give its weights with --base-weights")
    if config.finetune == "none" and not fits:
        raise UsageError(
            "the classifier of --base-weights has another number of classes and must be trained; "
            "use --finetune head or --finetune all"
        )


def train_base(
    base: Base,
    images: Images,
    config: TrainingConfig,
    *,
    progress: Progress,
    workers: int = 0,
    state: Kept | None = None,
    validation: Images | None = None,
) -> None:
    """Train `base` (on its own device) with cross-entropy as `config` says, and leave it frozen in evaluation mode.

    On at most 2,000 of the `validation` images, the same after every epoch, its accuracy is measured and told.

    Raises:
        UsageError: `finetune` is "none" although the classifier of the given weights had to be replaced.
    """
    fits = load_base_weights(base, Path(config.base_weights)) if config.base_weights else False
    device = next(base.parameters()).device
    check_finetune(config, fits)
    if config.finetune != "none":
        epochs, learning_rate = config.epochs, config.learning_rate
        assert epochs is not None and learning_rate is not None, "a base that learns has both"
        base.requires_grad_(config.finetune == "all")
        if config.finetune == "head":
            _last_linear(base)[1].requires_grad_(True)
        base.train(config.finetune == "all")
        base.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def shuffled(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            seed_everything(config.seed, _STAGE, epoch)
            order = torch.randperm(len(images)).tolist()
            # A last batch of one sample has no batch statistics.
            if len(order) % config.batch_size == 1 and len(order) > 1:
                order.pop()
            return batches(images, config.batch_size, device, augment=config.augment, indices=order, workers=workers)

        def losses(epoch: int) -> Iterator[Tensor]:
            for x, y in shuffled(epoch):
                yield functional.cross_entropy(base(x).logits, y)

        fit(
            base,
            losses,
            name="base",
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=config.weight_decay,
            progress=progress,
            state=state,
            accuracy=None if validation is None else partial(_accuracy, base, validation, device, workers),
        )
        if config.finetune == "all":
            settle_statistics(base, (x for x, _ in shuffled(epochs)))
        check_finite(base, "base")
    base.requires_grad_(False).eval()


@torch.no_grad()
def _accuracy(base: Base, images: Images, device: torch.device, workers: int) -> float:
    """Return the share of at most 2,000 images that `base` answers rightly; its modes are as before then."""
    chosen = np.random.default_rng(0).permutation(len(images))[:_WATCHED]
    mode = {module: module.training for module in base.modules()}
    base.eval()
    right = sum(
        int((base(x).logits.argmax(1) == y.to(device)).sum())
        for x, y in batches(images, _BATCH, device, indices=chosen.tolist(), workers=workers)
    )
    for module, training in mode.items():
        module.training = training
    return right / len(chosen)


def _last_linear(base: Base) -> tuple[str, nn.Linear]:
    """Return the layer of the head whose rows are classes, with its name in the state dict."""
    head = base.get_submodule(base.head_name)
    layers = [(name, module) for name, module in head.named_modules() if isinstance(module, nn.Linear)]
    name, layer = layers[-1]
    return ".".join(filter(None, (base.head_name, name))), layer
