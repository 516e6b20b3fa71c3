"""Every kind of image becomes the right tensor, and what is no image says so."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_moe import UsageError
from edge_moe.bundle import Preprocessing
from edge_moe.preprocess import normalize, prepare, resize_crop

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


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_tiny_and_narrow(size):
    found = prepare(Image.new("RGB", size, (255, 0, 0)), spec(224, 256))
    assert found.shape == (1, 224, 224, 3)
    assert (found == [1, 0, 0]).all()


def test_twenty_megapixels(tmp_path):
    Image.new("RGB", (5000, 4000), (0, 0, 255)).save(tmp_path / "large.jpg")
    found = prepare(tmp_path / "large.jpg", spec(32, 36))
    np.testing.assert_allclose(found[0, 0, 0], [0, 0, 1], atol=0.02)


def test_resize_below_the_crop():
    with pytest.raises(UsageError, match="resize is 6; expected at least image_size, which is 8"):
        resize_crop(Image.new("RGB", (9, 9)), spec(8, 6))
