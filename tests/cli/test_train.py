"""train, import, init and macs: what they make, what they say, and what they refuse before they start."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch

from edge_moe.checkpoint import read_config
from edge_moe.training.checkpoint import load_checkpoint, read_weights
from tests.cli.conftest import small_disk
from tests.tiny import CLASSES, EXPERTS, VALIDATION_IMAGES, tree

FAST = ("--image-size", 16, "--epochs", 1, "--expert-epochs", 1, "--experts", 2, "--jobs", 1)


def parts(checkpoint):
    """The options of `import` that name the parts of a checkpoint."""
    experts = [checkpoint / f"expert_{k:02d}.safetensors" for k in range(EXPERTS)]
    return ["--base", checkpoint / "base.safetensors", "--gate", checkpoint / "gate.safetensors", "--experts", *experts]


# --- macs ---

# torchvision's networks at 224 pixels with 1000 classes; base and expert together are what the paper's tables have.
GOLDEN = {
    "mobilenet_v3_small": {"base": (56.510e6, 2_542_856), "expert": (24.789e6, 2.38e6), "both": 81.30e6},
    "resnet18": {"base": (1.8141e9, 11_689_512), "expert": (0.8226e9, None), "both": 2.637e9},
}


@pytest.mark.parametrize("base", GOLDEN)
def test_golden_macs(cli, base):
    done = cli("macs", "--base", base, "--classes", 1000, "--image-size", 224, "--experts", 4, "--json")
    assert (done.code, done.err) == (0, "")
    found, golden = json.loads(done.out), GOLDEN[base]
    assert list(found) == ["base", "gate", "expert", "base_and_expert"]
    for part in ("base", "expert"):
        macs, parameters = golden[part]
        assert found[part]["macs"] == pytest.approx(macs, rel=1e-4)
        if parameters:
            assert found[part]["parameters"] == pytest.approx(parameters, rel=0 if part == "base" else 3e-3)
    assert found["base_and_expert"]["macs"] == found["base"]["macs"] + found["expert"]["macs"]
    assert found["base_and_expert"]["macs"] == pytest.approx(golden["both"], rel=2e-4)
    embedding = {"mobilenet_v3_small": 576, "resnet18": 512}[base]
    assert found["gate"] == {"macs": embedding * 4, "parameters": embedding * 4 + 4}


def test_macs_in_a_table(cli):
    done = cli("macs")
    assert (done.code, done.err) == (0, "")
    for cell in ("mobilenet_v3_small, 1000 classes, 224 x 224", "56.510", "24.789", "81.300", "2,542,856"):
        assert cell in done.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--base", "vgg16"], ["'vgg16'", "mobilenet_v3_small, mobilenet_v3_large, resnet18"]),
        (["--classes", 0], ["classes is 0", "expected int >= 1"]),
        (["--image-size", 7], ["image_size is 7", "expected at least 8 pixels"]),
        (["--image-size", 0], ["image_size is 0", "expected at least 8 pixels"]),
        (["--stem-stride", 3], ["stem_stride is 3", "expected one of 1, 2"]),
        (["--stem-stride", 0], ["stem_stride is 0", "expected one of 1, 2"]),
        (["--experts", -1], ["experts is -1", "expected at least 1, or 0 for a plain network"]),
    ],
)
def test_macs_out_of_range(cli, options, words):
    cli("macs", *options).refused(2, *words)


# --- init ---


@pytest.mark.parametrize("experts", [1, 3])
def test_init(cli, tmp_path, experts):
    out = tmp_path / "deep/checkpoint"
    done = cli("init", "-o", out, "--experts", experts, "--classes", 5, "--image-size", 32)
    assert (done.code, done.err) == (0, "")
    assert "UNTRAINED" in done.out
    loaded = load_checkpoint(out)
    config = loaded.config
    assert (config.origin, config.experts, len(config.labels), config.architecture.stem_stride) == (
        "untrained",
        experts,
        5,
        1,
    )
    assert loaded.mixture(torch.zeros(1, 3, 32, 32)).expert_logits.shape == (1, experts, 5)


def test_init_follows_its_seed(cli, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert cli("init", "-o", tmp_path / name, "-k", 1, "--image-size", 16, "--seed", seed).code == 0
    a, b, c = (tree(tmp_path / name) for name in "abc")
    assert a == b
    assert a["base.safetensors"] != c["base.safetensors"]


# --- import ---


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_import(cli, tiny_checkpoint, tmp_path, suffix):
    given = [str(argument) for argument in parts(tiny_checkpoint)]
    if suffix == ".pth":
        for index, argument in enumerate(given):
            if argument.endswith(".safetensors"):
                given[index] = str(tmp_path / f"{index}.pth")
                torch.save(read_weights(tiny_checkpoint / argument), given[index])
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    more = ("--labels", tmp_path / "labels.txt", "--image-size", 32, "--space", "probability")
    done = cli("import", *given, *more, "-o", tmp_path / "imported")
    assert (done.code, done.err) == (0, "")
    config = read_config(tmp_path / "imported")
    assert (config.origin, config.labels, config.space) == ("imported", CLASSES, "probability")
    for file in tiny_checkpoint.glob("*.safetensors"):
        mine, theirs = read_weights(tmp_path / "imported" / file.name), read_weights(file)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_import_without_labels_numbers_the_classes(cli, tiny_checkpoint, tmp_path):
    for file in tiny_checkpoint.glob("*.safetensors"):  # without the config, which has the labels
        shutil.copy(file, tmp_path)
    assert cli("import", *parts(tmp_path), "--image-size", 32, "-o", tmp_path / "imported").code == 0
    assert read_config(tmp_path / "imported").labels == ("class 0", "class 1", "class 2")


def swapped(arguments):
    """The gate's file for the base, which lacks every tensor."""
    return [*arguments[:1], arguments[3], *arguments[2:]]


