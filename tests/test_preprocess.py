"""Every kind of image becomes the right tensor, and what is no image says so."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edge_moe import DataError, UsageError
from edge_moe.bundle import Preprocessing
from edge_moe.preprocess import load_image, normalize, prepare, resize_crop, to_rgb

SPEC = Preprocessing(image_size=8, resize=10, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def spec(size, resize=None, interpolation="bilinear"):
    return Preprocessing(
        image_size=size, resize=resize or size, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation
    )


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def pixel(image):
    return image.getpixel((0, 0))


def test_normalize_by_hand():
    pixels = np.array([[[0, 255, 51]]], np.uint8)
    expected = [-0.485 / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    found = normalize(pixels, SPEC)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(normalize(pixels[np.newaxis], SPEC)[0], found)


def test_resize_by_hand():
    # 4x2 halves to 2x1 in each axis: with antialias a triangle over two source pixels each side.
    image = Image.fromarray(np.array([[0, 0, 200, 200]] * 4, np.uint8)).convert("RGB")
    found = resize_crop(image, spec(2))[:, :, 0]
    # Weights of columns 0..3 for the first column: (0.75, 0.75, 0.25) / 1.75 on columns 0, 1, 2.
    assert found.tolist() == [[29, 171], [29, 171]]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(40, 60), (61, 40), (33, 33), (5, 9), (8, 8)])
def test_equals_resizing_the_whole_and_then_cropping(shape, interpolation):
    # Away from 0 and 255: Pillow may go across or down first, and clips in between where bicubic overshoots.
    image = Image.fromarray(80 + noise(*shape) // 3)
    wanted = spec(24, 32, interpolation)
    height, width = shape
    short = min(shape)
    new_w, new_h = (32 if s == short else int(32 * s / short) for s in (width, height))
    whole = image.resize((new_w, new_h), Image.Resampling[interpolation.upper()])
    left, top = round((new_w - 24) / 2), round((new_h - 24) / 2)
    expected = np.asarray(whole.crop((left, top, left + 24, top + 24)), np.int16)
    found = resize_crop(image, wanted).astype(np.int16)
    if interpolation == "nearest":
        assert (found == expected).mean() > 0.98  # a sample exactly between two pixels may go either way
    else:
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("shape", [(40, 60), (61, 40), (9, 5)])
def test_equals_torchvision(shape):
    torchvision = pytest.importorskip("edge_moe.nn.torchvision", reason="needs the train extra")
    try:
        transforms = torchvision.torchvision.transforms
    except AttributeError:
        transforms = pytest.importorskip("torchvision.transforms")
    image = Image.fromarray(noise(*shape))
    pipeline = transforms.Compose(
        [
            transforms.Resize(SPEC.resize),
            transforms.CenterCrop(SPEC.image_size),
            transforms.ToTensor(),
            transforms.Normalize(SPEC.mean, SPEC.std),
        ]
    )
    expected = pipeline(image).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(prepare(image, SPEC)[0], expected, atol=1.01 / 255 / 0.22)


def torchvision_transforms():
    torchvision = pytest.importorskip("edge_moe.nn.torchvision", reason="needs the train extra")
    assert torchvision
    return pytest.importorskip("torchvision.transforms")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("seed", range(12))
def test_any_size_equals_torchvision(seed, interpolation):
    """Squashed or in proportion, square or not, larger or smaller."""
    transforms = torchvision_transforms()
    rng = np.random.default_rng(seed)
    height, width, crop_height, crop_width = (int(n) for n in rng.integers(8, 90, 4))
    by = int(rng.integers(0, 20))
    squash = (crop_height + by, crop_width + int(rng.integers(0, 20)))
    in_proportion = max(crop_height, crop_width) + by
    # Away from 0 and 255: Pillow may go across or down first, and clips in between where bicubic overshoots.
    image = Image.fromarray(80 + noise(height, width, seed=seed) // 3)
    for resize in (squash, in_proportion, (crop_height, crop_width)):
        wanted = spec((crop_height, crop_width), resize, interpolation)
        mode = transforms.InterpolationMode(interpolation)
        pipeline = [transforms.Resize(resize, mode), transforms.CenterCrop((crop_height, crop_width))]
        expected = np.asarray(transforms.Compose(pipeline)(image), np.int16)
        found = resize_crop(image, wanted).astype(np.int16)
        assert found.shape == (crop_height, crop_width, 3)
        if resize == (crop_height, crop_width):
            # Across first, then down, whatever Pillow prefers.
            steps = [transforms.Resize(size, mode) for size in ((height, crop_width), resize)]
            exact = expected if interpolation == "nearest" else np.asarray(transforms.Compose(steps)(image), np.int16)
            np.testing.assert_array_equal(found, exact)
        elif interpolation == "nearest":
            assert (found == expected).mean() > 0.9  # a sample exactly between two pixels may go either way
        else:
            # A level of 255, from rounding between the two passes; two of them, one pixel in a million.
            off = np.abs(found - expected)
            assert off.max() <= 2
            assert (off > 1).mean() < 1e-3


def test_squashing_by_hand():
    """Two pixels across, four down: each column becomes one pixel, whatever the proportions were."""
    image = Image.fromarray(np.array([[0, 100]] * 4, np.uint8)).convert("RGB")
    found = resize_crop(image, spec((1, 2), (1, 2), "nearest"))[:, :, 0]
    assert found.tolist() == [[0, 100]]
    # In proportion, the shorter side of 2 stays 2: four down, of which the middle two are kept.
    rows = Image.fromarray(np.array([[0, 0], [10, 10], [20, 20], [30, 30]], np.uint8)).convert("RGB")
    assert resize_crop(rows, spec(2, 2))[:, 0, 0].tolist() == [10, 20]
    assert resize_crop(rows, spec(2, (2, 2), "nearest"))[:, 0, 0].tolist() == [10, 30]


def test_a_tensor_that_is_no_square():
    assert prepare(noise(30, 50), spec((10, 16), (12, 20))).shape == (1, 10, 16, 3)


def test_prepare_is_the_same_for_file_array_and_image(tmp_path):
    pixels = noise(20, 30)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    found = prepare(tmp_path / "image.png", SPEC)
    assert found.shape == (1, 8, 8, 3)
    assert found.dtype == np.float32
    for source in (str(tmp_path / "image.png"), pixels, Image.fromarray(pixels)):
        np.testing.assert_array_equal(prepare(source, SPEC), found)


def test_the_crop_is_writable_and_owned():
    assert resize_crop(Image.fromarray(noise(9, 9)), SPEC).flags.writeable


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


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_tiny_and_narrow(size):
    found = prepare(Image.new("RGB", size, (255, 0, 0)), spec(224, 256))
    assert found.shape == (1, 224, 224, 3)
    assert (found == [1, 0, 0]).all()


def test_twenty_megapixels(tmp_path):
    Image.new("RGB", (5000, 4000), (0, 0, 255)).save(tmp_path / "large.jpg")
    found = prepare(tmp_path / "large.jpg", spec(32, 36))
    np.testing.assert_allclose(found[0, 0, 0], [0, 0, 1], atol=0.02)


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


def test_resize_below_the_crop():
    with pytest.raises(UsageError, match="resize is 6; expected at least image_size, which is 8"):
        resize_crop(Image.new("RGB", (9, 9)), spec(8, 6))
