"""parity.json: how closely the artifacts of a bundle follow their references. Versioned and strict.

One record each for what the four steps of a conversion found; `parity_page.py` makes a page of it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from edge_moe.converters.kernels import KernelNoise
from edge_moe.converters.layers import LayerNoise
from edge_moe.converters.toolchain import Structure
from edge_moe.sets import SetKey

__all__ = [
    "FILE",
    "Accuracies",
    "Accuracy",
    "Agreement",
    "Bars",
    "Flips",
    "Machine",
    "Missed",
    "PartParity",
    "Ranked",
    "Report",
    "Routing",
    "Spread",
]

FILE = "parity.json"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Agreement(_Strict, frozen=True):
    """One output against its reference, over the validation images."""

    top1: float  # share of images with the same largest entry
    cosine: float  # mean cosine between the rows
    sqnr_db: float  # 10 log10(|reference|^2 / |difference|^2), over all rows


class PartParity(_Strict, frozen=True):
    """One part made by one recipe."""

    part: str
    bytes: int
    structure: Structure | None  # None: the backend has no delegate
    images: int  # over which it was compared
    against_fp32: Agreement
    torch_error: float | None  # of the fp32 artifact: relative L2 error against torch


class Routing(_Strict, frozen=True):
    """How often a set answers and routes as its reference, at one setting; shares of the images."""

    tau: float
    max_experts: int
    same_answer: float
    same_routing: float


class Missed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bar that was not reached."""

    part: str | None  # None: the whole, as routed
    problem: str
    agreement: bool  # whether other ranges or more layers in float could help
    # How many times as many images as the bar allows are answered, or routed, otherwise; at most 1,000.
    times: float = 1.0
    split: bool = False  # whether it is that a delegate does not take the part in one piece


class Accuracy(_Strict, frozen=True):
    """Accuracy on the validation images, with its 95% interval."""

    what: str
    accuracy: float
    low: float
    high: float


class Accuracies(_Strict, frozen=True):
    """Base and mixture (tau = 0, one expert) of every set, and the differences that matter."""

    images: int
    rows: list[Accuracy]
    differences: dict[str, tuple[float, float, float]]  # "a minus b" -> difference, low, high of the paired interval
    groups: int | None = None  # of images that belong together, which intervals are over; None: each for itself


class Spread(_Strict, frozen=True):
    """The default sets of the backends at one setting."""

    tau: float
    max_experts: int
    accuracy: dict[str, float | None]  # by set
    points_apart: float


class Flips(_Strict, frozen=True):
    """How often a set for an NPU answers otherwise than one for a processor, each at its own default tau."""

    set: str
    other: str
    share: float  # of the images
    images: int

    limit: ClassVar[float] = 0.03  # up to here it is what rounding does

    @property
    def words(self) -> str:
        """It in a sentence."""
        text = f"{self.set} answers {self.share:.2%} of {self.images} images otherwise than {self.other}"
        return text if self.share <= self.limit else f"{text}: more than the {self.limit:.0%} that rounding does"


class Bars(_Strict, frozen=True):
    """What a set has to reach before it is shipped."""

    min_agreement: float  # share of images that a part, or the whole, answers as its reference
    min_routing: float  # share of images that exit, or wake the same experts, as in the reference
    max_float_error: float  # relative L2 error of an fp32 artifact against torch


class Ranked(_Strict, frozen=True):
    """Why a set is the default of its backend, for which nobody named a recipe."""

    row: str  # of the committed table
    where: str  # the costs were measured, for a person
    unit: str  # of the costs
    # Set -> p10, median and p90 of what an image costs, the best first; none: there was nothing to compare.
    costs: dict[str, tuple[float, float, float]]
    shares: dict[str, float]  # part -> how often it runs for an image, one expert for all; the same for every set
    why: str  # in a sentence


class Machine(_Strict, frozen=True):
    """Whose kernels computed what was compared."""

    system: str
    processor: str


class Report(_Strict, frozen=True, kw_only=True):
    """parity.json. Sets are called backend/recipe, parts of them backend/recipe/part."""

    schema_version: Literal[1] = 1
    checkpoint: str
    trained: bool
    data: str
    images: int  # measured on
    calibration_images: int
    fingerprints: str = ""  # of the images that it was measured on, by which recipes were chosen; empty: not known
    machine: Machine
    tools: dict[str, str]  # package -> version
    bars: Bars
    sets: dict[str, list[PartParity]]
    routed: dict[str, list[Routing]]  # at tau 0, in between, and at the set's default tau
    default_taus: dict[str, float]
    at_default: tuple[str, ...] = ()  # of every shipped set, in a sentence: what its default tau does, and experts gain
    flips: tuple[Flips, ...] = ()  # of the shipped sets that are for an NPU
    accuracy: Accuracies | None  # None: no labels, or nothing was learned
    missed_bars: dict[str, list[Missed]]
    shipped: list[str]  # the default first
    left_out: dict[str, str]  # backend, or set that was asked for -> why the bundle has to do without it
    unmade: dict[str, str]  # set -> why it cannot be made
    ranked: dict[str, Ranked]  # backend -> how its default was found, where no recipe was asked for
    made_anew: list[str]  # what was there and is not taken over, in words
    operating_points: list[Spread]
    layers: dict[str, list[LayerNoise]]  # the noisiest first
    kernels: dict[str, KernelNoise | None]
    seconds: dict[str, float]  # that converting took, by part

    def compared(self, backend: str) -> list[tuple[str, str, str, int]]:
        """Return the candidates of `backend`, those with a cost first: name, median and spread in text, bars missed."""
        costs = self.ranked[backend].costs
        judged = [name for name in self.missed_bars if SetKey.parse(name).backend == backend and name not in costs]
        names = [*costs, *(name for name in judged if not SetKey.parse(name).is_float)]
        texts = {name: (f"{median:.4g}", f"{p10:.4g} to {p90:.4g}") for name, (p10, median, p90) in costs.items()}
        return [(name, *texts.get(name, ("", "")), len(self.missed_bars[name])) for name in names]
