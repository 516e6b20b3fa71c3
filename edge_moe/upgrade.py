"""A bundle of schema 2 becomes one of schema 3: the same artifacts, described as they are described today.

The manifest is replaced last and whole, and before that nothing is overwritten that the old one names: at every moment
the folder is a bundle, of the one schema or of the other.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from edge_moe import schema2, vectors
from edge_moe.anytime import softmax
from edge_moe.backends import Tensor
from edge_moe.binding import described
from edge_moe.bundle import Bundle, read_artifact
from edge_moe.comparing import relative_error
from edge_moe.digest import answers_digest
from edge_moe.errors import BundleError, OutputError, UsageError
from edge_moe.lock import acquire
from edge_moe.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    Artifact,
    ArtifactSet,
    Golden,
    GoldenInputs,
    GoldenSample,
    Manifest,
    RunsOn,
)
from edge_moe.npz import pack, unpack
from edge_moe.operating import OPERATING, SetOperating, encode
from edge_moe.output import write_file, writing
from edge_moe.records import sha256, to_json
from edge_moe.schema2 import ArtifactSet2, Manifest2
from edge_moe.soundness import inconsistency, leaving
from edge_moe.untrusted import Malformed, as_record, parsed, read
from edge_moe.work import making

__all__ = ["Upgraded", "upgrade"]

_FROM = 2
_ROLE = "whole"  # of the one golden sample that a set had


class Upgraded(NamedTuple):
    """What there was to do."""

    path: Path  # of what can be used now
    changed: bool
    remark: str  # in words


def upgrade(path: Path, out: Path | None = None) -> Upgraded:
    """Rewrite the bundle of schema 2 at `path` to the schema of today: in place, or to the new folder `out`.

    The tensors are read from the artifacts, so that the libraries that execute them have to be installed. A checkpoint,
    and a bundle of today, stay as they are.

    Raises:
        BundleError: no bundle there, a damaged one, or one of another schema.
        IntegrityError, BackendError: an artifact is not the one that the manifest names, or cannot be opened.
        MissingExtraError: a backend of the bundle is not installed. The bundle stays as it was, here as everywhere.
        UsageError: an `out` where there is nothing to rewrite.
        OutputError: `out` exists, or what is to be written cannot be, or another process makes it.
    """
    nothing = _nothing_to_do(path)
    if nothing is not None:
        if out is not None:
            raise UsageError(f"{nothing}; there is nothing to write to {out}: copy it, or leave --output away")
        return Upgraded(path, False, nothing)
    if out is None:
        lock = acquire(path, "edge-moe upgrade", amends=True)  # nothing is made beside it
        try:
            return Upgraded(path, True, _in_place(path))
        finally:
            lock.release()
    if os.path.lexists(out):
        raise OutputError(f"{out} exists already; choose another target")
    with making(out, "upgrade", reads=(path,)) as work:
        folder = work.fresh()
        with writing(folder):
            shutil.copytree(path, folder, dirs_exist_ok=True)
        remark = _in_place(folder)
        work.publish()
    return Upgraded(out, True, remark)


def _nothing_to_do(path: Path) -> str | None:
    """Say why there is nothing to rewrite; None where there is."""
    if not (path / MANIFEST).is_file() and (path / "config.json").is_file():
        return f"{path} is a checkpoint; those of schema 1 are read as they are"
    version = _version(path)
    return f"{path} has schema version {version}, which is today's" if version == SCHEMA_VERSION else None


def _version(path: Path) -> Any:
    try:
        raw = parsed(read(path / MANIFEST))
    except (OSError, Malformed):
        return Bundle(path).manifest.schema_version  # which says what is wrong with it
    return raw.get("schema_version") if isinstance(raw, dict) else None


def _in_place(folder: Path) -> str:
    old = _read(folder)
    inputs: dict[str, Tensor] = {}
    written: dict[str, bytes] = {}
    sets = tuple(_set(folder, old, one, inputs, written) for one in old.sets)
    rule = vectors.make(old.experts, len(old.labels), old.ensemble, old.space)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        architecture=old.architecture,
        trained=old.trained,
        labels=old.labels,
        preprocessing=old.preprocessing,
        experts=old.experts,
        ensemble=old.ensemble,
        space=old.space,
        parts=old.parts,
        sets=sets,
        golden=GoldenInputs(
            tensors=_artifact("golden/inputs.npz", pack(inputs, compressed=True), written),
            images={},
            vectors=_artifact("golden/vectors.json", rule, written),
        ),
        tools=old.tools,
        network=old.network,
    )
    encoded = _checked(folder, manifest)
    defaults = {str(one.key): _operating(manifest, made, one) for made, one in zip(sets, old.sets, strict=True)}
    for name, data in (written | {OPERATING: encode(defaults)}).items():
        write_file(folder / name, data)
    write_file(folder / MANIFEST, encoded)
    with writing(folder):
        for one in old.sets:
            (folder / one.golden.file.file).unlink(missing_ok=True)
    Bundle(folder)
    return (
        f"schema {_FROM} -> {SCHEMA_VERSION}, {len(sets)} sets; it has the one golden sample that it had, without an "
        "image: 'edge-moe convert' chooses more"
    )


def _checked(folder: Path, manifest: Manifest) -> bytes:
    """Return the manifest as it is written, once that is known to be one; raise BundleError else."""
    encoded = to_json(manifest)
    try:
        problem = inconsistency(msgspec.json.decode(encoded, type=Manifest))
    except msgspec.MsgspecError as error:  # what is made here was not held against the types
        problem = str(error)
    if problem:
        raise BundleError(f"{folder / MANIFEST} is not a manifest: {problem}; convert the checkpoint again")
    return encoded


def _read(folder: Path) -> Manifest2:
    file = folder / MANIFEST
    if not file.is_file():
        raise BundleError(f"{folder} has no {MANIFEST}; expected a bundle, made by 'edge-moe convert'")
    version = _version(folder)
    if version != _FROM:
        raise BundleError(f"{file} has schema version {version}; expected {_FROM}: convert the checkpoint again")
    try:
        found = as_record(parsed(read(file)), Manifest2)
    except Malformed as error:
        raise BundleError(f"{file} is not a manifest: {error}; convert the checkpoint again") from None
    problem = leaving(schema2.files(found))
    if problem:
        raise BundleError(f"{file} is not a manifest: {problem}; convert the checkpoint again")
    return found


def _set(
    folder: Path, manifest: Manifest2, old: ArtifactSet2, inputs: dict[str, Tensor], written: dict[str, bytes]
) -> ArtifactSet:
    parts = {
        name: described(one, read_artifact(folder, one), old.backend, manifest.parts[name])
        for name, one in old.parts.items()
        if name in manifest.parts  # what is not is told by `inconsistency`
    }
    return ArtifactSet(
        backend=old.backend,
        recipe=old.recipe,
        runs_on=RunsOn(),
        parts=parts,
        made_from=old.made_from,
        golden=_golden(folder, old, inputs, written),
    )


def _golden(folder: Path, old: ArtifactSet2, inputs: dict[str, Tensor], written: dict[str, bytes]) -> Golden:
    golden, what = old.golden, f"{folder / old.golden.file.file} is no golden sample"
    tensors = unpack(read_artifact(folder, golden.file), what)
    missing = [name for name in ("input", "scores", "base.logits") if name not in tensors]
    if missing:
        raise BundleError(f"{what}: it has no {', '.join(missing)}; convert the checkpoint again")
    given, scores = tensors.pop("input"), tensors.pop("scores")
    same = [name for name, one in inputs.items() if np.array_equal(one, given)]
    name = same[0] if same else f"{len(inputs):02d}"
    inputs[name] = given
    allowed = max((golden.tolerance, *golden.part_tolerances.values()))
    base = tensors["base.logits"][0]
    apart = relative_error(softmax(base), scores / scores.sum())
    unlike = "label" if int(base.argmax()) != golden.label else "probabilities" if apart > allowed else None
    stored = {f"{name}/{key}": value for key, value in tensors.items()} | {f"{name}/scores.{_ROLE}": scores}
    return Golden(
        file=_artifact(f"golden/{old.backend}-{old.recipe.name}.npz", pack(stored), written),
        tolerance=golden.tolerance,
        part_tolerances=golden.part_tolerances,
        samples=(
            GoldenSample(
                role=_ROLE,
                input=name,
                tau=golden.tau,
                max_experts=golden.max_experts,
                label=golden.label,
                exited=golden.exited,
                experts=golden.experts,
                unlike_base=None if golden.exited else unlike,  # type: ignore[arg-type]
            ),
        ),
        missing=(),
    )


def _operating(manifest: Manifest, made: ArtifactSet, old: ArtifactSet2) -> SetOperating:
    return SetOperating(
        digest=answers_digest(manifest, made),
        default_tau=old.default_tau,
        default_max_experts=old.default_max_experts,
        operating_points=old.operating_points,
    )


def _artifact(name: str, data: bytes, written: dict[str, bytes]) -> Artifact:
    written[name] = data
    return Artifact(file=name, sha256=sha256(data), bytes=len(data))
