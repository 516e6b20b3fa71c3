"""Certificates: of a promise that is kept, see `edge_moe.promise`; in words; and whether one still stands."""

from __future__ import annotations

from collections.abc import Iterable

from edge_moe.fingerprints import images_digest
from edge_moe.operating import Certificate, SetOperating
from edge_moe.promise import Kept

__all__ = ["certify", "in_words", "stale"]


def certify(
    kept: Kept,
    max_experts: int,
    digest: str,
    fingerprints: Iterable[str],
    *,
    families: int = 1,
    chose_recipe: int = 0,
) -> Certificate:
    """Write down a promise that is kept.

    Args:
        kept: what was found.
        max_experts: at which.
        digest: of all that decides the set's answers, see `edge_moe.digest`.
        fingerprints: of the images that it was found on.
        families: as it was found with.
        chose_recipe: of these images, by how many `convert` had chosen the set's recipe.
    """
    promise = kept.promise
    return Certificate(
        rule=promise.rule,
        tau=kept.tau,
        max_experts=max_experts,
        n=kept.samples,
        losses=kept.lost,
        epsilon=promise.epsilon,
        delta=promise.delta,
        m=families,
        images=images_digest(fingerprints),
        bundle=digest,
        gained=kept.gained if promise.rule == "drop" else None,
        groups=kept.groups,
        chose_recipe=chose_recipe,
    )


def in_words(one: Certificate) -> str:
    """Say what is promised, and on what: "changed<=1% with 95% confidence (1,250 images, of which 5 are changed)"."""
    seen = f"{one.losses:,} {'is' if one.losses == 1 else 'are'} {'lost' if one.rule == 'drop' else one.rule}"
    gained = "" if one.gained is None else f" and {one.gained:,} gained"
    images = f"{one.n:,} images" + ("" if one.groups is None else f" of {one.groups:,} originals")
    among = "" if one.m == 1 else f"; the best of {one.m}"
    used = f"; {one.chose_recipe:,} of them chose the recipe, too" if one.chose_recipe else ""
    return (
        f"{one.rule}<={100 * one.epsilon:.10g}% with {100 * (1 - one.delta):.10g}% confidence "
        f"({images}, of which {seen}{gained}{among}{used})"
    )


def stale(of: SetOperating) -> str | None:
    """Return in words why a set's certificate is not of its default, or of it; None: it stands, or there is none."""
    one, tau, max_experts = of.certificate, of.default_tau, of.default_max_experts
    if one is None:
        return None
    if (one.tau, one.max_experts) != (tau, max_experts):
        was = f"tau {one.tau}, max_experts {one.max_experts}"
        return f"it was made for {was}, and the default is tau {tau}, max_experts {max_experts}; promise anew"
    if one.bundle == of.digest:
        return None
    here = f"{of.digest[:12]}..."
    return f"it was made for the set with digest {one.bundle[:12]}..., and this one's is {here}; promise anew"
