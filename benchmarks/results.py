"""results.json: what was measured, on what, with which versions, down to every raw sample. Versioned and strict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from edge_moe.bundle import OperatingPoint
from edge_moe.errors import DataError

__all__ = [
    "SCHEMA_VERSION",
    "Machine",
    "PartTiming",
    "PointTiming",
    "Results",
    "SetResults",
    "Summary",
    "load",
    "summary",
]

SCHEMA_VERSION = 1

Milliseconds = Annotated[float, msgspec.Meta(ge=0)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Machine(_Strict, frozen=True):
    """The host."""

    system: str
    processor: str
    logical_cpus: int
    memory_bytes: int
    python: str
    load_before: float | None  # 1-minute average of runnable processes; None where the system does not tell
    load_after: float | None


class Summary(_Strict, frozen=True):
    """Of raw samples, milliseconds."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    mean_ms: float


class PartTiming(_Strict, frozen=True):
    """One part: input in, logits out, through the backend, where it stands in the order of an image's parts."""

    part: str
    raw_ms: tuple[Milliseconds, ...]


class PointTiming(_Strict, frozen=True):
    """One operating point: whole predictions of already prepared input tensors."""

    point: OperatingPoint  # measured on all images of the data
    raw_ms: tuple[tuple[Milliseconds, ...], ...]  # [image][round]
    mean_ms: float  # over the timed images of the median over rounds
    sum_of_parts_ms: float  # for the same images: base + P(gate) gate + sum of P(expert k) expert k


class SetResults(_Strict, frozen=True):
    """One backend and recipe."""

    backend: str
    backend_version: str
    recipe: str
    parts: tuple[PartTiming, ...]
    points: tuple[PointTiming, ...]


class Results(_Strict, frozen=True):
    """results.json."""

    schema_version: int
    device: str
    created: str  # ISO 8601, UTC
    machine: Machine
    versions: dict[str, str]
    bundle: str
    bundle_sha256: str  # of its manifest
    architecture: str
    experts: int
    trained: bool
    data: str
    images: int
    timed_images: int
    rounds: int
    threads: int
    seed: int
    sets: tuple[SetResults, ...]


def summary(raw_ms: tuple[float, ...] | tuple[tuple[float, ...], ...]) -> Summary:
    """Summarise raw samples of any shape."""
    flat = np.asarray(raw_ms).ravel()
    p10, median, p90 = np.percentile(flat, [10, 50, 90])
    return Summary(median_ms=float(median), p10_ms=float(p10), p90_ms=float(p90), mean_ms=float(flat.mean()))


def load(file: Path) -> Results:
    """Read and check a results file.

    Raises:
        DataError: missing, half written, or of another schema version.
    """
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected a results.json made by 'edge-moe bench'")
    try:
        raw = msgspec.json.decode(file.read_bytes())
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise DataError(f"{file} has schema version {version}; this edge-moe reads {SCHEMA_VERSION}: measure again")
        return msgspec.convert(raw, Results)
    except msgspec.MsgspecError as error:
        raise DataError(f"{file} is not a results file: {error}; measure again") from None
