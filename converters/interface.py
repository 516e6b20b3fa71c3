"""What an artifact takes and gives, whatever the backend: float32, maps with channels last, outputs by name.

Maps are of rank 4. Tokens [1, T, C] and vectors [1, C] at the branch point pass as they are: their channels are last.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "Floats",
    "Kind",
    "channels_first",
    "channels_last",
    "kind_of",
    "role_of",
    "tensor_shapes",
    "with_channels_last",
]

Floats: TypeAlias = npt.NDArray[np.float32]
Kind: TypeAlias = Literal["base", "gate", "expert", "plain"]  # plain: a base that is alone, K = 0

INPUTS: dict[Kind, str] = {"base": "image", "gate": "embedding", "expert": "features", "plain": "image"}
# Of a plain network nothing reads features and embedding. Without them the artifact is what its backend makes of the
# network by itself, with nothing kept in memory or in float for others, and so what a mixture is to be compared with.
OUTPUTS: dict[Kind, tuple[str, ...]] = {
    "plain": ("logits",),
    "base": ("logits", "features", "embedding"),
    "gate": ("logits",),
    "expert": ("logits",),
}


def channels_last(x: Tensor) -> Tensor:
    """[N, C, H, W] as [N, H, W, C]; of another rank as it is."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_second(x: Tensor) -> Tensor:
    """[N, H, W, C] as [N, C, H, W]; of another rank as it is."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


# torch.fx, which folds BatchNorm, does not look into them: it knows no ranks.
torch.fx.wrap("channels_last")
torch.fx.wrap("_channels_second")


class _Wrapped(nn.Module):
    """The part is a submodule called `part`, so the name of a layer of the part is its name here without "part."."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part


class _Base(_Wrapped):
    """[1, H, W, 3] -> logits [1, Y], features [1, H, W, C] or [1, T, C] or [1, C], embedding [1, E]."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs = self.part(image.permute(0, 3, 1, 2))
        return {
            "logits": outputs.logits,
            "features": channels_last(outputs.features),
            "embedding": outputs.embedding,
        }


class _Plain(_Wrapped):
    """[1, H, W, 3] -> logits [1, Y]."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(image.permute(0, 3, 1, 2)).logits}


class _Expert(_Wrapped):
    """[1, H, W, C], [1, T, C] or [1, C] -> logits [1, Y]."""

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(_channels_second(features))}


class _Gate(_Wrapped):
    """[1, E] -> logits [1, K]."""

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(embedding)}


_WRAPPERS: dict[Kind, type[_Wrapped]] = {"base": _Base, "gate": _Gate, "expert": _Expert, "plain": _Plain}


def kind_of(part: str, *, plain: bool = False) -> Kind:
    """Return which kind the part called `part` is: base, gate, or expert for expert_00 and so on; or plain."""
    return "plain" if plain else role_of(part)


def role_of(part: str) -> Literal["base", "gate", "expert"]:
    """Return which role the part called `part` has in a bundle, whose base is one also where it is alone."""
    return "expert" if part.startswith("expert_") else part  # type: ignore[return-value]


def with_channels_last(part: nn.Module, kind: Kind) -> nn.Module:
    """Wrap a part so that maps come in and go out with channels last, as a dict of named outputs."""
    return _WRAPPERS[kind](part).eval()


def tensor_shapes(
    part: nn.Module, kind: Kind, example: Floats
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes of the inputs and of the outputs of the artifact of `part`, by name."""
    with torch.no_grad():
        outputs = with_channels_last(part, kind)(torch.from_numpy(example))
    return {INPUTS[kind]: example.shape}, {name: tuple(value.shape) for name, value in outputs.items()}


def channels_first(x: Floats) -> Tensor:
    """[N, H, W, C] as [N, C, H, W] in torch's channels-last format, without a copy; of another rank as it is."""
    return _channels_second(torch.from_numpy(np.require(x, requirements=("C", "W"))))
