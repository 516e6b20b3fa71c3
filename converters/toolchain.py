"""How parts become artifacts of one backend: one file a backend behind this interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import nn

from edge_moe import backends
from edge_moe.converters.interface import Floats, Kind
from edge_moe.converters.origin import Origin
from edge_moe.converters.recipe import Recipe

__all__ = ["COMPARED", "LayerTensors", "Structure", "Toolchain", "get"]


COMPARED = 16  # samples are enough to rank layers by


class Structure(NamedTuple):
    """How an artifact is split between the backend's delegate and what is left to slower kernels."""

    delegates: int  # partitions; each costs a hand-over, and often a conversion, at its edges
    outside: int  # nodes that no partition took
    left: tuple[str, ...] = ()  # what these are, for a person: "PADV2 of maxpool", in the order of execution

    @property
    def is_whole(self) -> bool:
        """Whether the delegate runs everything, in one piece."""
        return (self.delegates, self.outside) == (1, 0)


class LayerTensors(NamedTuple):
    """What goes into a layer and what comes out for one sample, by the float artifact and by the quantized one."""

    layer: str  # dotted name of the torch module in its part
    inputs: tuple[Floats, Floats]  # (float, quantized)
    outputs: tuple[Floats, Floats]


class Toolchain(ABC):
    """Exports and quantizes parts for one backend. Runs in processes of its own, see workers.py."""

    backend: str
    packages: tuple[str, ...]  # that decide what comes out, as pip names them

    @abstractmethod
    def trace(self, part: nn.Module, kind: Kind, example: Floats) -> bytes:
        """Export the graph of `part` once; `build` puts the weights of any part of the same architecture into it.

        Args:
            part: its weights do not matter.
            kind: of the part.
            example: one input, channels last.

        Raises:
            ConversionError: the toolchain does not take the part; names the module that is to blame, where known.
        """

    @abstractmethod
    def build(
        self,
        traced: bytes,
        part: nn.Module,
        kind: Kind,
        samples: Floats,
        recipes: Sequence[Recipe],
        origins: Sequence[Origin] = (),
    ) -> Iterator[bytes]:
        """Give the artifact of `part` by each of `recipes`, in that order.

        Args:
            traced: what `trace` gave for a part of the same architecture.
            part: with its weights.
            kind: of the part.
            samples: [N, 1, ...] inputs to calibrate on, channels last.
            recipes: of this backend.
            origins: what each artifact is to say of itself, in the same order; none: nothing.

        Raises:
            ConversionError: the quantizer does not take the part, or a layer to keep in float does not exist.
        """

    @abstractmethod
    def structure(self, artifact: bytes, part: nn.Module | None = None) -> Structure | None:
        """Return how `artifact` is split; None where the backend has no delegate that could.

        `part` is what it was made of, to name the modules of what no partition took; None: as far as that can be told.
        """

    @abstractmethod
    def compare(
        self, traced: bytes, part: nn.Module, kind: Kind, samples: Floats, recipe: Recipe
    ) -> Iterator[LayerTensors]:
        """Run the first samples through the float and the quantized part, side by side, layer by layer.

        `samples` are calibrated on, as in `build`; COMPARED of them are run.
        """

    @abstractmethod
    def emulate(
        self, artifact: bytes, traced: bytes, part: nn.Module, samples: Floats, recipe: Recipe
    ) -> Iterator[Floats]:
        """Give the logits [1, Y] that the graph of `artifact` has for the first COMPARED samples.

        They are computed without the kernels that the backend runs it with, as far as there are others.
        """

    def stock_call(self, artifact: bytes, threads: int, x: Floats) -> Callable[[], Any]:
        """Return a call of what the stock recipe made, on `x`, ready made: what is compared with in benchmarks."""
        part = backends.get(self.backend).open(artifact, threads=threads)

        def call() -> Any:
            part.invoke(x)
            return part.output("logits")

        return call


def get(backend: str) -> Toolchain:
    """Return the toolchain of `backend`; raise UsageError for an unknown one."""
    made: Toolchain = backends.load(backends.record(backend).toolchain)()
    return made
