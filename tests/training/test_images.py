from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import psutil
import pytest
import torch

from edge_moe.checkpoint import Augment
from edge_moe.data import open_data
from edge_moe.errors import DataError
from edge_moe.training import images as module
from edge_moe.training.images import Images, batches, seed_everything
from tests.training.conftest import SIZE, Recorder, small_preprocessing, write_images

CPU = torch.device("cpu")


def test_a_batch_is_what_the_runtime_computes(images: Images) -> None:
    x, y = next(batches(images, 4, CPU, indices=[30, 0, 7, 0]))
    tensors = list(images.source.tensors(small_preprocessing()))
    expected = np.concatenate([tensors[i] for i in (30, 0, 7, 0)]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)
    assert y.tolist() == images.source.labels[[30, 0, 7, 0]].tolist()
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_all_images_in_order_by_default(images: Images) -> None:
    sizes, labels = zip(*((len(x), y) for x, y in batches(images, 16, CPU)), strict=True)
    assert sizes == (16, 16, 7)
    assert torch.cat(labels).tolist() == images.source.labels.tolist()


@pytest.mark.parametrize("augment", get_args(Augment))
def test_augmentation_follows_the_seed(images: Images, augment: Augment) -> None:
    def draw(seed: int) -> torch.Tensor:
        seed_everything(seed)
        return next(batches(images, 8, CPU, augment=augment))[0]

    first = draw(1)
    assert first.shape == (8, 3, SIZE, SIZE)
    assert torch.equal(first, draw(1))
    assert torch.equal(first, draw(2)) == (augment == "none")
    assert torch.equal(first, next(batches(images, 8, CPU))[0]) == (augment == "none")


@pytest.mark.parametrize("augment", get_args(Augment))
def test_images_that_are_no_squares(images: Images, augment: Augment) -> None:
    """Left half 0, right half 255: what is cut out and stretched keeps the edge near the middle, upright."""
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, 24:] = 255
    source = replace(images.source, sources=[pixels] * 8, labels=np.zeros(8, np.int64))
    spec = msgspec.structs.replace(small_preprocessing(), image_size=(24, 48), resize=(24, 48))
    seed_everything(0)
    found, _ = next(batches(Images(source, spec), 8, CPU, augment=augment))
    assert found.shape == (8, 3, 24, 48)
    if augment != "resized-crop-flip":  # a crop is moved by at most an eighth of the width
        edges = ((found[:, 0, 12] > 0).sum(dim=1) - 24).abs()
        assert edges.max() <= 6
        assert (edges.max() == 0) == (augment == "none")


def test_a_random_crop_keeps_the_proportions_of_the_image() -> None:
    """Against the image's own, the cut is stretched by at most 4/3, for a square as torchvision's default has it."""
    for size in ((30, 60), (60, 30), (32, 32)):
        resized = module._augmentation("resized-crop-flip", size).transforms[0]
        assert resized.size == size
        np.testing.assert_allclose(np.array(resized.ratio) * size[0] / size[1], [3 / 4, 4 / 3])


def test_one_key_one_sequence() -> None:
    def draw(*key: int) -> list[float]:
        seed_everything(*key)
        return torch.rand(3).tolist()

    assert draw(0, 3, 1) == draw(0, 3, 1)
    assert len({tuple(draw(*key)) for key in [(0, 3, 1), (0, 1, 3), (1, 3, 1), (0, 3), (0, 3, 2)]}) == 5


def test_images_that_do_not_fit_in_memory_are_read_each_time(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY_BYTES", len(images) * SIZE * SIZE * 3 - 1)
    recorder = Recorder()
    lazy = Images(images.source, small_preprocessing(), recorder)
    assert recorder.steps == {}
    for (a, y), (b, z) in zip(batches(lazy, 16, CPU), batches(images, 16, CPU), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(y, z)


def test_reading_is_reported(images: Images) -> None:
    recorder = Recorder()
    Images(images.source, small_preprocessing(), recorder)
    assert list(recorder.steps.values()) == [[39, 0, 39]]


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    write_images(tmp_path, ("a",), {"train": 2}, mode="L")
    x, _ = next(batches(Images(open_data(tmp_path, "train"), small_preprocessing()), 2, CPU))
    assert x.std() > 0
    assert torch.equal(x[:, 0], x[:, 1])
    assert torch.equal(x[:, 0], x[:, 2])


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, ("a",), {"train": 1})
    (tmp_path / "train" / "a" / "zz.png").write_text("not an image")
    with pytest.raises(DataError, match=r"zz\.png is not an image"):
        Images(open_data(tmp_path, "train"), small_preprocessing())


# --- processes that decode ---


# JAX, which LiteRT's exporter brings into this process where another test converts, warns of every fork.
@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
def test_a_process_that_decodes_names_the_file_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY_BYTES", 0)
    write_images(tmp_path, ("a",), {"train": 3})
    (tmp_path / "train" / "a" / "zz.png").write_text("not an image")
    images = Images(open_data(tmp_path, "train"), small_preprocessing())
    found = batches(images, 3, CPU, workers=1)
    assert len(next(found)[1]) == 3
    with pytest.raises(DataError, match=r"zz\.png is not an image") as caught:
        next(found)
    assert "\n" not in str(caught.value)


DECODING = """
import sys
sys.path.insert(0, {root!r})
import torch
from edge_moe.data import open_data
from edge_moe.training import images
from tests.training.conftest import small_preprocessing
images._MEMORY_BYTES = 0
found = images.batches(
    images.Images(open_data({folder!r}, "train"), small_preprocessing()), 4, torch.device("cpu"), workers=2
)
next(found)
print("started", flush=True)
sys.stdin.read()
"""


def test_processes_that_decode_end_with_a_killed_training(folder: Path) -> None:
    code = DECODING.format(root=str(Path(__file__).parents[2]), folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            workers = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=3)[1] == []  # torch looks every five seconds
