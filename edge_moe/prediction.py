"""The answer for one image.

Axis letters: Y classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from edge_moe.anytime import Floats, softmax
from edge_moe.text import counted, printable

__all__ = ["Prediction", "Scores"]

# [Y], or what they are computed from when somebody asks: a factor, and the logits whose sum goes through the softmax.
Scores: TypeAlias = Floats | tuple[float, tuple[Floats, ...]]


@dataclass(slots=True, eq=False, repr=False)  # not frozen: making a frozen one takes a device some microseconds longer
class Prediction:
    """The answer for one image, and what it took."""

    label: str
    index: int  # of the label
    probability: float  # of the label
    experts: tuple[int, ...]  # that ran, in ascending order
    gate_ran: bool
    macs: int  # of the parts that ran
    # From the input tensor to the answer: without decoding an image, with loading an expert that is new.
    milliseconds: float
    _scores: Scores
    _available: int = 0  # K

    def __str__(self) -> str:
        """Return "cat 93.1% (expert 2, 1 of 4; 8.35 M MACs)"."""
        if not self._available:
            by = ""
        elif self.exited:
            by = f"base alone, of {counted(self._available)}; "
        else:
            who = f"expert{'s' if len(self.experts) > 1 else ''} {', '.join(map(str, self.experts))}"
            by = f"{who}, {len(self.experts)} of {self._available}; "
        return f"{printable(self.label)} {self.probability:.1%} ({by}{self.macs / 1e6:.2f} M MACs)"

    def __repr__(self) -> str:
        """Return what `str` does, with the type."""
        return f"<Prediction: {self}>"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as json takes it: numbers, text, lists; `probabilities` [Y]."""
        return {
            "label": self.label,
            "index": int(self.index),
            "probability": float(self.probability),
            "probabilities": [float(one) for one in self.probabilities],
            "exited": self.exited,
            "experts": [int(k) for k in self.experts],
            "gate_ran": bool(self.gate_ran),
            "macs": int(self.macs),
            "milliseconds": float(self.milliseconds),
        }

    @property
    def exited(self) -> bool:
        """Whether the base's answer was taken."""
        return not self.experts

    @property
    def scores(self) -> Floats:
        """The paper's sum of g_k * d_k, not normalised; phi on exit: [Y]."""
        if isinstance(self._scores, tuple):
            weight, terms = self._scores
            self._scores = weight * softmax(terms[0] if len(terms) == 1 else terms[0] + terms[1])
        return self._scores

    @property
    def probabilities(self) -> Floats:
        """The scores divided by their sum: [Y]."""
        result: Floats = self.scores / self.scores.sum()
        return result
