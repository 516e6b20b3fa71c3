"""Step 2: cluster the frozen base's embeddings with k-means, and train the gate towards the nearest centroid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from edge_moe.checkpoint import Normalization, TrainingConfig
from edge_moe.errors import MissingExtraError, UsageError
from edge_moe.nn import Base, Gate
from edge_moe.progress import Progress, track
from edge_moe.training.fit import fit
from edge_moe.training.images import Images, batches, seed_everything

__all__ = ["Clusters", "cluster", "embed", "train_gate"]

_STAGE = 2
_BATCH = 256
_LEAST_SCALE = 0.1
_Floats = npt.NDArray[np.float32]


class Clusters(NamedTuple):
    """What k-means found, in the space of normalised embeddings."""

    centroids: _Floats  # [K, E]
    mean: _Floats  # [E], subtracted from an embedding before it is compared
    scale: _Floats  # [E], then divided by
    normalization: Normalization

    def normalize(self, embeddings: _Floats) -> _Floats:
        """[N, E] embeddings -> [N, E] in the space of the centroids."""
        points: _Floats
        if self.normalization == "l2":
            points = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        else:
            points = (embeddings - self.mean) / self.scale
        return points

    def nearest(self, embeddings: _Floats) -> npt.NDArray[np.int64]:
        """[N, E] embeddings -> [N] index of the nearest centroid: the target gate g*."""
        points = self.normalize(embeddings)
        distances = (self.centroids**2).sum(axis=1) - 2 * points @ self.centroids.T  # + |x|^2, the same for all
        index: npt.NDArray[np.int64] = distances.argmin(axis=1)
        return index


@torch.no_grad()
def embed(base: Base, images: Images, progress: Progress, *, workers: int = 0) -> _Floats:
    """Return the embeddings of all images, not augmented: [N, E]."""
    device = next(base.parameters()).device
    found = []
    total = -(-len(images) // _BATCH)
    for x, _ in track(batches(images, _BATCH, device, workers=workers), "embeddings", total, progress):
        found.append(base(x).embedding.cpu().numpy())
    return np.concatenate(found)


def cluster(embeddings: _Floats, experts: int, config: TrainingConfig) -> Clusters:
    """k-means with K = `experts` on [N, E] embeddings.

    Raises:
        UsageError: more experts than images, or than different embeddings; or embeddings that are not finite.
    """
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
    except ModuleNotFoundError:
        raise MissingExtraError("scikit-learn", "train", "k-means") from None
    if experts > len(embeddings):
        raise UsageError(f"{experts} experts need at least as many training images; found {len(embeddings)}")
    if not np.isfinite(embeddings).all():
        raise UsageError("the base's embeddings are not finite: its training diverged; lower the learning rate")
    assert config.normalization is not None and config.kmeans_restarts is not None, "a gate that learns has both"
    standardize = config.normalization == "standardize"
    mean = embeddings.mean(axis=0) if standardize else np.zeros_like(embeddings[0])
    scale = _scale(embeddings) if standardize else np.ones_like(embeddings[0])
    clusters = Clusters(np.empty((0, 0), np.float32), mean, scale, config.normalization)
    with warnings.catch_warnings():
        # Raised as an error below, in words that name the experts.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans = KMeans(experts, n_init=config.kmeans_restarts, random_state=config.seed)
        assigned = kmeans.fit_predict(clusters.normalize(embeddings))
    if len(np.unique(assigned)) < experts:
        raise UsageError(
            f"{experts} experts need as many clusters, but the images have only {len(np.unique(assigned))} different "
            "embeddings; use fewer experts"
        )
    return clusters._replace(centroids=kmeans.cluster_centers_.astype(np.float32))


def train_gate(embeddings: _Floats, clusters: Clusters, config: TrainingConfig, progress: Progress) -> Gate:
    """Return a gate trained on [N, E] embeddings by KL(g* || g), g* being one-hot on the nearest centroid.

    With a one-hot target this direction of the divergence is the cross-entropy; the other is infinite. The gate
    learns on standardised embeddings and takes raw ones: the standardisation is folded into its weights.
    """
    epochs, learning_rate = config.gate_epochs, config.gate_learning_rate
    assert epochs is not None and learning_rate is not None, "a gate that learns has both"
    seed_everything(config.seed, _STAGE)
    points = torch.from_numpy(embeddings)
    target = torch.from_numpy(clusters.nearest(embeddings))
    mean, scale = points.mean(dim=0), torch.from_numpy(_scale(embeddings))
    points = (points - mean) / scale
    gate = Gate(embeddings.shape[1], len(clusters.centroids))

    def losses(epoch: int) -> Iterator[Tensor]:
        seed_everything(config.seed, _STAGE, epoch)
        for chosen in torch.randperm(len(points)).split(_BATCH):  # type: ignore[no-untyped-call]
            yield functional.cross_entropy(gate(points[chosen]), target[chosen])

    fit(
        gate,
        losses,
        name="gate",
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=config.weight_decay,
        progress=progress,
    )
    with torch.no_grad():
        gate.bias.sub_((gate.weight / scale) @ mean)
        gate.weight.div_(scale)
    return gate.requires_grad_(False).eval()


def _scale(embeddings: _Floats) -> _Floats:
    """[N, E] -> [E] what to divide by: the standard deviation, but no less than a tenth of the mean over channels.

    A channel that hardly moves would be blown up to noise, and the gate's weights for it would swamp all others.
    """
    deviation = embeddings.std(axis=0)
    floor = _LEAST_SCALE * deviation.mean()
    scale: _Floats = np.maximum(deviation, floor if floor > 0 else 1.0).astype(np.float32)
    return scale
