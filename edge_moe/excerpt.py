"""A part of a bundle that is a bundle again: some of its sets, and nothing that only the others needed.

The artifacts stay as they are, and with them the digests of the sets: what was measured on them holds for the excerpt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from edge_moe.bundle import Bundle
from edge_moe.manifest import MANIFEST, Artifact, ArtifactSet, GoldenInputs, Manifest
from edge_moe.npz import pack
from edge_moe.operating import OPERATING, encode
from edge_moe.records import sha256, to_json

__all__ = ["Excerpt", "excerpt"]


class Excerpt(NamedTuple):
    """What the excerpt is, and those of its files that the bundle has not, or not like that."""

    manifest: Manifest
    made: dict[str, bytes]  # path in the excerpt -> bytes; the two .json files are always among them


def excerpt(bundle: Bundle, sets: Sequence[ArtifactSet]) -> Excerpt:
    """Return the bundle of `sets` alone, which are sets of `bundle`; the first of them becomes its default.

    Without `network`, by which a conversion knows a network again: whatever the excerpt is for, it is not that.

    Raises:
        IntegrityError, BundleError: a file with golden samples is missing, altered or no plain .npz.
    """
    golden, made = _golden(bundle, sets)
    manifest = msgspec.structs.replace(bundle.manifest, sets=tuple(sets), golden=golden, network=None)
    made[OPERATING] = encode({str(one.key): bundle.operating(one) for one in sets})
    made[MANIFEST] = to_json(manifest)
    return Excerpt(manifest, made)


def _golden(bundle: Bundle, sets: Sequence[ArtifactSet]) -> tuple[GoldenInputs, dict[str, bytes]]:
    """Return the golden inputs that `sets` use, and the file with their tensors, if that is another one than before."""
    shared, inputs = bundle.manifest.golden, bundle.golden_inputs()
    used = {name for one in sets for name in (*bundle.golden(one), *(sample.input for sample in one.golden.samples))}
    if used >= inputs.keys():
        return shared, {}
    data = pack({name: tensor for name, tensor in inputs.items() if name in used}, compressed=True)
    tensors = Artifact(file=shared.tensors.file, sha256=sha256(data), bytes=len(data))
    images = {name: image for name, image in shared.images.items() if name in used}
    return msgspec.structs.replace(shared, tensors=tensors, images=images), {tensors.file: data}
