"""Every kind of image is decoded, and what is no image says so."""

from __future__ import annotations

import io
import os
import socket

import numpy as np
import pytest
from PIL import Image

from edge_moe import DataError
from edge_moe.decode import load_image, to_rgb
from edge_moe.preprocess import prepare
from tests.test_preprocess import SPEC, noise, pixel


def test_grey():
    grey = noise(6, 7, 1)
    for source in (grey, grey[:, :, 0], Image.fromarray(grey[:, :, 0])):
        np.testing.assert_array_equal(np.asarray(to_rgb(source)), np.repeat(grey, 3, axis=2))
    assert pixel(to_rgb(Image.new("1", (1, 1), 1))) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey(tmp_path, suffix):
    pixels = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / f"deep.{suffix}")
    found = np.asarray(load_image(tmp_path / f"deep.{suffix}"))
    assert found[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_sixteen_bit_grey_that_pillow_reads_as_mode_i(tmp_path):
    # A grey map of 16 bits is mode I in every version of Pillow, a PNG in old ones.
    (tmp_path / "deep.pgm").write_bytes(b"P5 4 1 65535\n" + np.array([0, 257, 32768, 65535], ">u2").tobytes())
    with Image.open(tmp_path / "deep.pgm") as image:
        assert image.mode == "I"
    found = np.asarray(load_image(tmp_path / "deep.pgm"))
    assert found[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]
    (tmp_path / "less.pgm").write_bytes(b"P5 2 1 1000\n" + np.array([500, 1000], ">u2").tobytes())
    assert np.asarray(load_image(tmp_path / "less.pgm"))[0, :, 0].tolist() == [128, 255]


@pytest.mark.parametrize("value", [200, 65535, 70000])
def test_thirty_two_bit_grey_is_refused(tmp_path, value):
    # 200 would come out as black, where somebody stored 8-bit pixels with more bits.
    image = Image.fromarray(np.full((4, 4), value, np.int32))
    image.save(tmp_path / "deep.tif")
    for source in (image, tmp_path / "deep.tif"):
        with pytest.raises(DataError, match="has 32-bit integer pixels, whose range is not known; expected 8 or 16"):
            to_rgb(source)


def test_float_grey_is_refused():
    with pytest.raises(DataError, match="has float pixels, whose range is not known; expected 8 or 16"):
        to_rgb(Image.fromarray(np.array([[0.5]], np.float32)))


def test_alpha_goes_on_white():
    assert pixel(to_rgb(Image.new("RGBA", (1, 1), (10, 20, 30, 0)))) == (255, 255, 255)
    assert pixel(to_rgb(Image.new("RGBA", (1, 1), (10, 20, 30, 255)))) == (10, 20, 30)
    assert pixel(to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 51)))) == (204, 204, 204)
    assert pixel(to_rgb(Image.new("LA", (1, 1), (7, 0)))) == (255, 255, 255)
    assert pixel(to_rgb(np.array([[[0, 0, 0, 51]]], np.uint8))) == (204, 204, 204)


def test_every_row_of_a_high_image_goes_on_white():
    pixels = noise(150, 3, 4)  # more rows than are worked on at once, and no multiple of them
    image = Image.fromarray(pixels)
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_array_equal(np.asarray(to_rgb(pixels)), np.asarray(whole))


@pytest.mark.parametrize("key", [0, b"\x00\xff"])
def test_palette(tmp_path, key):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "opaque.png")
    assert np.asarray(load_image(tmp_path / "opaque.png"))[0].tolist() == [[255, 0, 0], [0, 255, 0]]
    image.save(tmp_path / "holes.png", transparency=key)
    assert np.asarray(load_image(tmp_path / "holes.png"))[0].tolist() == [[255, 255, 255], [0, 255, 0]]


@pytest.mark.parametrize(("mode", "colour", "expected"), [("RGB", (9, 9, 9), 255), ("L", 9, 255)])
def test_a_transparent_colour(tmp_path, mode, colour, expected):
    Image.new(mode, (1, 1), colour).save(tmp_path / "key.png", transparency=colour)
    assert pixel(load_image(tmp_path / "key.png")) == (expected,) * 3


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    red, green, blue = pixel(load_image(tmp_path / "red.jpg"))
    assert red > 250
    assert max(green, blue) < 5


