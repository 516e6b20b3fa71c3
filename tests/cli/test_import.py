"""import: how images are prepared, labels, and the accuracy that says whether both are right."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from edge_moe import Runtime
from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import read_config
from edge_moe.data import open_data
from edge_moe.nn import Architecture, build_base
from edge_moe.training.checkpoint import load_checkpoint, read_weights, save_checkpoint
from edge_moe.training.preflight import check_mixture
from edge_moe.training.untrained import new_untrained
from tests import own
from tests.tiny import CLASSES, EXPERTS, tree

TRAINED = ("--image-size", 32, "--mean", 0.5, "--std", 0.25, "--stem-stride", 1)  # as tests.tiny trained it


@pytest.mark.parametrize("parts", ["base", "all"])
def test_what_is_read_is_not_replaced(cli, tiny_checkpoint, tmp_path, parts):
    shutil.copytree(tiny_checkpoint, tmp_path / "c")
    before = tree(tmp_path)
    given = options(tmp_path / "c") if parts == "all" else options(tmp_path / "c")[:2]
    done = cli("import", *given, *TRAINED, "-o", tmp_path / "c", "--force")
    done.refused(1, "c is, or contains, ", "base.safetensors, which is read; choose another target")
    assert tree(tmp_path) == before


def options(folder, suffix=".safetensors"):
    experts = [folder / f"expert_{k:02d}{suffix}" for k in range(EXPERTS)]
    return ["--base", folder / f"base{suffix}", "--gate", folder / f"gate{suffix}", "--experts", *experts]


@pytest.fixture(scope="module")
def weights(tiny_checkpoint, tmp_path_factory):
    """The parts of a checkpoint as files of others: nothing beside them says how they were trained."""
    folder = tmp_path_factory.mktemp("weights")
    for file in tiny_checkpoint.glob("*.safetensors"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def accuracy(tiny_checkpoint, tiny_images):
    return check_mixture(load_checkpoint(tiny_checkpoint), open_data(tiny_images, "val")).accuracy


def test_as_it_was_trained(cli, weights, tiny_images, tmp_path, accuracy):
    out = tmp_path / "out"
    done = cli("import", *options(weights), *TRAINED, "--data", tiny_images, "-o", out)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == (
        "images: shorter side to 32, bilinear (assumed); cut to 32 x 32, mean 0.5, std 0.25, stem stride 1 (given); "
        f"labels assumed: the classes of {tiny_images / 'val'}, sorted; bagging in logit space"
    )
    assert f"mixture {accuracy:.2%} (95% interval" in done.out.splitlines()[1]
    config = read_config(out)
    assert (config.labels, config.architecture.stem_stride) == (CLASSES, 1)
    assert config.preprocessing == Preprocessing(image_size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--mean", "0.1,0.2,0.3", "--std", "1"], {"mean": (0.1, 0.2, 0.3), "std": (1, 1, 1)}),
        (["--resize", "40x48", "--interpolation", "bicubic"], {"resize": (40, 48), "interpolation": "bicubic"}),
        (["--image-size", "24x48"], {"image_size": (24, 48), "resize": (24, 48)}),
        (["--image-size", "40x40"], {"image_size": 40, "resize": 40}),
        ([], {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "resize": 32}),
    ],
)
def test_any_preprocessing(cli, weights, tmp_path, given, expected):
    size = [] if "--image-size" in given else ["--image-size", 32]
    assert cli("import", *options(weights), *size, *given, "-o", tmp_path / "out").code == 0
    config = read_config(tmp_path / "out")
    assert {name: getattr(config.preprocessing, name) for name in expected} == expected
    assert config.architecture.size == config.preprocessing.size
    assert config.architecture.stem_stride == 2  # torchvision's, at any size


def test_a_config_beside_the_base_is_believed(cli, tiny_checkpoint, tiny_images, tmp_path, accuracy):
    source = shutil.copytree(tiny_checkpoint, tmp_path / "source")
    raw = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(raw | {"space": "probability"}))
    config = read_config(source)
    done = cli("import", *options(source), "--data", tiny_images, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    prepared = "images: shorter side to 32, bilinear, cut to 32 x 32, mean 0.5, std 0.25, stem stride 1"
    assert done.out.startswith(f"{prepared} ({source / 'config.json'}); ")
    assert f"labels from {source / 'config.json'}; bagging in probability space" in done.out
    found = read_config(tmp_path / "out")
    for name in ("architecture", "preprocessing", "labels", "ensemble", "space"):
        assert getattr(found, name) == getattr(config, name)


def test_labels_beside_that_are_too_many_are_not_taken(cli, tiny_checkpoint, weights, tmp_path):
    raw = json.loads((tiny_checkpoint / "config.json").read_text())
    raw |= {"labels": [*raw["labels"], "more"]}
    raw["architecture"]["classes"] += 1
    folder = shutil.copytree(weights, tmp_path / "source")
    (folder / "config.json").write_text(json.dumps(raw))
    done = cli("import", *options(folder), "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "labels numbered, for none are given" in done.out
    assert read_config(tmp_path / "out").labels == ("class 0", "class 1", "class 2")


def test_less_accurate_than_expected(cli, weights, tiny_images, tmp_path, accuracy):
    before = tree(tmp_path)
    expected = 100 * accuracy
    wrong = ("--image-size", 32, "--mean", 1, "--std", 0.001)
    more = ("--data", tiny_images, "--expect-accuracy", 99, "-o", tmp_path / "o")
    done = cli("import", *options(weights), *wrong, *more)
    done.refused(1, "the mixture answers", "expected 99%; check --mean, --std, --resize", progress=True)
    assert "fp32 accuracy: base" in done.out
    assert tree(tmp_path) == before
    more = ("--data", tiny_images, "--expect-accuracy", expected)
    assert cli("import", *options(weights), *TRAINED, *more, "-o", tmp_path / "o").code == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--expect-accuracy", 73.6], ["--expect-accuracy needs images", "--data"]),
        (["--expect-accuracy", 0.736], ["expect_accuracy is 0.736", "expected per cent", "such as 73.6"]),
        (["--mean", "127.5"], ["mean is 127.5", "divide"]),
        (["--mean", "0.5,0.5"], ["mean is '0.5,0.5'", "expected one number", "or three"]),
        (["--std", "half"], ["std is 'half'", "expected one number"]),
        (["--std", "0"], ["std is 0", "above 0"]),
        (["--std", "1e-40"], ["std is 1e-40", "at least 1e-06"]),
        (["--resize", "1000000"], ["resize is 1000000", "at most 65536"]),
        (["--architecture", "nope"], ["architecture is 'nope'", "mobilenet_v3_small"]),
        (["--labels", "/dev/zero"], ["/dev/zero is no file but a device", "one label a line"]),
        (["--labels", "."], [". is a folder", "one label a line"]),
        (["--resize", "16"], ["resize is 16", "expected at least image_size, which is 32"]),
        (["--resize", "big"], ["resize is 'big'", "224x320"]),
        (["--interpolation", "cubic"], ["interpolation is 'cubic'", "bicubic, bilinear, nearest"]),
        (["--base", "torchvision:V9"], ["no weights 'V9' for mobilenet_v3_small", "IMAGENET1K_V1"]),
    ],
)
def test_options_out_of_range(cli, weights, tmp_path, more, words):
    done = cli("import", *options(weights), "--image-size", 32, *more, "-o", tmp_path / "out")
    done.refused(2, *words)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("\ufeffacross\ndiagonal\ndown\n", 0, []),
        ("across\ndiagonal\n", 2, ["labels.txt has 2 labels", "base.safetensors gives 3 logits", "one label a logit"]),
        ("across\ndown\nacross\n", 2, ["labels.txt has the label 'across' on line 1 and on line 3"]),
        ("across\n\ndiagonal\ndown\n", 2, ["labels.txt has no label on line 2 of 4"]),
    ],
    ids=["byte order mark", "short", "twice", "gap"],
)
def test_labels(cli, weights, tmp_path, text, code, words):
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    labels = ("--labels", tmp_path / "labels.txt")
    done = cli("import", *options(weights), "--image-size", 32, *labels, "-o", tmp_path / "out")
    if code:
        done.refused(code, *words)
        assert not (tmp_path / "out").exists()
    else:
        assert read_config(tmp_path / "out").labels == CLASSES


def test_images_without_labels(cli, weights, tiny_images, tmp_path):
    (tmp_path / "loose").mkdir()
    for file in (tiny_images / "val/down").iterdir():
        shutil.copy(file, tmp_path / "loose")
    more = ("--image-size", 32, "--data", tmp_path / "loose")
    done = cli("import", *options(weights), *more, "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert "has no labels: the accuracy is not known" in done.out
    done = cli("import", *options(weights), *more, "--expect-accuracy", 50, "-o", tmp_path / "other")
    done.refused(2, "expect_accuracy is 50, but", "loose has no labels")


def test_a_base_of_torchvision(cli, tmp_path, monkeypatch):
    """With the file in torch's cache, weights, labels and preprocessing are torchvision's."""
    base = build_base(Architecture(base="mobilenet_v3_small", classes=1000, image_size=224))
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(base.state_dict(), cache / "mobilenet_v3_small-047dcff4.pth")
    torch.save(base.new_gate(1, 224).state_dict(), tmp_path / "g.pth")
    torch.save(base.new_expert().state_dict(), tmp_path / "e.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    parts = ("--base", "torchvision:IMAGENET1K_V1", "--gate", tmp_path / "g.pth", "--experts", tmp_path / "e.pth")
    done = cli("import", *parts, "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("images: shorter side to 256, bilinear, cut to 224 x 224, mean 0.485, 0.456, 0.406, ")
    assert "(torchvision's IMAGENET1K_V1); labels from torchvision's IMAGENET1K_V1; " in done.out
    config = read_config(tmp_path / "out")
    assert (config.labels[0], config.labels[999], len(config.labels)) == ("tench", "toilet tissue", 1000)
    theirs, ours = base.state_dict(), read_weights(tmp_path / "out/base.safetensors")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_network_that_is_no_square_answers_as_torch(cli, tiny_images, tmp_path, made_here):
    """From weights through import and convert to the runtime, against torchvision's transforms and torch."""
    from torchvision import transforms

    size, mean, std = (24, 40), (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)
    made = new_untrained(
        Architecture(base=own.NAME, classes=3, image_size=size, stem_stride=2),
        EXPERTS,
        Preprocessing(image_size=size, resize=size, mean=mean, std=std),
        seed=0,
    )
    save_checkpoint(tmp_path / "made", made)
    (tmp_path / "made/config.json").unlink()
    given = ("--image-size", "24x40", "--mean", "0.2,0.3,0.4", "--std", "0.5,0.6,0.7", "--architecture", own.NAME)
    done = cli("import", *options(tmp_path / "made"), *given, "--data", tiny_images, "-o", tmp_path / "checkpoint")
    assert done.code == 0, done.err
    bundle = tmp_path / "bundle"
    more = ("--backend", "litert,onnx", "--recipe", "fp32", "--calibration-images", 4, "--validation-images", 12)
    done = cli("convert", tmp_path / "checkpoint", "--data", tiny_images, "-o", bundle, *more)
    assert done.code == 0, done.err
    assert "fp32 accuracy: base" in done.out
    assert cli("verify", bundle).code == 0
    assert "24 x 40 pixels" in " ".join(cli("inspect", bundle).out.split())

    pipeline = transforms.Compose(
        [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor(), transforms.Normalize(mean, std)]
    )
    mixture, draw = made.mixture.eval(), np.random.default_rng(0)
    for backend in ("litert", "onnx"):
        with Runtime(bundle, backend=backend, tau=0.0) as model:
            assert model.manifest.parts["base"].inputs[0].shape == (1, 24, 40, 3)
            for index in range(6):
                image = Image.fromarray(draw.integers(0, 256, (50 + index, 90 - index, 3), dtype=np.uint8))
                with torch.no_grad():
                    base, gate, experts = mixture(pipeline(image)[None])
                best = int(gate.argmax())
                expected = (base[0] + experts[0, best]).softmax(0)
                found = model.predict(image)
                assert found.experts == (best,)
                torch.testing.assert_close(torch.tensor(found.scores / found.scores.sum()), expected, atol=1e-4, rtol=0)
