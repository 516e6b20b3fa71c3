"""The interface between the runtime and whatever executes an artifact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_moe.records import Positive, Strict

if TYPE_CHECKING:
    from edge_moe.packed import Packed

__all__ = ["CLOSED", "Backend", "Layout", "OpenPart", "PartTensor", "PartTensors", "Tensor", "one_line"]

Tensor: TypeAlias = npt.NDArray[np.float32]
# NHWC_in_NCHW: the shape says [1, C, H, W], and the bytes lie as those of [1, H, W, C].
Layout: TypeAlias = Literal["NHWC", "NCHW", "NHWC_in_NCHW"]

CLOSED = "the part is closed; open it again"


class PartTensor(Strict, frozen=True):
    """An input or an output of an artifact, as the file itself has it."""

    name: str  # what the part calls it: image, features, embedding, logits
    tensor: str | None  # the exact name in the file; None: the format has none
    shape: tuple[Positive, ...]  # in the file's own order of axes
    layout: Layout | None  # None: no map
    dtype: Literal["float32", "float16", "int8", "uint8", "int16", "int32"]
    # real = scale * (integer - zero_point); None: real numbers, or more than one scale
    scale: float | None
    zero_point: int | None


class PartTensors(NamedTuple):
    """All that go in and all that come out, in the file's own order."""

    inputs: tuple[PartTensor, ...]
    outputs: tuple[PartTensor, ...]


class OpenPart(ABC):
    """One part, loaded and ready. Not thread-safe: one thread at a time."""

    @abstractmethod
    def invoke(self, tensor: Tensor) -> None:
        """Run the part on `tensor`, float32 in the shape of the part's one input."""

    @abstractmethod
    def output(self, name: str) -> Tensor:
        """Return a copy of the output called `name` of the last `invoke`."""

    def each(self, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Run the part on several inputs, each as `invoke` takes it -> the outputs of these names, one an input.

        One after the other; a backend that can do it faster with many does.
        """
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for x in inputs:
            self.invoke(x)
            for name, rows in found.items():
                rows.append(self.output(name))
        return found

    def native_call(self) -> Callable[[Tensor], Any]:
        """Return a function from the part's input to its logits, as the library's own documentation would have it.

        What the overhead of everything around it is compared with: on the same interpreter, for a second copy of the
        model would measure the processor's caches. Here for a library whose own call is what this interface makes.
        """

        def call(x: Tensor) -> Tensor:
            self.invoke(x)
            return self.output("logits")

        return call

    @abstractmethod
    def tensors(self) -> PartTensors:
        """Return the tensors of the artifact as the file itself describes them.

        An input has the name that the file gives it, for which a part of today and one of the last release differ.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the native memory. The part cannot be used again."""


class Backend(ABC):
    """Opens artifacts of one file format."""

    name: str
    suffix: str

    @abstractmethod
    def open(self, data: bytes, *, threads: int = 1) -> OpenPart:
        """Load a part from the bytes of its artifact.

        Raises:
            MissingExtraError: the library that executes this format is not installed.
            BackendError: the library refuses the bytes.
        """

    def open_packed(self, file: Path, sha256: str, packed: Packed, *, threads: int = 1) -> OpenPart | None:
        """Load a part from the file of its artifact, with its weights mapped, where the library can do that.

        Args:
            file: the artifact.
            sha256: of it.
            packed: where weights are kept, laid out for this processor.
            threads: as of `open`.

        Returns:
            None where it cannot be done, as where the file is another: then `open` does it, or says what is wrong.

        Raises:
            MissingExtraError, BackendError: as `open`.
        """
        return None

    @abstractmethod
    def version(self) -> str:
        """Return the name and version of the library that executes, for reports."""


def one_line(error: BaseException) -> str:
    """Return what a native library said, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
