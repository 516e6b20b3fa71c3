"""Step 3: train each expert on its own draw of the data, through the ensemble with the frozen base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from edge_moe.checkpoint import TrainingConfig
from edge_moe.ledger import Kept
from edge_moe.nn import Base, Gate, ensemble_log_probabilities
from edge_moe.progress import Progress
from edge_moe.training.fit import check_finite, fit
from edge_moe.training.images import Images, batches, seed_everything

__all__ = ["draw_weights", "train_expert"]

_STAGE = 3
_BATCH = 256
_MEMORY_BYTES = 1 << 30  # of what the base makes of all images, kept where they are not augmented


def draw_weights(gate_probabilities: Tensor, index: int, epsilon: float) -> Tensor:
    """[N, K] gate -> [N] weights of D_k for expert `index`: (1 - epsilon) * g_k + epsilon / K."""
    experts = gate_probabilities.shape[1]
    return (1 - epsilon) * gate_probabilities[:, index] + epsilon / experts


class _Kept(NamedTuple):
    """What the frozen base makes of all N images."""

    logits: Tensor  # [N, Y]
    features: Tensor  # [N, C, H, W], or tokens or vectors
    labels: Tensor  # [N]

    def drawn(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the rows that `order` names, a batch at a time."""
        for rows in order.split(batch_size):  # type: ignore[no-untyped-call]
            yield self.logits[rows], self.features[rows], self.labels[rows]


@torch.no_grad()
def _kept(base: Base, images: Images, config: TrainingConfig, device: torch.device, workers: int) -> _Kept | None:
    """Run the base once for all epochs; None where it sees every image otherwise each time, or memory is too small."""
    if config.augment != "none":
        return None
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for x, y in batches(images, _BATCH, device, workers=workers):
        answer = base(x)
        found.append((answer.logits, answer.features, y))
        if answer.features[0].nbytes * len(images) > _MEMORY_BYTES:
            return None
    logits, features, labels = (torch.cat(column) for column in zip(*found, strict=True))
    if features.ndim == 4:
        features = features.contiguous(memory_format=torch.channels_last)
    return _Kept(logits, features, labels)


def train_expert(
    base: Base,
    gate: Gate,
    index: int,
    images: Images,
    embeddings: Tensor,
    config: TrainingConfig,
    *,
    progress: Progress,
    workers: int = 0,
    state: Kept | None = None,
) -> nn.Module:
    """Return expert `index`, trained from the base's tail weights; base and gate are frozen and not changed.

    `embeddings`: [N, E] of the training images, not augmented, from which the gate decides what the expert sees.
    The loss is the negative log-likelihood of d_k, the ensemble of the base and this expert.
    """
    epochs, learning_rate, epsilon = config.expert_epochs, config.expert_learning_rate, config.epsilon
    assert epochs is not None and learning_rate is not None and epsilon is not None, "experts that learn have all three"
    device = next(base.parameters()).device
    expert = base.new_expert().requires_grad_(True).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # BatchNorm keeps the base's statistics: those of images of one kind would take away what tells that kind apart.
    for module in expert.modules():
        if isinstance(module, _BatchNorm):  # of maps, of tokens or of vectors
            module.eval()
    kept = _kept(base, images, config, device, workers)
    weights = draw_weights(gate(embeddings).softmax(-1), index, epsilon)
    count = max(1, round(weights.sum().item()))

    def answered(order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        indices = order.tolist()
        for x, y in batches(
            images, config.batch_size, device, augment=config.augment, indices=indices, workers=workers
        ):
            with torch.no_grad():
                frozen = base(x)
            yield frozen.logits, frozen.features, y

    def losses(epoch: int) -> Iterator[Tensor]:
        seed_everything(config.seed, _STAGE, index, epoch)
        # multinomial takes at most 2^24 weights, drawn in double precision.
        order = torch.multinomial(weights.double(), count, replacement=True)
        for logits, features, y in answered(order) if kept is None else kept.drawn(order, config.batch_size):
            answer = ensemble_log_probabilities(logits, expert(features), config.ensemble, config.space)
            yield functional.nll_loss(answer, y)

    fit(
        expert,
        losses,
        name=f"expert {index}",
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=config.weight_decay,
        progress=progress,
        state=state,
    )
    check_finite(expert, f"expert {index}")
    trained: nn.Module = expert.requires_grad_(False).eval()
    return trained
