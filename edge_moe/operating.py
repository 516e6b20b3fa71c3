"""operating.json: what may be chosen for a set after it was made. Choosing rewrites this file and no other.

    {"schema_version": 1, "sets": {"litert/int8": {"digest": ..., "default_tau": ..., "default_max_experts": ...,
     "operating_points": [...], "certificate": null}}, "default_set": "litert/int8"}

Each set names the digest of all that decides its answers: figures that were measured on other artifacts are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from edge_moe.digest import answers_digest
from edge_moe.errors import BundleError
from edge_moe.manifest import Manifest
from edge_moe.records import Count, Digest, Fraction, Positive, Strict, to_json
from edge_moe.untrusted import Malformed, OtherVersion, as_record, read, versioned

__all__ = [
    "OPERATING",
    "SCHEMA_VERSION",
    "Certificate",
    "Operating",
    "OperatingPoint",
    "Rule",
    "SetOperating",
    "default_first",
    "encode",
    "read_operating",
]

OPERATING = "operating.json"
SCHEMA_VERSION = 1
Rule: TypeAlias = Literal["changed", "lost", "drop"]  # see edge_moe.promise
Inside = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]


class OperatingPoint(Strict, frozen=True):
    """What one setting does to a set of validation images, measured on the artifacts."""

    tau: Fraction
    max_experts: Count  # 0: of a plain network, which has one setting
    samples: Positive
    exit_rate: Fraction
    mean_macs: Annotated[float, msgspec.Meta(ge=0.0)]
    accuracy: Fraction | None  # None: the images had no labels
    accuracy_low: Fraction | None  # 95% Wilson interval
    accuracy_high: Fraction | None


class Certificate(Strict, frozen=True, omit_defaults=True):
    """What the default tau promises: P(E loss <= epsilon) >= 1 - delta. Gone where another tau becomes the default.

    `edge_moe.promise` has the rules and how it is found.
    """

    rule: Rule  # what counts as a loss
    tau: Fraction  # of the setting that it is of
    max_experts: Positive
    n: Positive  # images that it was made on
    losses: Count  # of them, at this tau
    epsilon: Inside
    delta: Inside
    m: Positive  # answers that it was chosen from (sets, max_experts): each was tested at delta / m
    images: Digest  # of these images
    bundle: Digest  # of all that decides the answers: the set's digest at that time
    gained: Count | None = None  # by "drop": images that are right at this tau alone
    groups: Positive | None = None  # originals of which the images are versions; None: each stands for itself
    chose_recipe: Count = 0  # of the images, those by which `convert` had chosen the set's recipe


class SetOperating(Strict, frozen=True):
    """What one set does where nobody says otherwise, and what it was seen to do."""

    digest: Digest  # of all that decides the set's answers, see edge_moe.digest
    default_tau: Fraction
    default_max_experts: Count
    operating_points: tuple[OperatingPoint, ...]
    certificate: Certificate | None = None


class Operating(Strict, frozen=True, omit_defaults=True):
    """operating.json."""

    schema_version: int
    sets: dict[str, SetOperating]  # by backend/recipe
    default_set: str | None = None  # which runs where none is named; None, and not in the file: the manifest's first


def encode(sets: dict[str, SetOperating], default_set: str | None = None) -> bytes:
    """Return the file's bytes, for a person to read."""
    return to_json(Operating(schema_version=SCHEMA_VERSION, sets=sets, default_set=default_set))


def default_first(manifest: Manifest, operating: Operating) -> Manifest:
    """Return the manifest with the default set before the others: whoever names none takes the first that can run."""
    sets = sorted(manifest.sets, key=lambda one: str(one.key) != operating.default_set)
    return msgspec.structs.replace(manifest, sets=tuple(sets))


def read_operating(folder: Path, manifest: Manifest) -> Operating:
    """Return what operating.json in `folder` has.

    Raises:
        BundleError: the file is missing, damaged, of another schema, or of other artifacts than the manifest's.
    """
    file, todo = folder / OPERATING, "copy or convert the bundle again"
    if not file.is_file():
        raise BundleError(f"{folder} has no {OPERATING}, which holds the default tau of every set; {todo}")
    try:
        content = as_record(versioned(read(file), SCHEMA_VERSION), Operating)
    except OtherVersion as error:
        raise BundleError(f"{file} has schema version {error}; this edge-moe reads {SCHEMA_VERSION}: {todo}") from None
    except Malformed as error:
        raise BundleError(f"{file} is damaged: {error}; {todo}") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}; check its permissions") from None
    found, names = content.sets, [str(one.key) for one in manifest.sets]
    if sorted(found) != sorted(names):
        raise BundleError(
            f"{file} is of the sets {', '.join(found) or '(none)'}, but the manifest has {', '.join(names)}; {todo}"
        )
    if content.default_set not in (None, *names):
        raise BundleError(
            f"{file} is damaged: its default set is {content.default_set}, expected one of {', '.join(names)}; {todo}"
        )
    for artifacts in manifest.sets:
        one = found[str(artifacts.key)]
        digest = answers_digest(manifest, artifacts)
        if one.digest != digest:
            raise BundleError(
                f"{file} was made for another {artifacts.key}: it names the digest {one.digest[:12]}..., but the set "
                f"has {digest[:12]}...; put back the {OPERATING} that belongs to the artifacts, or {todo}"
            )
        if one.certificate is not None and one.certificate.losses > one.certificate.n:
            raise BundleError(
                f"{file} is damaged: the certificate of {artifacts.key} has more losses than images; {todo}"
            )
        if one.default_max_experts > manifest.experts or (manifest.experts and not one.default_max_experts):
            raise BundleError(
                f"{file} is damaged: {artifacts.key} has the default max_experts {one.default_max_experts}, but there "
                f"are {manifest.experts} experts; {todo}"
            )
    return content
