"""train and convert with weights that somebody gives: preprocessing, stem stride, and the accuracy before the work."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from edge_moe.checkpoint import read_config
from edge_moe.data import open_data
from edge_moe.nn import Architecture, build_base
from edge_moe.training.checkpoint import load_checkpoint, read_weights
from edge_moe.training.preflight import check_mixture
from tests.tiny import CLASSES, tree

FAST = ("--epochs", 1, "--expert-epochs", 1, "--experts", 1, "--jobs", 1, "--finetune", "none")


@pytest.fixture(scope="module")
def base_accuracy(tiny_checkpoint, tiny_images):
    found = check_mixture(load_checkpoint(tiny_checkpoint), open_data(tiny_images, "val"))
    return found.right["base"] / found.images


@pytest.fixture
def weights(tiny_checkpoint, tmp_path):
    """The file of a base, alone."""
    (tmp_path / "w").mkdir()
    return shutil.copy(tiny_checkpoint / "base.safetensors", tmp_path / "w/base.safetensors")


def test_weights_of_others_are_of_the_stock_network(cli, weights, tiny_images, tmp_path, base_accuracy):
    """Its first convolution strides by 2 at any size; with what it was trained with, it is as accurate as it was."""
    given = ("--base-weights", weights, "--image-size", 32, *FAST)
    done = cli("train", tiny_images, *given, "-o", tmp_path / "stock")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].endswith("stem stride 2 (assumed: torchvision's)")
    assert read_config(tmp_path / "stock").architecture.stem_stride == 2
    more = ("--mean", 0.5, "--std", 0.25, "--stem-stride", 1, "--expect-accuracy", 100 * base_accuracy)
    done = cli("train", tiny_images, *given, *more, "-o", tmp_path / "right")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].startswith(f"fp32 accuracy: base {base_accuracy:.2%} (95% interval")
    config = read_config(tmp_path / "right")
    assert config.metrics["base_accuracy"] == base_accuracy
    assert (config.preprocessing.mean, config.preprocessing.std) == ((0.5,) * 3, (0.25,) * 3)


def test_from_scratch_small_images_keep_their_size(cli, tiny_images, tmp_path):
    more = ("--image-size", "16x24", "--epochs", 1, "--expert-epochs", 1, "-k", 1, "--augment", "resized-crop-flip")
    done = cli("train", tiny_images, *more, "-o", tmp_path / "scratch")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].startswith(
        "images: resized to 16 x 24, bilinear (default); cut to 16 x 24 (given); "
    )
    assert "fp32 accuracy" not in done.out
    config = read_config(tmp_path / "scratch")
    assert (config.architecture.stem_stride, config.architecture.image_size) == (1, (16, 24))


def test_a_config_beside_the_weights_is_believed(cli, tiny_checkpoint, tiny_images, tmp_path, base_accuracy):
    """Its labels too, where they are the data's in another order: the rows of the classifier are theirs."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "source")
    order = (2, 0, 1)
    turned = [CLASSES[i] for i in order]
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"labels": turned}))
    state = read_weights(folder / "base.safetensors")
    for name in ("classifier.3.weight", "classifier.3.bias"):
        state[name] = state[name][list(order)]
    torch.save(state, folder / "base.pth")
    done = cli("train", tiny_images, "--base-weights", folder / "base.pth", *FAST, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == (
        "images: shorter side to 32, bilinear, cut to 32 x 32, mean 0.5, std 0.25, stem stride 1 "
        f"({folder / 'config.json'})"
    )
    config = read_config(tmp_path / "out")
    assert config.labels == tuple(turned)
    assert config.metrics["base_accuracy"] == base_accuracy
    assert f"base {base_accuracy:.2%}" in done.out.splitlines()[1]


def test_less_accurate_than_expected(cli, weights, tiny_images, tmp_path):
    before = tree(tmp_path)
    more = ("--base-weights", weights, "--image-size", 32, "--mean", 1, "--std", 0.001, *FAST)
    done = cli("train", tiny_images, *more, "--expect-accuracy", 99, "-o", tmp_path / "out")
    done.refused(1, "the base answers", "expected 99%; check --mean, --std", "--stem-stride", progress=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--expect-accuracy", 73.6], ["expect_accuracy is 73.6, but no --base-weights are given"]),
        (["--expect-accuracy", 0.7], ["expect_accuracy is 0.7; expected per cent"]),
        (["--base-weights", "torchvision:V9"], ["no weights 'V9'", "IMAGENET1K_V1"]),
        (["--mean", "1,2"], ["mean is '1,2'", "expected one number"]),
        (["--resize", "16x64"], ["resize is 16 x 64; expected at least image_size, which is 32"]),
    ],
)
def test_options_out_of_range(cli, tiny_images, tmp_path, more, words):
    cli("train", tiny_images, "--image-size", 32, *more, "-o", tmp_path / "out").refused(2, *words)
    assert tree(tmp_path) == {}


def test_weights_of_torchvision(cli, tiny_images, tmp_path, monkeypatch):
    """The head is replaced, for the classes are others; so there is no accuracy to tell before."""
    base = build_base(Architecture(base="mobilenet_v3_small", classes=1000, image_size=224))
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(base.state_dict(), cache / "mobilenet_v3_small-047dcff4.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    few = tmp_path / "few"
    for file in [file for split in ("train", "val") for file in sorted((tiny_images / split).glob("*/0[0-3].png"))]:
        (few / file.relative_to(tiny_images)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, few / file.relative_to(tiny_images))
    given = ("--base-weights", "torchvision:IMAGENET1K_V1", "--image-size", 32, *FAST, "--finetune", "head")
    done = cli("train", few, *given, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "stem stride 2 (torchvision's IMAGENET1K_V1)" in done.out.splitlines()[0]
    assert "fp32 accuracy" not in done.out
    config = read_config(tmp_path / "out")
    assert (config.labels, config.architecture.stem_stride) == (CLASSES, 2)
    assert config.training.base_weights == str(cache / "mobilenet_v3_small-047dcff4.pth")
    features = "features.0.0.weight"
    assert torch.equal(read_weights(tmp_path / "out/base.safetensors")[features], base.state_dict()[features])


def test_convert_measures_first(cli, own_checkpoint, tiny_images, tmp_path, made_here):
    found = check_mixture(load_checkpoint(own_checkpoint), open_data(tiny_images, "val"))
    more = ("--recipe", "fp32", "--calibration-images", 4, "-o", tmp_path / "out", "--expect-accuracy")
    done = cli("convert", own_checkpoint, "--data", tiny_images, *more, 100 * found.accuracy)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == str(found)

    config = json.loads((own_checkpoint / "config.json").read_text())
    config["preprocessing"] |= {"mean": [1, 1, 1], "std": [0.001] * 3}
    wrong = shutil.copytree(own_checkpoint, tmp_path / "wrong")
    (wrong / "config.json").write_text(json.dumps(config))
    made_here.calls.clear()
    before = tree(tmp_path)
    done = cli("convert", wrong, "--data", tiny_images, "--force", *more, 99)
    done.refused(1, "the mixture answers", "expected 99%; check --mean", progress=True)
    assert (made_here.calls, tree(tmp_path)) == ([], before)
    cli("convert", wrong, "--data", tiny_images, "--force", *more, 0.99).refused(2, "expected per cent")
