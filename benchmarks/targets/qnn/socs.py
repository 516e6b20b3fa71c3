"""The chips that can be compiled for, and of which of them QNN has an estimate.

The numbers are QNN's own (`soc_model`), as Qualcomm's backend of ExecuTorch lists them too; that onnxruntime-qnn 2.7.0
takes each, for the architecture that stands here, and whether it then gives an estimate, was tried one by one.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SOCS", "Soc"]


class Soc(NamedTuple):
    """One chip."""

    words: str
    model: int  # what QNN calls soc_model
    htp: int  # the architecture of its NPU: 73 is v73
    estimated: bool  # whether QNN says at the end of a compilation what an inference will take

    @property
    def about(self) -> str:
        """What it is, and what can be had for it."""
        what = "QNN's estimate in ms, context binaries" if self.estimated else f"context binaries; latency: {NEEDED}"
        return f"{self.words}, HTP v{self.htp}: {what}"


NEEDED = "n/a, needs the device"
SOCS = {
    "QCS9100": Soc("Dragonwing IQ9, boards", 77, 73, estimated=True),
    "SA8255": Soc("cars", 52, 73, estimated=True),
    "SA8797": Soc("cars", 72, 81, estimated=True),
    "SAR2230P": Soc("glasses", 95, 81, estimated=True),
    "SM8350": Soc("phones, Snapdragon 888", 30, 68, estimated=False),
    "SM8450": Soc("phones, Snapdragon 8 Gen 1", 36, 69, estimated=False),
    "SM8475": Soc("phones, Snapdragon 8+ Gen 1", 42, 69, estimated=False),
    "SM8550": Soc("phones, Snapdragon 8 Gen 2", 43, 73, estimated=False),
    "SM8650": Soc("phones, Snapdragon 8 Gen 3", 57, 75, estimated=False),
    "SM8750": Soc("phones, Snapdragon 8 Elite", 69, 79, estimated=False),
    "SM8845": Soc("phones, Snapdragon 8 Gen 5", 97, 81, estimated=False),
    "SM8850": Soc("phones, Snapdragon 8 Elite Gen 5", 87, 81, estimated=False),
}
