"""docs/vectors.json, what every port is held against: this package is the first of them."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from edge_moe import ports, vectors
from edge_moe.bundle import parse_manifest
from edge_moe.errors import BundleError
from tests.fixtures import JOB, VECTORS

FILE = VECTORS.read_bytes()
FOUND = ports.decode(FILE)
MANIFEST = JOB / "bundle/manifest.json"


def test_the_file_is_what_is_written_now():
    """But for the images, which another version of an encoder may write in other bytes."""
    now = ports.decode(ports.make(MANIFEST.read_bytes()))
    assert (now.manifests, now.rule) == (FOUND.manifests, FOUND.rule)
    assert json.loads(bytes(now.manifest)) == json.loads(bytes(FOUND.manifest)) == json.loads(MANIFEST.read_bytes())
    assert [(one.name, one.spec, one.within) for one in now.images] == [
        (one.name, one.spec, one.within) for one in FOUND.images
    ]
    assert len(FILE) < 300_000


@pytest.mark.parametrize("one", FOUND.manifests, ids=lambda one: one.name)
def test_manifests(one):
    changed = ports.changed(json.loads(bytes(FOUND.manifest)), one.at, one.value, one.removed)
    data = msgspec.json.encode(changed)
    if one.sound:
        assert parse_manifest(data, "it").experts == 2
    else:
        with pytest.raises(BundleError, match=r"^it (is not a manifest: |has schema version )"):
            parse_manifest(data, "it")


def test_sound_and_unsound_ones_by_name():
    """By hand: what a reader of the name would say."""
    verdicts = {one.name: one.sound for one in FOUND.manifests}
    assert len(verdicts) == len(FOUND.manifests) > 60
    good = [name for name, sound in verdicts.items() if sound]
    assert good == [
        "as it is",
        "a label is whatever text it is",
        "other tools",
        "what has a default may be left away",
        "no network",
        "height and width",
        "a processor's feature",
        "an NPU's set",
        "one set alone",
    ]


@pytest.mark.parametrize("one", FOUND.images, ids=lambda one: one.name)
def test_images(one):
    expected = np.frombuffer(one.pixels, np.uint8).reshape(*one.spec.size, 3)
    found = ports.pixels(one.image, one.spec)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= one.within


def test_transparency_and_orientation_by_hand():
    by_name = {one.name: one for one in FOUND.images}
    grey = np.frombuffer(by_name["grey"].pixels, np.uint8).reshape(12, 12, 3)
    assert (grey == grey[..., :1]).all()
    lying = by_name["JPEG that lies on its side"]
    assert lying.spec.size == (20, 30)  # of 60 rows and 40 columns, which become columns and rows


def test_the_rule():
    for of in FOUND.rule:
        for one in of.vectors:
            assert vectors.problem(one, of) is None
