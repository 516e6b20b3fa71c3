"""What results say of a bundle and of each of its sets, beside the rounds: the records of the header.

Axis letters: N validation images, K experts.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks.wire import Opening, Setting, Sustained
from edge_moe.bundle import Artifact, Manifest, sha256
from edge_moe.digest import stated
from edge_moe.operating import Certificate
from edge_moe.records import Count, Fraction, Positive, Strict
from edge_moe.sets import SetKey
from edge_moe.sizes import StoredSize
from edge_moe.trace import Trace

__all__ = ["BundleInfo", "Checked", "Header", "RecordedSet", "Routing", "StoredTrace", "bundle_info"]


class StoredTrace(Strict, frozen=True):
    """A Trace, see edge_moe.trace: what decides about each validation image, and every answer that it can get."""

    max_phi: tuple[Fraction, ...]  # [N]
    gate: tuple[tuple[Fraction, ...], ...]  # [N][K]
    answers: tuple[tuple[int, ...], ...]  # [N][K+1]
    single: tuple[tuple[int, ...], ...]  # [N][K]
    second_phi: tuple[Fraction, ...]  # [N]
    entropy: tuple[float, ...]  # [N]
    log_sum_exp: tuple[float, ...]  # [N]

    @classmethod
    def of(cls, trace: Trace) -> StoredTrace:
        """Write every float32 with the fewest digits that give it back."""
        return cls(
            max_phi=_shortest(trace.max_phi),
            gate=tuple(_shortest(row) for row in trace.gate),
            answers=tuple(tuple(row) for row in trace.answers.tolist()),
            single=tuple(tuple(row) for row in trace.single.tolist()),
            second_phi=_shortest(trace.second_phi),
            entropy=_shortest(trace.entropy),
            log_sum_exp=_shortest(trace.log_sum_exp),
        )

    def restored(self) -> Trace:
        """Return the trace that was stored."""
        return Trace(
            max_phi=np.array(self.max_phi, np.float32),
            gate=np.array(self.gate, np.float32).reshape(len(self.gate), -1),
            answers=np.array(self.answers, np.int32),
            single=np.array(self.single, np.int32).reshape(len(self.single), -1),
            second_phi=np.array(self.second_phi, np.float32),
            entropy=np.array(self.entropy, np.float32),
            log_sum_exp=np.array(self.log_sum_exp, np.float32),
        )


class Routing(Strict, frozen=True):
    """Whose decisions stand in the trace."""

    set: str  # backend/recipe: that which is costed, or another of the bundle
    where: str  # the target that ran it: "host", or the one that is costed


class Checked(Strict, frozen=True):
    """What the target itself answered to some of the images, to hold against the trace."""

    images: tuple[Count, ...]  # which of the N
    trace: StoredTrace  # of these


class RecordedSet(Strict, frozen=True, omit_defaults=True):
    """One backend and recipe."""

    set: str  # backend/recipe
    artifacts: dict[str, Artifact]  # part -> file, digest, size
    macs: dict[str, Count]  # part -> multiply-accumulates
    settings: tuple[Setting, ...]  # what was measured, in the order of every round's points
    trace: StoredTrace
    routing: Routing
    digest: str  # of all that decides the answers, see edge_moe.digest
    default_tau: Fraction  # of the bundle, when it was measured
    default_max_experts: Count
    certificate: Certificate | None = None  # of that default, when it was measured
    there: Checked | None = None  # None: the target does not hand out what parts compute

    @property
    def key(self) -> SetKey:
        """Which set it is."""
        return SetKey.parse(self.set)

    @property
    def default(self) -> Setting:
        """The bundle's operating point, when it was measured."""
        return Setting(tau=self.default_tau, max_experts=self.default_max_experts)


class BundleInfo(Strict, frozen=True):
    """Which bundle."""

    name: str
    rule_sha256: str  # of all that decides an answer but the artifacts: labels, preprocessing, ensemble, space
    architecture: str
    experts: int
    classes: int
    image_size: StoredSize  # H = W, or (H, W)
    trained: bool
    ensemble: Literal["bagging", "expert"]
    space: Literal["logit", "probability"]


class Header(Strict, frozen=True, omit_defaults=True):
    """All that results hold beside the rounds."""

    schema_version: int
    created: str  # ISO 8601, UTC
    sittings: Positive  # 1, and one more for each time that it was stopped and taken up again
    versions: dict[str, str]  # of what decided and wrote this down
    bundle: BundleInfo
    data: str
    images: Positive  # N
    labels: tuple[int, ...] | None  # [N] the right class; None: not known
    groups: tuple[int, ...] | None  # [N] which images are versions of one original; None: each for itself
    timed: tuple[int, ...]  # [T] which of the N images were timed
    rounds_asked: Positive
    threads: Positive
    seed: Count
    remarks: tuple[str, ...]  # why the figures are doubtful, beside what the target saw
    opening: Opening
    recorded: tuple[RecordedSet, ...] = msgspec.field(name="sets")  # as in the bundle: the first is the default
    five_runs: bool = False  # whether the rounds were to be held against each other
    sustained_s: Count = 0  # how long each set was to run without a pause after the rounds; 0: not at all
    sustained: tuple[Sustained, ...] = ()  # what it then cost; nothing where it was not asked for, or stopped
    fingerprints: tuple[str, ...] | None = None  # [N] what each image is known by, see edge_moe.fingerprints


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
        ensemble=manifest.ensemble,
        space=manifest.space,
    )


def _shortest(values: npt.NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(float(str(value)) for value in values)