def test_exif_orientation(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: white comes to the top
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    expected = np.zeros((16, 8, 3), np.uint8)
    expected[:8] = 255
    found = load_image(tmp_path / "turned.jpg")
    np.testing.assert_allclose(np.asarray(found, np.int16), expected, atol=3)
    with Image.open(tmp_path / "turned.jpg") as image:
        np.testing.assert_array_equal(np.asarray(to_rgb(image)), np.asarray(found))


def test_malformed_exif_is_no_obstacle(tmp_path):
    Image.fromarray(noise(8, 8)).save(tmp_path / "odd.jpg", exif=b"Exif\x00\x00nonsense")
    assert load_image(tmp_path / "odd.jpg").size == (8, 8)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(load_image(tmp_path / "a.gif")) == (255, 0, 0)


def encoded(file_format):
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; expected an image"),
        (b"hello", "is not an image; expected an image"),
        (encoded("JPEG")[:700], "cannot be decoded: .*truncated"),
        (encoded("PNG")[:700], "cannot be decoded"),
        (encoded("PNG")[:20], "(is not an image|cannot be)"),
        (encoded("GIF")[:700], "(is not an image|cannot be decoded)"),
        (encoded("BMP")[:700], "cannot be decoded"),
    ],
)
def test_files_that_are_no_images(tmp_path, data, message):
    file = tmp_path / "file.jpg"
    file.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        load_image(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jpg does not exist; expected an image"):
        load_image(tmp_path / "nothing.jpg")
    with pytest.raises(DataError, match="is a folder; expected an image"):
        load_image(tmp_path)


@pytest.mark.parametrize("limit", [10, 60])
def test_decompression_bomb(tmp_path, monkeypatch, limit):
    # Pillow warns above the limit and raises above twice the limit: both are refused.
    Image.new("RGB", (10, 10)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=f"is too large; expected at most {limit} pixels"):
        load_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "dtype float32; .*use predict_tensor"),
        (np.zeros((8, 8), np.int64), "dtype int64; expected a uint8 array"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \[8, 8, 2\]; expected a uint8 array"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \[3, 8, 8\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"shape \[1, 8, 8, 3\]"),
        (np.zeros(8, np.uint8), r"shape \[8\]"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \[0, 8, 3\]"),
        ([[1, 2], [3, 4]], "cannot read an image from list"),
        (None, "cannot read an image from NoneType"),
    ],
)
def test_arrays_that_are_no_images(source, message):
    with pytest.raises(DataError, match=message):
        prepare(source, SPEC)


def test_an_image_without_pixels():
    with pytest.raises(DataError, match="has no pixels"):
        to_rgb(Image.new("RGB", (0, 4)))


def test_a_files_bytes_and_streams_are_images_too(tmp_path):
    Image.fromarray(noise(20, 30)).save(tmp_path / "image.png")
    data = (tmp_path / "image.png").read_bytes()
    expected = np.asarray(load_image(tmp_path / "image.png"))
    with (tmp_path / "image.png").open("rb") as stream:
        for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), stream):
            np.testing.assert_array_equal(np.asarray(to_rgb(source)), expected)
    with pytest.raises(DataError, match=r"^the data is not an image; expected"):
        to_rgb(b"nothing")


def test_what_cannot_be_read_to_its_end_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a socket's short name is
    os.mkfifo("pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.png")
        for name, words in {
            "pipe.png": "is no file but a pipe",
            "socket.png": "is no file but a socket",
            "/dev/zero": "is no file but a device",
            "link.png": "is a link to nowhere.png, which does not exist",
            "loop.png": "cannot be read: Too many levels",
            "a" * 5000: "cannot be read: File name too long",
            "nul\0.png": "cannot be read: embedded null",
            "pipe.png/under": "does not exist",
        }.items():
            with pytest.raises(DataError, match=words):
                load_image(name)


def gradient(width, height):
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("limit", "expected"), [(2400, (60, 40)), (2399, (30, 20)), (599, (15, 10)), (149, (8, 5)), (40, (8, 5))]
)
def test_a_large_jpeg_is_decoded_reduced(tmp_path, monkeypatch, limit, expected):
    """Above Pillow's limit, and above twice that, where Pillow itself refuses."""
    whole = gradient(60, 40)
    whole.save(tmp_path / "large.jpg", quality=95, subsampling=0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for source in (tmp_path / "large.jpg", (tmp_path / "large.jpg").read_bytes()):
        found = load_image(source)
        assert found.size == expected
        wanted = np.asarray(whole.resize(expected, Image.Resampling.BOX), np.int16)
        assert np.abs(np.asarray(found, np.int16) - wanted).mean() < 6


def test_a_jpeg_that_is_too_large_at_an_eighth_is_refused(tmp_path, monkeypatch):
    gradient(60, 40).save(tmp_path / "large.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(DataError, match="is too large; expected at most 1,920 pixels of a JPEG: make it smaller"):
        load_image(tmp_path / "large.jpg")


def test_what_says_that_it_is_huge_is_not_gone_over(tmp_path):
    """Two numbers in the header are no billion pixels."""
    gradient(60, 40).save(tmp_path / "huge.jpg")
    data = bytearray((tmp_path / "huge.jpg").read_bytes())
    start = data.index(b"\xff\xc0") + 5  # height and width in the header of the frame
    data[start : start + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(DataError, match="is too large; expected"):
        load_image(bytes(data))


@pytest.mark.parametrize("error", [ValueError, NotImplementedError, RuntimeError, AttributeError, MemoryError])
def test_whatever_a_plugin_raises_is_one_line(tmp_path, monkeypatch, error):
    def broken(*_, **__):
        raise error("of the plugin")

    gradient(6, 4).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(DataError, match=r"a\.png cannot be read: of the plugin; expected an image"):
        load_image(tmp_path / "a.png")


def test_a_stream_that_cannot_go_back_is_read_first(tmp_path, monkeypatch):
    class Once:
        """A stream as of a socket."""

        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self._data.read(size)

    gradient(60, 40).save(tmp_path / "large.jpg")
    data = (tmp_path / "large.jpg").read_bytes()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # so that it is opened twice
    np.testing.assert_array_equal(np.asarray(load_image(Once(data))), np.asarray(load_image(data)))
