"""Sizes of one number or two."""

from __future__ import annotations

import gc

import msgspec
import pytest

from edge_moe import UsageError
from edge_moe.bundle import Preprocessing
from edge_moe.sizes import height_width, parse_size, resize_problem, short_size_text, size_text


@pytest.mark.parametrize(
    ("text", "size", "sides", "words", "short"),
    [
        ("224", 224, (224, 224), "224 x 224", "224"),
        ("224x320", (224, 320), (224, 320), "224 x 320", "224 x 320"),
        ("96X64", (96, 64), (96, 64), "96 x 64", "96 x 64"),
        ("64x64", (64, 64), (64, 64), "64 x 64", "64"),
    ],
)
def test_texts(text, size, sides, words, short):
    assert parse_size(text, "resize") == size
    assert (height_width(size), size_text(size), short_size_text(size)) == (sides, words, short)


@pytest.mark.parametrize("text", ["", "x", "224x", "1x2x3", "224.0", "224,320", "224*320", "wide"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match=r"resize is .*; expected pixels, as 224, or height and width, as 224x320"):
        parse_size(text, "resize")


@pytest.mark.parametrize(
    ("resize", "crop", "problem"),
    [
        (8, 8, None),
        ((8, 9), (8, 9), None),
        (9, (8, 9), None),
        (7, 8, "resize is 7; expected at least image_size, which is 8"),
        (8, (8, 9), "resize is 8; expected at least the longer side of image_size, which is 8 x 9"),
        ((8, 8), (8, 9), "resize is 8 x 8; expected at least image_size, which is 8 x 9"),
        ((7, 20), 8, "resize is 7 x 20; expected at least image_size, which is 8"),
    ],
)
def test_a_crop_must_fit_into_every_picture(resize, crop, problem):
    assert resize_problem(resize, crop) == problem


def test_a_stored_size_is_a_number_or_two():
    """And reading one does not crash: msgspec's garbage collection does on a union with a tuple of fixed length."""

    def read(**sizes):
        fields = {"mean": (0, 0, 0), "std": (1, 1, 1), "image_size": 8, "resize": 9}
        return msgspec.json.decode(msgspec.json.encode(fields | sizes), type=Preprocessing)

    assert (read().image_size, read().size, read().resize) == (8, (8, 8), 9)
    found = read(image_size=[8, 12], resize=[9, 14])
    assert (found.image_size, found.size, found.resize) == ((8, 12), (8, 12), (9, 14))
    assert msgspec.json.encode(read(resize=[8, 8])).startswith(b'{"image_size":8,"resize":[8,8],')
    for wrong in (0, -1, "8", 8.5, None, [8], [8, 8, 8], [8, 0], {}):
        with pytest.raises(msgspec.ValidationError):
            read(image_size=wrong)
        gc.collect()
