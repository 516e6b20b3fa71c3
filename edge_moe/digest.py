"""One digest over what decides the answers of a set: two sets with the same digest answer every image alike.

In it are labels, preprocessing, number of experts, ensemble and space, the backend, and of each part the bytes of its
artifact and the names, shapes and types of its tensors. Not in it is what may change without changing an answer
(operating points, tools, the golden sample, how files are called), nor tau and max_experts, which a caller sets.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge_moe.bundle import ArtifactSet, Manifest, sha256
from edge_moe.errors import BundleError, UsageError

__all__ = ["answers_digest", "check_digest", "stated"]


def answers_digest(manifest: Manifest, artifacts: ArtifactSet) -> str:
    """Return the digest of one set of a bundle: SHA-256 of canonical JSON, in lowercase hexadecimal.

    A field that has its default is left away, so that one that a later edge-moe adds does not change the digest of a
    bundle that was made without it.
    """
    decides = {
        "labels": manifest.labels,
        "preprocessing": stated(manifest.preprocessing),
        "experts": manifest.experts,
        "ensemble": manifest.ensemble,
        "space": manifest.space,
        "backend": artifacts.backend,
        "parts": {
            name: {
                "kind": spec.kind,
                "inputs": [stated(one) for one in spec.inputs],
                "outputs": [stated(one) for one in spec.outputs],
                "sha256": artifacts.parts[name].sha256,
            }
            for name, spec in manifest.parts.items()
        },
    }
    return sha256(msgspec.json.encode(decides, order="sorted"))


def check_digest(manifest: Manifest, artifacts: ArtifactSet, expected: str) -> None:
    """Raise BundleError, which says both, unless this set has the digest `expected`; UsageError: that is no string."""
    if not isinstance(expected, str):
        raise UsageError(f"expect_digest is {expected!r}; expected a string, as 'edge-moe inspect' prints it")
    found = answers_digest(manifest, artifacts)
    if found != expected.lower():
        raise BundleError(
            f"{artifacts.backend}/{artifacts.recipe.name} has the digest {found}, expected {expected}: its labels, "
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
