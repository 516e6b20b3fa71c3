"""results.json: what was measured, on what, with which versions, down to every raw sample. Versioned and strict.

One schema for every target. Costs are in the target's own unit (milliseconds, instructions, cycles), which the file
names once; a target that can only cost parts leaves the routed predictions away.

Axis letters: N validation images, K experts, R rounds, T timed images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.bundle import Artifact, Manifest, OperatingPoint, sha256
from edge_moe.digest import stated
from edge_moe.errors import DataError
from edge_moe.sets import SetKey
from edge_moe.sizes import StoredSize
from edge_moe.trace import Trace

__all__ = [
    "SCHEMA_VERSION",
    "BundleInfo",
    "Conditions",
    "Limit",
    "Machine",
    "PartCosts",
    "Peer",
    "PointCosts",
    "Results",
    "Rows",
    "SetResults",
    "StoredTrace",
    "Summary",
    "Unit",
    "bundle_info",
    "load",
    "summary",
    "typical",
]

SCHEMA_VERSION = 2

Cost = Annotated[float, msgspec.Meta(ge=0)]
Rows = tuple[tuple[Cost, ...], ...]  # [R][samples of the round]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Unit = Literal["ms", "instructions", "cycles"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Machine(_Strict, frozen=True):
    """What executed the artifacts."""

    name: str  # what kind of machine it is, for titles; a host's own name is nobody's business
    system: str
    processor: str
    logical_cpus: int
    memory_bytes: int

    @property
    def title(self) -> str:
        """Name and processor, once each: a host is called by its processor."""
        return self.processor if self.processor.startswith(self.name) else f"{self.name}, {self.processor}"


class Conditions(_Strict, frozen=True):
    """What else went on while it was measured. None: the system does not tell."""

    cpus: tuple[int, ...] | None  # that the process was pinned to; None: not pinned
    load_before: float | None  # 1-minute mean of runnable processes
    load_after: float | None
    others_share: float | None  # of the CPUs measured on, what other processes and the hypervisor took
    probe: tuple[float, ...]  # [R] the same computation in every round, milliseconds: how steady the clock was
    throttled: int | None  # times that the processor or the system's quota slowed it down
    remarks: tuple[str, ...]  # why these figures are doubtful, in words; empty: nothing was seen


class Summary(_Strict, frozen=True):
    """Of raw samples, in their unit."""

    median: float
    p10: float
    p90: float
    mean: float


class StoredTrace(_Strict, frozen=True):
    """A Trace, see edge_moe.trace: what decides about each validation image, and every answer that it can get."""

    max_phi: tuple[Fraction, ...]  # [N]
    gate: tuple[tuple[Fraction, ...], ...]  # [N][K]
    answers: tuple[tuple[int, ...], ...]  # [N][K+1]

    @classmethod
    def of(cls, trace: Trace) -> StoredTrace:
        """Write every float32 with the fewest digits that give it back."""
        return cls(
            max_phi=tuple(_shortest(trace.max_phi)),
            gate=tuple(tuple(_shortest(row)) for row in trace.gate),
            answers=tuple(tuple(row) for row in trace.answers.tolist()),
        )

    def restored(self) -> Trace:
        """Return the trace that was stored."""
        return Trace(
            np.array(self.max_phi, dtype=np.float32),
            np.array(self.gate, dtype=np.float32),
            np.array(self.answers, dtype=np.int32),
        )


class PartCosts(_Strict, frozen=True):
    """One part by itself: what it reads handed over, the part run, its logits taken."""

    part: str
    macs: int
    raw: Rows  # [R][samples], the same images in the same order in every round

    @property
    def cost(self) -> float:
        """What the part is said to cost, see `typical`."""
        return typical(self.raw)


class PointCosts(_Strict, frozen=True):
    """One operating point: whole predictions of prepared input tensors."""

    point: OperatingPoint  # measured on all N images
    raw: Rows | None  # [R][T]; None: the target runs parts only
    mean: Cost  # `typical` of raw; what `predicted` says where raw is None
    predicted: Cost  # for the same images: base + P(gate) gate + sum of P(expert k) expert k


class Peer(_Strict, frozen=True):
    """What one would do otherwise, on the same timed images."""

    name: str
    backend: str
    recipe: str
    about: str
    tau: Fraction | None  # None: does not depend on it
    raw: Rows | None  # [R][T]; None: not measured
    missing: str | None  # why it was not measured, and what to do

    @property
    def key(self) -> SetKey:
        """Which set it is an alternative to, or what runs it instead."""
        return SetKey(self.backend, self.recipe)


class Limit(_Strict, frozen=True):
    """A large matrix product: what this machine reaches where nothing but arithmetic counts."""

    dtype: Literal["int8", "fp32"]
    library: str
    shape: tuple[int, int, int]  # M, K, N
    raw: tuple[Cost, ...]  # one a round or more

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one product."""
        return math.prod(self.shape)