def one_missing(arguments):
    return [*arguments[:-1], arguments[-1].with_name("nowhere.pth")]


@pytest.mark.parametrize(
    ("change", "more", "code", "words"),
    [
        (
            swapped,
            [],
            1,
            ["gate.safetensors does not fit", "expected features.0.0.weight", "more tensors", "another part"],
        ),
        (one_missing, [], 1, ["nowhere.pth does not exist", "expected a state dict"]),
        (list, ["--architecture", "resnet18"], 1, ["base.safetensors does not fit", "expected conv1.weight"]),
        (list, ["--architecture", "vgg16"], 2, ["'vgg16'", "expected one of mobilenet_v3_small"]),
        (list, ["--labels", "LABELS"], 2, ["labels.txt has 2 labels", "base.safetensors gives 3 logits"]),
        (list, ["--labels", "none.txt"], 2, ["none.txt does not exist", "one label a line"]),
        (list, ["--labels", "BINARY"], 2, ["is not a text file", "one label a line"]),
        (list, ["--ensemble", "voting"], 2, ["'voting'", "expected one of bagging, expert"]),
        (list, ["--image-size", 0], 2, ["image_size is 0", "expected"]),
    ],
)
def test_imports_that_do_not_fit(cli, tiny_checkpoint, tmp_path, change, more, code, words):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    files = {"LABELS": tmp_path / "labels.txt", "BINARY": tmp_path / "binary.txt"}
    before = tree(tmp_path)
    options = [files.get(option, option) for option in more]
    done = cli("import", *change(parts(tiny_checkpoint)), "--image-size", 32, *options, "-o", tmp_path / "out")
    done.refused(code, *words)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", ["base.pth is damaged"]), (b"half a zip", ["base.pth is damaged"])],
)
def test_damaged_weights(cli, tiny_checkpoint, tmp_path, data, words):
    (tmp_path / "base.pth").write_bytes(data)
    options = ["--base", tmp_path / "base.pth", *parts(tiny_checkpoint)[2:]]
    cli("import", *options, "-o", tmp_path / "out").refused(1, *words, "expected a state dict")
    assert not (tmp_path / "out").exists()


