"""One digest over what decides the answers of a set: two sets with the same digest answer every image alike.

In it are labels, preprocessing, number of experts, ensemble and space, the backend, and of each part the bytes of its
artifact, the names, shapes and types of its tensors, and how the file itself has them, which a port goes by. Not in it
is what may change without changing an answer (tools, golden samples, what it runs on, how files are called), nor tau
and max_experts, which a caller sets and `operating.json` has the defaults of.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge_moe.errors import BundleError, UsageError
from edge_moe.manifest import ArtifactSet, Manifest
from edge_moe.records import sha256

__all__ = ["answers_digest", "check_digest", "stated"]


def answers_digest(manifest: Manifest, artifacts: ArtifactSet) -> str:
    """Return the digest of one set of a bundle: SHA-256 of canonical JSON, in lowercase hexadecimal.

    A field that has its default is left away, so that one that a later edge-moe adds does not change the digest of a
    bundle that was made without it.
    """
    return sha256(msgspec.json.encode(_decides(manifest, artifacts), order="sorted"))


def _decides(manifest: Manifest, artifacts: ArtifactSet) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {}
    for name, spec in manifest.parts.items():
        artifact = artifacts.parts[name]
        parts[name] = {
            "kind": spec.kind,
            "inputs": [stated(one) for one in spec.inputs],
            "outputs": [stated(one) for one in spec.outputs],
            "sha256": artifact.sha256,
            "file": {
                "inputs": [stated(one) for one in artifact.inputs],
                "outputs": [stated(one) for one in artifact.outputs],
            },
        }
    return {
        "labels": manifest.labels,
        "preprocessing": stated(manifest.preprocessing),
        "experts": manifest.experts,
        "ensemble": manifest.ensemble,
        "space": manifest.space,
        "backend": artifacts.backend,
        "parts": parts,
    }


def check_digest(manifest: Manifest, artifacts: ArtifactSet, expected: str) -> None:
    """Raise BundleError, which says both, unless this set has the digest `expected`; UsageError: that is no string."""
    if not isinstance(expected, str):
        raise UsageError(f"expect_digest is {expected!r}; expected a string, as 'edge-moe inspect' prints it")
    found = answers_digest(manifest, artifacts)
    if found != expected.lower():
        raise BundleError(
            f"{artifacts.key} has the digest {found}, expected {expected}: its labels, "
            "preprocessing, ensemble or parts are others; ship the bundle that is expected, or expect this one "
            "('edge-moe inspect' prints its digest)"
        )


def stated(record: msgspec.Struct, always: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of `record` that have not their default, and those named in `always`."""
    return {
        field.name: getattr(record, field.name)
        for field in msgspec.structs.fields(record)
        if field.name in always or getattr(record, field.name) != field.default
    }