class SetResults(_Strict, frozen=True):
    """One backend and recipe."""

    backend: str
    backend_version: str
    recipe: str
    artifacts: dict[str, Artifact]  # part -> file, digest, size
    trace: StoredTrace
    parts: tuple[PartCosts, ...]
    points: tuple[PointCosts, ...]
    cold_start_ms: tuple[Cost, ...]  # one a process: from its start to its first answer
    peak_rss_bytes: tuple[int, ...]  # one a process that runs this set and nothing else
    digest: str | None = None  # of all that decides the answers, see edge_moe.digest; None: of an older edge-moe
    default_tau: Fraction | None = None  # of the bundle, when it was measured; None: not recorded
    default_max_experts: int | None = None

    @property
    def key(self) -> SetKey:
        """Which set it is."""
        return SetKey(self.backend, self.recipe)

    @property
    def label(self) -> str:
        """What people call the set: backend/recipe."""
        return str(self.key)


class BundleInfo(_Strict, frozen=True):
    """Which bundle."""

    name: str
    rule_sha256: str  # of all that decides an answer but the artifacts: labels, preprocessing, ensemble, space
    architecture: str
    experts: int
    classes: int
    image_size: StoredSize  # H = W, or (H, W)
    trained: bool


class Results(_Strict, frozen=True):
    """results.json."""

    schema_version: int
    target: str
    unit: Unit
    complete: bool  # False: stopped before the last round
    created: str  # ISO 8601, UTC
    sittings: int  # 1, and one more for each time that it was stopped and taken up again
    machine: Machine
    conditions: Conditions
    versions: dict[str, str]
    bundle: BundleInfo
    data: str
    images: int  # N
    labels: tuple[int, ...] | None  # [N] the right class; None: not known
    timed: tuple[int, ...]  # [T] which of the N images were timed
    rounds_asked: int
    rounds: int  # R
    threads: int
    seed: int
    sets: tuple[SetResults, ...]  # as in the bundle: the first is the default
    peers: tuple[Peer, ...]
    limits: tuple[Limit, ...]
    groups: tuple[int, ...] | None = None  # [N] which images are versions of one original; None: each for itself

    @property
    def grouping(self) -> npt.NDArray[np.int64] | None:
        """`groups` as an array, for intervals: [N]."""
        return None if self.groups is None else np.array(self.groups)


def bundle_info(name: str, manifest: Manifest) -> BundleInfo:
    """Describe a bundle. Artifacts, defaults and operating points may change without changing its rule."""
    # A field that a later edge-moe adds, with its default, must not make another rule of an older one.
    preprocessing = stated(manifest.preprocessing, ("interpolation", "layout"))
    rule = (manifest.labels, preprocessing, manifest.experts, manifest.ensemble, manifest.space)
    return BundleInfo(
        name=name,
        rule_sha256=sha256(msgspec.json.encode(rule)),
        architecture=manifest.architecture,
        experts=manifest.experts,
        classes=len(manifest.labels),
        image_size=manifest.preprocessing.image_size,
        trained=manifest.trained,
    )


def typical(raw: Rows) -> float:
    """[R][samples] -> the mean over samples of each one's median over rounds: slow moments do not count, images do."""
    return float(np.median(np.asarray(raw, dtype=np.float64), axis=0).mean())


