"""What an artifact takes and gives, whatever the backend: float32, maps with channels last, outputs by name."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["INPUTS", "OUTPUTS", "Floats", "Kind", "channels_first", "kind_of", "tensor_shapes", "with_channels_last"]

Floats: TypeAlias = npt.NDArray[np.float32]
Kind: TypeAlias = Literal["base", "gate", "expert"]

INPUTS: dict[Kind, str] = {"base": "image", "gate": "embedding", "expert": "features"}
OUTPUTS: dict[Kind, tuple[str, ...]] = {
    "base": ("logits", "features", "embedding"),
    "gate": ("logits",),
    "expert": ("logits",),
}


class _Wrapped(nn.Module):
    """The part is a submodule called `part`, so the name of a layer of the part is its name here without "part."."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part


class _Base(_Wrapped):
    """[1, H, W, 3] -> logits [1, Y], features [1, H, W, C], embedding [1, E]."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs = self.part(image.permute(0, 3, 1, 2))
        return {
            "logits": outputs.logits,
            "features": outputs.features.permute(0, 2, 3, 1),
            "embedding": outputs.embedding,
        }


class _Expert(_Wrapped):
    """[1, H, W, C] -> logits [1, Y]."""

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(features.permute(0, 3, 1, 2))}


class _Gate(_Wrapped):
    """[1, E] -> logits [1, K]."""

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        return {"logits": self.part(embedding)}


_WRAPPERS: dict[Kind, type[_Wrapped]] = {"base": _Base, "gate": _Gate, "expert": _Expert}


def kind_of(part: str) -> Kind:
    """Return which kind the part called `part` is: base, gate, or expert for expert_00, expert_01, ..."""
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
    """[N, H, W, C] as [N, C, H, W] in torch's channels-last format, without a copy; [N, E] as it is."""
    tensor = torch.from_numpy(np.require(x, requirements=("C", "W")))
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
