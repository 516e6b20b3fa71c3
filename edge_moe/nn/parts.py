"""The parts of a single-gated Mixture of Experts as torch modules: where a network splits, and what an expert is.

Axis letters: B batch, C channels, H W height and width, E embedding, K experts, Y classes.

A network becomes a base in one of two ways, both worked through in docs/your-own-network.md:

- `SplitBase` takes a network that runs one module after another, as most classifiers do, and the names of three
  things: the modules that lead to the branch point (`stem`), those that follow it (`tail`), and its classifier
  (`head`). Between tail and head stands global average pooling. Tensors keep the names that they have in the network,
  so that a torchvision state dict fits as it is.
- Any other network derives from `Base` and says itself what it gives (`forward`) and what an expert is (`new_expert`).
  One that will stay a plain network, K = 0, gives its logits and needs no branch point.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_moe.errors import UsageError
from edge_moe.sizes import Size, height_width

__all__ = ["Base", "BaseOutputs", "Expert", "Gate", "SplitBase"]


_NONE = torch.empty(0)


class BaseOutputs(NamedTuple):
    """What the base gives for a batch. Logits alone: it has no branch point, and can only be a plain network."""

    logits: Tensor  # [B, Y]
    features: Tensor = _NONE  # at the branch point: a map [B, C, H, W], tokens [B, T, C], or a vector [B, C]
    embedding: Tensor = _NONE  # [B, E], pooled, before the classifier

    @property
    def branches(self) -> bool:
        """Whether there is a branch point: what experts and a gate read."""
        return self.features is not _NONE or self.embedding is not _NONE


class Base(nn.Module, ABC):
    """The full network, split at the branch point: [B, 3, H, W] images -> BaseOutputs.

    A network of one's own derives from this class and implements `forward` and, if it is to have experts,
    `new_expert`. It takes images of one size, and has no control flow that depends on the values of a tensor, because
    every backend traces it once.
    """

    # The submodule that classifies, by its dotted name: its last linear layer is what `--finetune head` trains.
    head_name: str = ""  # the whole network

    @abstractmethod
    def forward(self, images: Tensor) -> BaseOutputs:
        """[B, 3, H, W] images -> logits [B, Y], features [B, C, H, W], [B, T, C] or [B, C], embedding [B, E]."""

    def new_expert(self) -> nn.Module:
        """Return an expert that starts from this base's own tail weights (a copy).

        It takes the features and gives [B, Y] logits: at the start the base's own.

        Raises:
            UsageError: this base cannot have experts.
        """
        raise self._no_branch_point("new_expert")

    def new_gate(self, experts: int, image_size: Size) -> Gate:
        """Return a fresh gate for `experts` experts on this base's embedding.

        Raises:
            UsageError: this base gives no embedding.
        """
        shapes = self.shapes(image_size)
        if not shapes.branches:
            raise self._no_branch_point("features and embedding in its BaseOutputs")
        return Gate(shapes.embedding.shape[1], experts)

    def _no_branch_point(self, missing: str) -> UsageError:
        return UsageError(
            f"{type(self).__name__} has no {missing}, which experts need; add that, or make a plain network of it: "
            "--experts 0"
        )

    @torch.no_grad()
    def shapes(self, image_size: Size) -> BaseOutputs:
        """Return the outputs for one meta image [1, 3, H, W], H = W = `image_size` or both: shapes, no arithmetic."""
        twin = copy.deepcopy(self).to("meta").eval()
        outputs: BaseOutputs = twin(torch.empty(1, 3, *height_width(image_size), device="meta"))
        return outputs


class _Grafted(nn.Module):
    """Holds some submodules of a network under the names that they have there, so its own names must not be likely."""

    def _graft(self, network: nn.Module, names: Sequence[str]) -> None:
        for name in names:
            parent: nn.Module = self
            *path, leaf = name.split(".")
            for step in path:
                if not hasattr(parent, step):
                    parent.add_module(step, nn.Module())
                parent = parent.get_submodule(step)
            try:
                parent.add_module(leaf, network.get_submodule(name))
            except AttributeError:
                known = ", ".join(child for child, _ in network.named_children())
                raise UsageError(
                    f"{type(network).__name__} has no module {name!r}; expected names such as those of its own: {known}"
                ) from None

    def _run(self, names: Sequence[str], x: Tensor) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def _pool_and_classify(self, x: Tensor, head: str) -> tuple[Tensor, Tensor]:
        """[B, E, H, W] -> logits [B, Y] and embedding [B, E]."""
        # Not x.mean((2, 3)): converters that put channels last keep a transpose in front of that.
        embedding = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.get_submodule(head)(embedding)
        return logits, embedding


class Expert(_Grafted):
    """A copy of a base's tail and head: [B, C, H, W] features -> [B, Y] logits."""

    def __init__(self, network: nn.Module, tail: Sequence[str], head: str) -> None:
        """Take `tail` (run in order) and `head` out of `network`; names are dotted, as in its state dict."""
        super().__init__()
        self.tail_names, self.head_name = tuple(tail), head
        self._graft(network, [*tail, head])

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] features -> [B, Y] logits."""
        return self._pool_and_classify(self._run(self.tail_names, features), self.head_name)[0]


class Whole:
    """The network that a base was split from, until the two are compared (check.py); a copy of the base has none."""

    def __init__(self, network: nn.Module | None = None) -> None:
        self.network = network

    def __deepcopy__(self, memo: dict[int, object]) -> Whole:
        return Whole()

    def __reduce__(self) -> tuple[type[Whole], tuple[()]]:
        return Whole, ()


class SplitBase(_Grafted, Base):
    """A network of modules that run one after another, split by their names.

    What the network does between them, or after its head, is not there: `build_base` compares the two and refuses
    a split that gives other logits.
    """

    def __init__(self, network: nn.Module, stem: Sequence[str], tail: Sequence[str], head: str) -> None:
        """Split `network`; `stem`, `tail` and `head` are dotted names of its modules, run in that order.

        Raises:
            UsageError: `network` has no module of such a name.
        """
        super().__init__()
        self.whole = Whole(network)
        self.stem_names, self.tail_names, self.head_name = tuple(stem), tuple(tail), head
        self._graft(network, [*stem, *tail, head])

    def forward(self, images: Tensor) -> BaseOutputs:
        """[B, 3, H, W] images -> logits [B, Y], features [B, C, H, W], embedding [B, E]."""
        features = self._run(self.stem_names, images)
        logits, embedding = self._pool_and_classify(self._run(self.tail_names, features), self.head_name)
        return BaseOutputs(logits, features, embedding)

    def new_expert(self) -> Expert:
        """Return an expert that starts from this base's own tail weights (a copy)."""
        return copy.deepcopy(Expert(self, self.tail_names, self.head_name))


class Gate(nn.Linear):
    """K-way linear gate on the embedding: [B, E] -> [B, K] logits. The softmax is the caller's."""

    def __init__(self, embedding: int, experts: int) -> None:
        """`embedding`: E; `experts`: K."""
        super().__init__(embedding, experts)
