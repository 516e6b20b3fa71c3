"""Files that are no images: named all at once, or left out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_moe import DataError
from edge_moe.bundle import Preprocessing
from edge_moe.data import open_data
from edge_moe.training import images as training_images
from edge_moe.training.images import Images
from edge_moe.training.readable import readable

SPEC = Preprocessing(image_size=8, resize=8, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.effect_noise((9, 9), 50).save(tmp_path / name / f"{number}.png")
    return tmp_path


def spoil(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"no image")


@pytest.mark.parametrize("workers", [0, 2])
def test_all_are_named_at_once(folder, workers):
    assert readable(open_data(folder, "val"), SPEC, workers=workers).sources == open_data(folder, "val").sources
    spoil(folder, "a/1.png", "c/0.png")
    with pytest.raises(DataError, match=r"^2 of 12 files of .* cannot be read: ") as caught:
        readable(open_data(folder, "val"), SPEC, workers=workers)
    assert f"{folder}/a/1.png is not an image, {folder}/c/0.png is not an image; mend" in str(caught.value)
    assert "--leave-out-unreadable" in str(caught.value)


def test_of_many_the_first_are_named(folder):
    spoil(folder, *(f"{name}/{number}.png" for name in "ab" for number in range(4)))
    with pytest.raises(DataError, match=r"^8 of 12 files .*a/0\.png.*b/0\.png is not an image, and 3 more; mend"):
        readable(open_data(folder, "val"), SPEC)


def test_they_are_left_out_with_a_note(folder):
    spoil(folder, "a/1.png", "c/0.png")
    found = readable(open_data(folder, "val"), SPEC, leave_out=True)
    assert len(found) == 10
    assert found.labels.tolist() == [0] * 3 + [1] * 4 + [2] * 3
    assert {folder / "a/1.png", folder / "c/0.png"}.isdisjoint(found.sources)
    assert found.notes[-1].startswith(f"{folder}: 2 of 12 files cannot be read and are left out: {folder}/a/1.png is")
    assert len(list(found.tensors(SPEC))) == 10


def test_a_class_without_any_is_an_error(folder):
    spoil(folder, *(f"b/{number}.png" for number in range(4)))
    with pytest.raises(DataError, match=r"of the class 'b' of .* no image can be read.*b/0\.png is not an image"):
        readable(open_data(folder, "val"), SPEC, leave_out=True)


def test_images_that_are_kept_in_memory_are_named_too(folder):
    spoil(folder, "a/1.png", "c/0.png")
    with pytest.raises(DataError, match=r"^2 of 12 files"):
        Images(open_data(folder, "val"), SPEC)


def test_one_file_is_told_as_ever(folder, monkeypatch):
    spoil(folder, "a/1.png")
    message = (
        r"a/1\.png is not an image; expected an image such as \.jpg or \.png: convert it or leave it out, "
        "or train without it, with --leave-out-unreadable$"
    )
    with pytest.raises(DataError, match=message):
        Images(open_data(folder, "val"), SPEC)
    monkeypatch.setattr(training_images, "_MEMORY_BYTES", 0)
    assert not training_images.fits_in_memory(open_data(folder, "val"), SPEC)
    with pytest.raises(DataError, match=message):
        readable(open_data(folder, "val"), SPEC)


def test_arrays_are_images():
    images = open_data("noise", "val").sample(5)
    assert readable(images, SPEC) is images
    assert isinstance(images.sources[0], np.ndarray)