# --- train ---


def test_train(cli, tiny_images, tmp_path):
    done = cli("train", tiny_images, "-o", tmp_path / "checkpoint", *FAST)
    assert done.code == 0, done.err
    assert "error" not in done.err
    config = read_config(tmp_path / "checkpoint")
    assert (config.origin, config.experts, config.labels) == ("trained", 2, CLASSES)
    assert config.training.data == str(tiny_images)
    assert config.metrics["validation_images"] == VALIDATION_IMAGES
    assert sum(config.metrics["expert_shares"]) == pytest.approx(1)
    for name in ("base", "mixture"):
        (row,) = [line for line in done.out.splitlines() if re.match(rf"│ {name} +│", line)]
        assert f"{config.metrics[f'{name}_accuracy']:.2%}" in row
    assert "share of expert 1" in done.out
    assert done.out.splitlines()[-1] == f"checkpoint: {tmp_path / 'checkpoint'}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]


def test_one_expert_again(cli, tiny_checkpoint, tmp_path):
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    before = tree(tmp_path)
    data = read_config(tiny_checkpoint).training.data
    cli("train", data, "-o", checkpoint, "--only-expert", 2).refused(2, "there is no expert 2", "expected 0 to 1")
    cli("train", data, "-o", tmp_path / "none", "--only-expert", 0).refused(1, "none is not a folder", "expected")
    assert tree(tmp_path) == before
    done = cli("train", data, "-o", checkpoint, "--only-expert", 1)
    assert done.code == 0, done.err
    after = tree(tmp_path)
    assert {name for name in before if before[name] != after[name]} <= {
        "checkpoint/expert_01.safetensors",
        "checkpoint/config.json",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--base", "vgg16"], ["'vgg16'", "expected one of mobilenet_v3_small"]),
        (["--image-size", 0], ["image_size is 0", "expected"]),
        (["--experts", -1], ["experts is -1", "at least 1"]),
        (["--experts", 193], ["193 experts need at least as many training images; found 192"]),
        (["--epochs", 0], ["epochs is 0", "expected int >= 1"]),
        (["--expert-epochs", -1], ["expert_epochs is -1", "expected int >= 1"]),
        (["--batch-size", 0], ["batch_size is 0", "expected int >= 1"]),
        (["--batch-size", 1], ["batches of 1", "expected at least 2"]),
        (["--learning-rate", 0], ["learning_rate is 0.0", "expected float > 0"]),
        (["--learning-rate", "nan"], ["learning_rate is nan", "expected"]),
        (["--epsilon", 1.5], ["epsilon is 1.5", "expected float <= 1"]),
        (["--finetune", "some"], ["finetune is 'some'", "all, head, none"]),
        (["--augment", "fog"], ["augment is 'fog'", "crop"]),
        (["--normalization", "l3"], ["normalization is 'l3'", "l2, none, standardize"]),
        (["--ensemble", "voting"], ["ensemble is 'voting'", "bagging, expert"]),
        (["--space", "outer"], ["space is 'outer'", "logit, probability"]),
        (["--finetune", "none"], ["finetune=none keeps the base as it is", "--base-weights"]),
        (["--finetune", "head"], ["finetune=head keeps the base as it is", "--base-weights"]),
        (["--jobs", 0], ["jobs is 0", "at least 1"]),
        (["--seed", -1], ["--seed"]),
    ],
)
def test_options_out_of_range(cli, tiny_images, tmp_path, options, words):
    cli("train", tiny_images, "-o", tmp_path / "out", *options).refused(2, *words)
    assert tree(tmp_path) == {}


