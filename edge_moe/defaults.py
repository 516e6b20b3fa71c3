"""Changing what a bundle does when nobody says otherwise, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.bundle import OPERATING, Bundle
from edge_moe.certificates import stale
from edge_moe.errors import BundleError
from edge_moe.lock import acquire
from edge_moe.operating import Certificate, encode, read_operating
from edge_moe.output import write_file
from edge_moe.sets import Pattern

__all__ = ["write_defaults"]


def write_defaults(
    bundle: Path,
    wanted: Pattern,
    tau: float,
    max_experts: int,
    *,
    certificate: Certificate | None = None,
    default_set: bool = False,
    command: str = "edge-moe choose",
) -> None:
    """Make (tau, max_experts) the default of one set of a bundle; operating.json is replaced whole or not at all.

    No other file is touched, and the golden samples have settings of their own and stay true. A certificate is of one
    setting: with another it goes.

    Args:
        bundle: the folder.
        wanted: which set; the first that is meant.
        tau: in [0, 1].
        max_experts: in [1, K]; 0 where K is.
        certificate: what the setting promises; None: what it promised before, if it is the same.
        command: who writes, for whoever waits for it.
        default_set: make the set the one that runs where none is named, too.

    Raises:
        UsageError: a setting out of range, or the bundle has no such set.
        BundleError: no bundle there, or it is damaged, or another one than the certificate is of.
        OutputError: operating.json cannot be written, or another process makes the bundle; the old one stands.
    """
    lock = acquire(bundle, command, amends=True)
    try:
        _write(bundle, wanted, tau, max_experts, certificate, default_set)
    finally:
        lock.release()


def _write(
    bundle: Path, wanted: Pattern, tau: float, max_experts: int, certificate: Certificate | None, default_set: bool
) -> None:
    opened = Bundle(bundle)
    key = str(opened.manifest.select([wanted])[0].key)
    operating = read_operating(bundle, opened.manifest)
    tau, max_experts = check_tau(tau), check_max_experts(max_experts, opened.manifest.experts)
    sets, before = dict(operating.sets), operating.sets[key]
    same = (before.default_tau, before.default_max_experts) == (tau, max_experts)
    sets[key] = msgspec.structs.replace(
        before,
        default_tau=tau,
        default_max_experts=max_experts,
        certificate=certificate or (before.certificate if same else None),
    )
    if certificate is not None and (problem := stale(sets[key])):
        raise BundleError(f"what {key} of {bundle} promises cannot be written: {problem}")
    write_file(bundle / OPERATING, encode(sets, key if default_set else operating.default_set))
