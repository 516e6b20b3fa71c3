"""The answer for one image.

Axis letters: Y classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from edge_moe.anytime import Floats, softmax

__all__ = ["Prediction", "Scores"]

# [Y], or what they are computed from when somebody asks: a factor, and the logits whose sum goes through the softmax.
Scores: TypeAlias = Floats | tuple[float, tuple[Floats, ...]]


@dataclass(slots=True, eq=False)  # not frozen: making a frozen one takes a device some microseconds longer
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