@pytest.fixture
def data(tiny_images, tmp_path):
    """A copy that may be spoiled, of a few images."""
    for file in [file for split in ("train", "val") for file in sorted((tiny_images / split).glob("*/0[0-3].png"))]:
        target = tmp_path / "data" / file.relative_to(tiny_images)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path / "data"


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def no_image(data):
    (data / "train/down/00.png").write_bytes(b"words")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["does not exist", "expected a folder of images"]),
        (empty, ["has no subfolder 'train'", "expected"]),
        (lambda data: empty(data / "train"), ["train has no class folders", "expected"]),
        (lambda data: shutil.rmtree(data / "val"), ["has no subfolder 'val'", "expected"]),
        (lambda data: empty(data / "train/down"), ["train/down has no images", "add some or remove the folder"]),
        (no_image, ["train/down/00.png is not an image", "convert it or leave it out"]),
    ],
    ids=["missing", "empty", "no class", "no val", "empty class", "no image"],
)
def test_data_that_cannot_be_used(cli, data, tmp_path, spoil, words):
    spoil(data)
    out = tmp_path / "out"
    cli("train", data, "-o", out, *FAST).refused(1, *words, progress=True)
    assert not out.exists()


def test_files_that_are_no_images_are_named_and_can_be_left_out(cli, data, tmp_path):
    no_image(data)
    (data / "train/across/01.png").write_bytes(b"words")
    out = tmp_path / "out"
    done = cli("train", data, "-o", out, *FAST)
    done.refused(1, "2 of 12 files", "across/01.png is not an image", "down/00.png is not an image", progress=True)
    assert not out.exists()
    (data / "val/down/00.png").write_bytes(b"words")
    done = cli("train", data, "-o", out, *FAST, "--leave-out-unreadable")
    assert done.code == 0, done.err
    assert "2 of 12 files cannot be read and are left out" in done.err
    assert read_config(out).metrics["validation_images"] == 11
    cli("train", data, "-o", out, "--only-expert", 1).refused(1, "found 12 training images, not 10")
    done = cli("train", data, "-o", out, "--only-expert", 1, "--leave-out-unreadable")
    assert done.code == 0, done.err


# --- targets, of all commands that write checkpoints ---


def writers(tiny_checkpoint, data):
    return {
        "train": ("train", data, *FAST),
        "init": ("init", "--image-size", 16, "--classes", 3, "-k", 1),
        "import": ("import", *parts(tiny_checkpoint), "--image-size", 32),
    }


@pytest.mark.parametrize("command", ["train", "init", "import"])
def test_an_existing_target(cli, tiny_checkpoint, data, tmp_path, command):
    out = shutil.copytree(tiny_checkpoint, tmp_path / "out")
    before = tree(tmp_path)
    arguments = writers(tiny_checkpoint, data)[command]
    cli(*arguments, "-o", out).refused(1, f"{out} exists already", "--force")
    assert tree(tmp_path) == before
    if command != "train":  # test_train has made one; this is about the flag
        assert cli(*arguments, "-o", out, "--force").code == 0
        assert read_config(out).origin in ("untrained", "imported")


@pytest.mark.parametrize("command", ["train", "init", "import"])
@pytest.mark.parametrize("place", ["file/out", "/proc/out"])
def test_a_target_that_cannot_be_written(cli, tiny_checkpoint, data, tmp_path, command, place):
    (tmp_path / "file").write_text("x")
    before = tree(tmp_path)
    done = cli(*writers(tiny_checkpoint, data)[command], "-o", tmp_path / place)
    done.refused(1, "cannot write", str(tmp_path / place), "choose another target", progress=command == "train")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("command", ["train", "init", "import"])
def test_a_full_disk(cli, tiny_checkpoint, data, tmp_path, command):
    out = shutil.copytree(tiny_checkpoint, tmp_path / "out")
    before = tree(out)
    with small_disk(100_000):
        done = cli(*writers(tiny_checkpoint, data)[command], "-o", out, "--force")
    done.refused(1, "cannot write", "out.partial", progress=command == "train")
    assert tree(out) == before
    if command != "train":  # which goes on where it stood
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
