"""The cluttered digits: split by original, the same everywhere, and what their name says."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from edge_moe import embedded
from edge_moe.data import LabelledImages, open_data
from edge_moe.embedded import CLUTTERED, DIGITS, EMBEDDED, NOISE

SPLITS = ("train", "val")


@pytest.fixture(scope="module")
def cluttered() -> dict[str, LabelledImages]:
    return {split: open_data(CLUTTERED, split, strict=split == "train") for split in SPLITS}


def test_the_table_of_names() -> None:
    assert tuple(EMBEDDED) == (DIGITS, CLUTTERED, NOISE) == ("digits", "cluttered-digits", "noise")
    for name in EMBEDDED:
        assert open_data(name, "val").name == name


def test_versions_of_a_digit_stay_on_its_side(cluttered: dict[str, LabelledImages]) -> None:
    train, val = cluttered["train"], cluttered["val"]
    assert (len(set(train.groups)), len(set(val.groups))) == (1437, 360)
    assert set(train.groups).isdisjoint(val.groups)
    for split, data in cluttered.items():
        plain = open_data(DIGITS, split)
        _, counts = np.unique(data.groups, return_counts=True)
        assert set(counts) == {len(data) // len(plain)}
        each = len(data) // len(plain)
        assert np.array_equal(data.labels, np.repeat(plain.labels, each))
        assert data.classes == plain.classes
        assert all(image.shape == (32, 32, 3) and image.dtype == np.uint8 for image in data.sources)
    assert len(val) >= 1500


def test_every_image_is_another(cluttered: dict[str, LabelledImages]) -> None:
    seen = {image.tobytes() for data in cluttered.values() for image in data.sources}
    assert len(seen) == sum(map(len, cluttered.values()))


def test_the_clutter_of_one_split_is_cut_from_that_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the digits of the split goes into its images."""
    before = open_data(CLUTTERED, "val").sources
    stored = embedded._stored

    def others_blank(split: str):  # the levels of the other side cannot be asked for
        assert split == "val"
        return stored(split)

    monkeypatch.setattr(embedded, "_stored", others_blank)
    embedded._cluttered.cache_clear()
    assert np.array_equal(before, open_data(CLUTTERED, "val").sources)


def test_the_same_on_every_processor(cluttered: dict[str, LabelledImages]) -> None:
    """Integers alone: every bit is part of the data set's definition. A change changes every figure of the demo."""
    found = {s: hashlib.sha256(np.stack(d.sources).tobytes()).hexdigest()[:16] for s, d in cluttered.items()}
    assert found == {"train": "3b974c356888a2d7", "val": "904b014858d59622"}


def test_a_version_lies_where_its_turn_says() -> None:
    """A quarter of the plane that is asked for: the middle stays the middle, whatever the turn."""

    class Same:
        """Draws a given number."""

        def __init__(self, *values: int) -> None:
            self.values = list(values)

        def integers(self, low, high, shape, dtype):
            return np.full(shape, self.values.pop(0), dtype)

    # Size 16 pixels: half a pixel of the digit each; no slant, no shift; tan(angle / 2) = 1/2, so cos .6 and sin .8.
    across, down = embedded._placed(1, (1, 2), 512, 0, Same(16 << 4, 512, 0, 0))
    x, y = np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5)
    np.testing.assert_allclose(across[0] / 256, (0.6 * x + 0.8 * y) / 2 + 3.5, atol=0.02)
    np.testing.assert_allclose(down[0] / 256, (0.6 * y - 0.8 * x) / 2 + 3.5, atol=0.02)


def test_paint_is_bilinear_and_blank_outside() -> None:
    class Full:
        def integers(self, low, high, shape, dtype):
            return np.full(shape, 256, dtype)

    shapes = np.zeros((1, 8, 8), np.int32)
    shapes[0, 2, 3], shapes[0, 2, 4] = 16, 8
    columns = np.array([3 << 8, (3 << 8) + 128, 4 << 8, 5 << 8, -5000, 5000], np.int32)
    place = (columns[np.newaxis, np.newaxis], np.full((1, 1, 6), 2 << 8, np.int32))
    found = embedded._paint(
        np.full((1, 1, 6, 3), 100, np.int32), shapes, place, np.array([[200, 100, 0]], np.int32), Full()
    )
    assert found[0, 0, :, 0].tolist() == [200, 175, 150, 100, 100, 100]
    assert found[0, 0, :, 1].tolist() == [100] * 6
    assert found[0, 0, :, 2].tolist() == [0, 25, 50, 100, 100, 100]


def test_samples_keep_their_groups(cluttered: dict[str, LabelledImages]) -> None:
    data = cluttered["val"]
    some = data.sample(50, seed=3)
    where = [next(i for i, one in enumerate(data.sources) if one is image) for image in some.sources]
    assert np.array_equal(some.groups, data.groups[where])
    relabelled = some.with_classes(tuple(reversed(data.classes)))
    assert np.array_equal(relabelled.groups, some.groups)
    assert np.array_equal(relabelled.labels, 9 - some.labels)
    assert open_data(DIGITS, "val").groups is None
    assert dataclasses.replace(data, groups=None).sample(5).groups is None