def summary(raw: Iterable[float] | Rows) -> Summary:
    """Summarise raw samples, flat or in rows of any lengths."""
    flat = np.fromiter(_flat(raw), dtype=np.float64)
    p10, median, p90 = np.percentile(flat, [10, 50, 90])
    return Summary(median=float(median), p10=float(p10), p90=float(p90), mean=float(flat.mean()))


def load(file: Path) -> Results:
    """Read and check a results file, or the results.json of a folder.

    Raises:
        DataError: missing, half written, of another schema version, or with numbers that cannot be.
    """
    if file.is_dir():
        file = file / "results.json"
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected a results.json made by 'edge-moe bench'")
    data = file.read_bytes()
    try:
        raw = msgspec.json.decode(data)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            todo = "update edge-moe" if newer else "measure again"
            raise DataError(f"{file} has schema version {version}; this edge-moe reads {SCHEMA_VERSION}: {todo}")
        results = msgspec.convert(raw, Results)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        found = re.search(rb"[:,\[]\s*(NaN|-?Infinity)", data)  # which JSON does not have, but some writers write
        why = f"it holds {found[1].decode()} where a number should be" if found else str(error)
        raise DataError(f"{file} is not a results file: {why}; measure again") from None
    problem = _inconsistency(results)
    if problem:
        raise DataError(f"{file} is not a results file: {problem}; measure again")
    return results


def _inconsistency(results: Results) -> str | None:
    """Return what the types alone cannot rule out, in words; None where the results are sound."""
    n, k, t, rounds = results.images, results.bundle.experts, len(results.timed), results.rounds
    if not results.sets or rounds < 1:
        return "it holds no measurement"
    if results.labels is not None and len(results.labels) != n:
        return f"it has {len(results.labels)} labels for {n} images"
    if results.labels is not None and any(not 0 <= label < results.bundle.classes for label in results.labels):
        return f"it has a label that is not among its {results.bundle.classes} classes"
    if results.groups is not None and len(results.groups) != n:
        return f"it has {len(results.groups)} groups for {n} images"
    if any(not 0 <= index < n for index in results.timed) or len(set(results.timed)) != t or not t:
        return f"its timed images are not some of its {n}, each once"
    if len({one.label for one in results.sets}) != len(results.sets):
        return "it has a set twice"
    for peer in results.peers:
        if peer.raw is not None and (len(peer.raw) != rounds or any(len(row) != t for row in peer.raw)):
            return f"{peer.name} of {peer.key} has not {rounds} x {t} samples"
    if any(not limit.raw for limit in results.limits):
        return "it has a matrix product without a sample"
    for one in results.sets:
        stored = one.trace
        if len(stored.max_phi) != n or len(stored.gate) != n or len(stored.answers) != n:
            return f"the trace of {one.label} has not {n} images"
        if any(len(row) != k for row in stored.gate) or any(len(row) != k + 1 for row in stored.answers):
            return f"the trace of {one.label} has not {k} experts"
        if any(not 0 <= answer < results.bundle.classes for row in stored.answers for answer in row):
            return f"the trace of {one.label} has an answer that is not among its {results.bundle.classes} classes"
        if sorted(part.part for part in one.parts) != sorted(one.artifacts):
            return f"{one.label} has not the costs of each of its parts, once"
        settings = [(point.point.tau, point.point.max_experts) for point in one.points]
        fewest = min(1, k)  # 0 of a plain network
        if not settings or len(set(settings)) != len(settings) or any(not fewest <= m <= k for _, m in settings):
            return f"{one.label} has not each of its operating points once, with {fewest} to {k} experts"
        if any(not any(part.raw) for part in one.parts):
            return f"{one.label} has a part without a sample"
        if any(len({len(row) for row in part.raw}) > 1 for part in one.parts):
            return f"{one.label} has a part with another number of samples in every round"
        for point in one.points:
            if point.raw is not None and (len(point.raw) != rounds or any(len(row) != t for row in point.raw)):
                return f"{one.label} has not {rounds} x {t} samples at tau {point.point.tau:g}"
    return None


def _flat(raw: Any) -> Iterable[float]:
    for value in raw:
        if isinstance(value, tuple | list):
            yield from value
        else:
            yield value


def _shortest(values: npt.NDArray[np.float32]) -> list[float]:
    return [float(str(value)) for value in values]
