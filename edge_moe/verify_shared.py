"""What the sets of a bundle share, checked: preprocessing of the golden images, and the exit rule on golden vectors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_moe import vectors
from edge_moe.bundle import Artifact, Bundle
from edge_moe.comparing import Check, relative_error
from edge_moe.errors import BundleError, DataError, IntegrityError
from edge_moe.preprocess import prepare

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["verify_shared"]

_WHAT = "bundle"
# Decoding and resizing are integer arithmetic, and the rest is one subtraction and one division in float.
_TOLERANCE = 1e-6


def verify_shared(bundle: Bundle) -> list[Check]:
    """Check what does not hang on a set; nothing of it runs an artifact."""
    return [*_network(bundle), *_images(bundle), *_vectors(bundle)]


def _intact(bundle: Bundle, artifact: Artifact) -> tuple[bytes, Check]:
    try:
        data = bundle.read(artifact)
    except IntegrityError as error:
        return b"", Check(_WHAT, artifact.file, False, str(error))
    return data, Check(_WHAT, artifact.file, True, f"sha256 {artifact.sha256[:12]}...")


def _network(bundle: Bundle) -> Iterator[Check]:
    """Check the file by which a later conversion knows the network again; nothing runs it."""
    artifact = bundle.manifest.network
    if artifact is None:
        return
    try:
        bundle.network()
    except BundleError as error:
        yield Check("network", artifact.file, False, str(error))
    else:
        yield Check("network", artifact.file, True, f"sha256 {artifact.sha256[:12]}...")


def _images(bundle: Bundle) -> Iterator[Check]:
    golden, spec = bundle.manifest.golden, bundle.manifest.preprocessing
    _, check = _intact(bundle, golden.tensors)
    inputs = {}
    if check.passed:
        try:
            inputs = bundle.golden_inputs()
        except BundleError as error:
            check = Check(_WHAT, golden.tensors.file, False, str(error))
    yield check
    if not golden.images:
        yield Check(
            _WHAT,
            "preprocessing",
            True,
            "the bundle was upgraded from schema 2, which had no images; convert the checkpoint again to have them",
            skipped=True,
        )
    for name, artifact in golden.images.items():
        data, check = _intact(bundle, artifact)
        if not check.passed or not inputs:
            yield check
            continue
        if name not in inputs:
            yield Check(_WHAT, artifact.file, False, f"{golden.tensors.file} has no {name}; convert again")
            continue
        try:
            found = prepare(_open(data), spec)
        except DataError as error:
            yield Check(_WHAT, artifact.file, False, str(error))
            continue
        if found.shape != inputs[name].shape:
            detail = f"preprocessing gives {list(found.shape)}, expected {list(inputs[name].shape)}"
            yield Check(_WHAT, artifact.file, False, detail)
            continue
        apart = relative_error(found, inputs[name])
        detail = f"preprocessing: relative error {apart:.1e}, tolerance {_TOLERANCE:.1e}"
        yield Check(_WHAT, artifact.file, apart <= _TOLERANCE, detail)


def _open(data: bytes) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data), formats=("PNG",))
    except OSError as error:
        raise DataError(f"the golden image cannot be read: {error}; convert the bundle again") from None


def _vectors(bundle: Bundle) -> Iterator[Check]:
    manifest = bundle.manifest
    data, check = _intact(bundle, manifest.golden.vectors)
    if not check.passed:
        yield check
        return
    try:
        found = vectors.decode(data)
    except BundleError as error:
        yield Check(_WHAT, manifest.golden.vectors.file, False, str(error))
        return
    theirs = (found.experts, found.classes, found.ensemble, found.space)
    ours = (manifest.experts, len(manifest.labels), manifest.ensemble, manifest.space)
    if theirs != ours:
        detail = "of {} experts, {} classes, {} in {} space; ".format(*theirs)
        yield Check(_WHAT, manifest.golden.vectors.file, False, detail + "expected {}, {}, {} in {}".format(*ours))
        return
    problems = [f"{one.name}: {what}" for one in found.vectors if (what := vectors.problem(one, found))]
    good = f"{len(found.vectors)} decisions of the exit rule and the ensemble come out"
    yield Check(_WHAT, manifest.golden.vectors.file, not problems, "; ".join(problems) or good)
