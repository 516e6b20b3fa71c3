"""A copy of a MobileNetV3-Small checkpoint with layers made bad on purpose: the same in float, ruined in int8.

    python -m edge_moe.benchmarks.studies.bad_layer checkpoint -o bad

One channel of the last stage's residual stream is made ten thousand times larger by those who write it, and read with
weights that are as much smaller. 256 levels then resolve that channel, and none of the others. Nothing but sums and
convolutions sees the stream, so that the factor cancels out exactly where it is read: in the layers READERS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from edge_moe.errors import EdgeMoeError, UsageError
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

__all__ = ["READERS", "main", "ruin"]

READERS = ("features.10.block.0.0", "features.11.block.0.0", "features.12.0")
_WRITERS = ("features.9.block.3.1", "features.10.block.3.1", "features.11.block.3.1")  # BatchNorm, no activation
_FACTOR = 1e4
_CHANNEL = 0


def ruin(checkpoint: Checkpoint) -> None:
    """Make the layers READERS bad, in the base and in every expert.

    Raises:
        UsageError: the base is not MobileNetV3-Small, which alone has these layers.
    """
    if checkpoint.config.architecture.base != "mobilenet_v3_small":
        raise UsageError(f"the base is {checkpoint.config.architecture.base}; expected mobilenet_v3_small")
    with torch.no_grad():
        for part in (checkpoint.mixture.base, *checkpoint.mixture.experts):
            for name in _WRITERS:
                norm = part.get_submodule(name)
                assert isinstance(norm, nn.BatchNorm2d)
                norm.weight[_CHANNEL] *= _FACTOR
                norm.bias[_CHANNEL] *= _FACTOR
            for name in READERS:
                convolution = part.get_submodule(name)
                assert isinstance(convolution, nn.Conv2d)
                convolution.weight[:, _CHANNEL] /= _FACTOR


def main() -> None:
    """Read the arguments and write the checkpoint."""
    parser = argparse.ArgumentParser(description="Make layers bad on purpose.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        checkpoint = load_checkpoint(arguments.checkpoint)
        ruin(checkpoint)
        save_checkpoint(arguments.output, checkpoint)
    except EdgeMoeError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    print(arguments.output)


if __name__ == "__main__":
    main()
