"""Certificates: what they say, in words, and when they stand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.certificates import certify, in_words, stale
from edge_moe.fingerprints import images_digest
from edge_moe.operating import SetOperating
from edge_moe.promise import Kept, Promise

NAMES = ["a" * 12, "b" * 12]


def kept(rule="changed", **changes):
    found = {"promise": Promise(rule, 0.01, 0.05), "tau": 0.3, "samples": 1250, "groups": None, "lost": 5, "gained": 0}
    return Kept(**(found | {"bound": 0.008, "most": 0.002, "needed": 299} | changes))


@pytest.mark.parametrize(
    ("found", "more", "words"),
    [
        (kept(), {}, "changed<=1% with 95% confidence (1,250 images, of which 5 are changed)"),
        (kept(lost=1), {"families": 3}, "(1,250 images, of which 1 is changed; the best of 3)"),
        (
            kept("drop", lost=7, gained=4),
            {"chose_recipe": 1250},
            "drop<=1% with 95% confidence (1,250 images, of which 7 are lost and 4 gained; 1,250 of them chose the "
            "recipe, too)",
        ),
        (kept("lost", groups=125), {}, "(1,250 images of 125 originals, of which 5 are lost)"),
    ],
)
def test_in_words(found, more, words):
    assert words in in_words(certify(found, 1, "1" * 64, NAMES, **more))


def test_what_stands_in_it():
    one = certify(kept("drop", gained=2), 1, "1" * 64, NAMES, families=2)
    assert (one.rule, one.n, one.losses, one.gained) == ("drop", 1250, 5, 2)
    assert (one.epsilon, one.delta, one.m) == (0.01, 0.05, 2)
    assert one.images == images_digest(NAMES)
    assert certify(kept(), 1, "1" * 64, NAMES).gained is None


def test_it_stands_for_its_artifacts_alone():
    one = certify(kept(), 1, "1" * 64, NAMES)

    def stale_of(digest, tau=0.3, most=1):
        return stale(
            SetOperating(
                digest=digest * 64, default_tau=tau, default_max_experts=most, operating_points=(), certificate=one
            )
        )

    assert stale_of("1") is None
    assert "made for the set with digest 111111111111..., and this one's is 222222222222" in stale_of("2")
    for setting in ((0.31, 1), (0.3, 2)):
        assert "made for tau 0.3, max_experts 1, and the default is tau" in stale_of("1", *setting)


def test_numbers_are_numbers():
    """numpy's would not be written as JSON."""
    one = certify(kept(lost=int(np.int64(3))), 1, "1" * 64, NAMES)
    assert {type(value) for value in (one.n, one.losses, one.m)} == {int}
