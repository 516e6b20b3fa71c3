"""Changing what a bundle does when nobody says otherwise, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.bundle import MANIFEST, Bundle
from edge_moe.output import write_file

__all__ = ["write_defaults"]


def write_defaults(bundle: Path, backend: str | None, recipe: str | None, tau: float, max_experts: int) -> None:
    """Make (tau, max_experts) the default of one set of a bundle; the manifest is replaced whole or not at all.

    Every other value is written as it was read, in the layout that a conversion writes. The golden sample has a
    setting of its own and stays true.

    Args:
        bundle: the folder.
        backend: of the set; None is the bundle's first.
        recipe: of the set; None is the first of `backend`.
        tau: in [0, 1].
        max_experts: in [1, K].

    Raises:
        UsageError: a setting out of range, or the bundle has no such set.
        BundleError: no bundle there, or it is damaged.
        OutputError: the manifest cannot be written; the old one stands.
    """
    manifest = Bundle(bundle).manifest
    index = manifest.sets.index(manifest.find(backend, recipe))
    tau, max_experts = check_tau(tau), check_max_experts(max_experts, manifest.experts)
    file = bundle / MANIFEST
    # Plain values, not the records that were checked: a record would write defaults that were left away.
    raw = msgspec.json.decode(file.read_bytes())
    raw["sets"][index] |= {"default_tau": tau, "default_max_experts": max_experts}
    write_file(file, msgspec.json.format(msgspec.json.encode(raw), indent=2) + b"\n")
