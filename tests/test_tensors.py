"""Input tensors to go through more than once, whether or not the pixels are kept."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import DataError, tensors
from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages
from edge_moe.tensors import Tensors

SPEC = Preprocessing(image_size=4, resize=5, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
    return LabelledImages("five", (), list(pixels), np.zeros(5, np.int64))


@pytest.fixture
def decoded(monkeypatch):
    """The indices that were decoded, in order."""
    seen: list[int] = []
    real = LabelledImages.pixels
    monkeypatch.setattr(LabelledImages, "pixels", lambda self, i, spec: (seen.append(i), real(self, i, spec))[1])
    return seen


@pytest.mark.parametrize(("memory", "reads"), [(5 * 4 * 4 * 3, 5), (5 * 4 * 4 * 3 - 1, 12)])
def test_the_same_tensors_kept_or_decoded_anew(images, decoded, monkeypatch, memory, reads):
    monkeypatch.setattr(tensors, "_MEMORY_BYTES", memory)
    expected = list(images.tensors(SPEC))
    decoded.clear()
    found = Tensors(images, SPEC)
    assert len(found) == 5
    for _ in range(2):
        for x, y in zip(found, expected, strict=True):
            assert (x.shape, x.dtype) == ((1, 4, 4, 3), np.float32)
            np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(found[3], expected[3])
    np.testing.assert_array_equal(found[0], expected[0])
    assert len(decoded) == reads


@pytest.mark.parametrize("index", [-1, 5])
def test_there_is_nothing_outside(images, index):
    with pytest.raises(IndexError):
        Tensors(images, SPEC)[index]


def test_reading_is_reported(images):
    class Recorder:
        steps: list[object]

        def __init__(self):
            self.steps = []

        def start(self, name, total, done=0):
            self.steps.append((name, total))

        def advance(self, name, note=""):
            self.steps.append(name)

    recorder = Recorder()
    Tensors(images, SPEC, recorder)
    assert recorder.steps == [("reading images", 5), *["reading images"] * 5]


def test_a_file_that_is_no_image_is_named_at_once(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"words")
    with pytest.raises(DataError, match=r"bad\.png is not an image"):
        Tensors(LabelledImages("one", (), [bad], np.zeros(1, np.int64)), SPEC)
