"""What images are known by: their pixels, whatever their files are called, in whatever order."""

from __future__ import annotations

import hashlib

import numpy as np

from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages
from edge_moe.fingerprints import fingerprint, images_digest
from edge_moe.tensors import Tensors

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
SPEC = Preprocessing(image_size=6, resize=6, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_the_pixels_alone():
    assert fingerprint(PIXELS[0]) == hashlib.sha256(PIXELS[0].tobytes()).hexdigest()[:12]
    assert fingerprint(PIXELS[0][:, ::-1][:, ::-1]) == fingerprint(PIXELS[0])  # whatever its strides
    other = PIXELS[0].copy()
    other[3, 3, 1] ^= 1
    assert fingerprint(other) != fingerprint(PIXELS[0])


def test_in_whatever_order():
    names = [fingerprint(one) for one in PIXELS]
    assert (
        images_digest(names)
        == images_digest(reversed(names))
        == hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()
    )
    assert images_digest(names) != images_digest(names[:3])


def test_tensors_know_their_images_kept_or_not(monkeypatch):
    images = LabelledImages("four", (), list(PIXELS), np.zeros(4, np.int64))
    expected = tuple(fingerprint(one) for one in PIXELS)
    assert Tensors(images, SPEC).fingerprints == expected
    monkeypatch.setattr("edge_moe.tensors._MEMORY_BYTES", 0)
    found = Tensors(images, SPEC)
    found[2]
    real, decoded = LabelledImages.pixels, []
    monkeypatch.setattr(LabelledImages, "pixels", lambda self, i, spec: (decoded.append(i), real(self, i, spec))[1])
    assert found.fingerprints == expected
    assert sorted(decoded) == [0, 1, 3]  # what was seen before is not decoded again
    assert found.fingerprints == expected and len(decoded) == 3
