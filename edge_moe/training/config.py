"""Every choice of a training, those that the paper leaves open among them. Written into the checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge_moe.anytime import Ensemble, Space

__all__ = ["Augment", "Finetune", "Normalization", "TrainingConfig"]

Augment = Literal["none", "crop", "crop-flip", "resized-crop-flip"]
Finetune = Literal["all", "head", "none"]
Normalization = Literal["none", "l2", "standardize"]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Rate = Annotated[float, msgspec.Meta(gt=0)]


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How base, gate and experts were trained.

    Optimiser: SGD with Nesterov momentum of 0.9, no weight decay on biases and BatchNorm; the learning rate rises over
    the first tenth of the epochs and falls to 0 by a cosine. (AdamW at 2e-3 learned more slowly here, and left longer
    tails in the activations, which int8 with fixed ranges pays for.)
    """

    data: str
    seed: int = 0
    batch_size: _Positive = 64
    augment: Augment = "crop-flip"
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 5e-4
    # base
    base_weights: str | None = None
    finetune: Finetune = "all"  # what of the base learns: everything, its last linear layer, nothing
    epochs: _Positive = 30
    learning_rate: _Rate = 0.1
    # gate: k-means on the embeddings of the training images, not augmented; KL(g* || g) with one-hot g*
    normalization: Normalization = "standardize"  # of the embeddings, for k-means
    kmeans_restarts: _Positive = 10
    gate_epochs: _Positive = 30
    gate_learning_rate: _Rate = 0.01
    # experts: BatchNorm keeps the base's statistics; D_k is drawn anew each epoch, with replacement, by
    # (1 - epsilon) * g_k + epsilon / K; an epoch has as many samples as these weights sum to
    epsilon: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    expert_epochs: _Positive = 8
    expert_learning_rate: _Rate = 0.002
    ensemble: Ensemble = "bagging"
    space: Space = "logit"
