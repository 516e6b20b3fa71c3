"""edge-moe convert: the bundle that comes out, what it says, and what it refuses. Parts are copied, see tests.tiny."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edge_moe import Bundle, BundleError
from edge_moe.backends.litert import LiteRTPart, Partitions
from edge_moe.bundle import MANIFEST
from tests.cli.conftest import small_disk
from tests.tiny import tree

pytestmark = pytest.mark.usefixtures("copied_parts")

FAST = ("--calibration-images", 4, "--validation-images", 12, "--min-agreement", 0, "--recipe", "int8")


@pytest.fixture
def old(tiny_bundle, tmp_path) -> Path:
    """A target that holds an earlier bundle."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.fixture
def spoiled(tiny_checkpoint, tmp_path) -> Path:
    """A checkpoint that may be spoiled."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


def edit(checkpoint: Path, **fields) -> None:
    raw = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(raw | fields))


def test_convert(cli, tiny_checkpoint, tiny_images, tmp_path):
    out = tmp_path / "bundle"
    done = cli("convert", tiny_checkpoint, "--data", tiny_images, "-o", out, *FAST)
    assert done.code == 0, done.err
    assert "error" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    assert sorted(path.name for path in out.iterdir()) == ["litert", MANIFEST, "parity.json", "parity.md"]
    assert done.out.splitlines()[-1] == f"bundle: {out}  (parity report: {out / 'parity.md'})"
    report = json.loads((out / "parity.json").read_text())
    for row in report["recipes"]["int8"]:
        compared = row["against_fp32"]
        cells = (row["part"], f"{row['bytes'] / 1024:.0f}", f"{compared['top1']:.2%}", f"{compared['sqnr_db']:.1f}")
        assert any(all(cell in line for cell in ("int8", *cells)) for line in done.out.splitlines())
    for row in report["accuracy"]["rows"]:
        assert any(row["what"] in line and f"{row['accuracy']:.2%}" in line for line in done.out.splitlines())
    assert "UNTRAINED" not in done.out + (out / "parity.md").read_text()
    assert cli("verify", out, "--quiet").code == 0


def test_an_untrained_network_is_labelled_wherever_it_goes(cli, spoiled, tmp_path):
    edit(spoiled, origin="untrained", training=None)
    out = tmp_path / "bundle"
    # The bar on agreement is for networks that mean what they say.
    done = cli("convert", spoiled, "--data", "noise", "-o", out, *FAST, "--min-agreement", 1)
    assert done.code == 0, done.err
    assert "UNTRAINED" in done.out
    assert "accuracy" not in done.out
    assert "UNTRAINED" in (out / "parity.md").read_text()
    manifest = Bundle(out).manifest
    assert not manifest.trained
    assert [one.operating_points for one in manifest.sets] == [(), ()]
    assert "UNTRAINED" in cli("inspect", out).out
    bench = cli("bench", out, "--data", "noise", "-o", tmp_path / "report", "--images", 4, "--rounds", 1)
    assert (bench.code, "UNTRAINED" in bench.out) == (0, True)
    assert "UNTRAINED" in (tmp_path / "report/results.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tau", "nan"], ["tau is nan", "from 0"]),
        (["--tau", "1.01"], ["tau is 1.01", "from 0"]),
        (["--tau", "-0.01"], ["tau is -0.01", "from 0"]),
        (["--max-experts", 0], ["max_experts is 0", "from 1 to 2"]),
        (["--max-experts", 3], ["max_experts is 3", "from 1 to 2"]),
        (["--min-agreement", 1.1], ["min_agreement is 1.1", "from 0 to 1"]),
        (["--min-agreement", "nan"], ["min_agreement is nan", "from 0 to 1"]),
        (["--jobs", 0], ["jobs is 0", "at least 1"]),
        (["--calibration-images", 0], ["calibration_images is 0", "at least 1"]),
        (["--validation-images", 0], ["validation_images is 0", "at least 1"]),
        (["--recipe", "int4"], ["'int4'", "expected one of fp32, int8"]),
        (["--recipe", "fp32", "--no-fp32"], ["nothing is left", "--no-fp32"]),
    ],
)
def test_options_out_of_range(cli, tiny_checkpoint, tiny_images, tmp_path, options, words):
    cli("convert", tiny_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", *options).refused(2, *words)
    assert tree(tmp_path) == {}


def drop_a_tensor(checkpoint):
    from safetensors.torch import save_file

    from edge_moe.training.checkpoint import read_weights

    state = read_weights(checkpoint / "gate.safetensors")
    save_file({"weight": state["weight"]}, checkpoint / "gate.safetensors")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["is not a folder", "edge-moe train"]),
        (lambda c: (c / "config.json").unlink(), ["has no config.json", "edge-moe train"]),
        (lambda c: (c / "config.json").write_text("{"), ["is not a checkpoint's config", "train or import again"]),
        (lambda c: edit(c, schema_version=99), ["schema version 99", "reads 1", "train or import again"]),
        (lambda c: edit(c, labels=["one"]), ["1 labels for 3 classes", "train or import again"]),
        (lambda c: (c / "expert_01.safetensors").unlink(), ["expert_01.safetensors does not exist", "expected"]),
        (lambda c: os.truncate(c / "base.safetensors", 999), ["base.safetensors is damaged", "expected"]),
        (drop_a_tensor, ["gate.safetensors does not fit", "lacks bias"]),
    ],
    ids=["missing", "empty", "no json", "schema", "labels", "no expert", "truncated", "no bias"],
)
def test_checkpoints_that_are_refused(cli, spoiled, tiny_images, tmp_path, old, spoil, words):
    spoil(spoiled)
    before = tree(tmp_path)
    cli("convert", spoiled, "--data", tiny_images, "-o", old, "--force").refused(1, *words)
    assert tree(tmp_path) == before


def empty_class(data):
    shutil.rmtree(data / "train/down")
    (data / "train/down").mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["does not exist", "expected"]),
        (lambda data: shutil.rmtree(data / "train"), ["has no subfolder 'train'", "expected"]),
        (empty_class, ["train/down has no images", "add some or remove the folder"]),
        (lambda d: (d / "val/down").rename(d / "val/up"), ["'up', which the model does not know", "across, diagonal"]),
        (lambda d: (d / "val/down/00.png").write_bytes(b"x"), ["val/down/00.png is not an image", "leave it out"]),
        (lambda d: [f.write_bytes(b"x") for f in d.glob("train/*/*")], ["is not an image", "leave it out"]),
    ],
    ids=["missing", "no train", "empty class", "unknown class", "no image in val", "no image in train"],
)
def test_data_that_cannot_be_used(cli, tiny_checkpoint, tiny_images, tmp_path, old, spoil, words, copied_parts):
    data = shutil.copytree(tiny_images, tmp_path / "data")
    spoil(data)
    before = tree(tmp_path)
    done = cli("convert", tiny_checkpoint, "--data", data, "-o", old, "--force")
    done.refused(1, *words, progress=True)
    assert tree(tmp_path) == before
    assert copied_parts.calls == []  # before minutes went into converting


def test_an_existing_target(cli, tiny_checkpoint, tiny_images, tmp_path, old):
    command = ("convert", tiny_checkpoint, "--data", tiny_images, "-o", old, *FAST)
    before = tree(tmp_path)
    cli(*command).refused(1, f"{old} exists already", "--force")
    assert tree(tmp_path) == before
    assert cli(*command, "--force").code == 0
    assert tree(tmp_path) != before
    assert Bundle(old).manifest.sets[0].operating_points[0].samples == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.parametrize("place", ["file/bundle", "/proc/bundle"])
def test_a_target_that_cannot_be_written(cli, tiny_checkpoint, tiny_images, tmp_path, place):
    (tmp_path / "file").write_text("x")
    done = cli("convert", tiny_checkpoint, "--data", tiny_images, "-o", tmp_path / place, *FAST)
    done.refused(1, "cannot write", place, "choose another target", progress=True)
    assert sorted(tree(tmp_path)) == ["file"]


def test_a_full_disk(cli, tiny_checkpoint, tiny_images, tmp_path, old):
    before = tree(tmp_path)
    with small_disk(5_000):
        done = cli("convert", tiny_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force")
    done.refused(1, "cannot write", "bundle.partial", progress=True)
    assert tree(tmp_path) == before


def test_a_full_disk_says_to_free_some_space(cli, tiny_checkpoint, tiny_images, tmp_path, old, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    before = tree(tmp_path)
    monkeypatch.setattr("os.fsync", full)
    done = cli("convert", tiny_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force")
    done.refused(1, "No space left on device", "free some space and run again", progress=True)
    assert tree(tmp_path) == before


def test_a_bar_that_is_missed(cli, tiny_checkpoint, tiny_images, tmp_path, old, monkeypatch):
    monkeypatch.setattr(LiteRTPart, "partitions", lambda self: Partitions(3, 2))
    before = tree(old)
    command = ("convert", tiny_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force")
    done = cli(*command)
    words = ("int8/base runs in 3 XNNPACK partitions with 2 nodes outside", "expected 1 and 0", "(and 7 more)")
    done.refused(1, *words, "--recipe", "--keep-going", "bundle.partial/parity.md", progress=True)
    assert tree(old) == before
    # The report stays, to see why; nothing that loads does.
    assert sorted(tree(tmp_path / "bundle.partial")) == ["parity.json", "parity.md"]
    with pytest.raises(BundleError):
        Bundle(tmp_path / "bundle.partial")

    done = cli(*command, "--keep-going")
    assert done.code == 0, done.err
    for recipe in ("int8", "fp32"):
        assert f"{recipe} is shipped all the same: {recipe}/base runs in 3" in " ".join(done.out.split())
    assert "3 + 2 nodes" in done.out
    assert (old / "parity.md").read_text().count("**missed:**") == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads processes from /proc")
def test_a_killed_conversion_leaves_no_bundle_and_no_process(cli, tiny_checkpoint, tiny_images, tmp_path, old):
    """The real converter, in its real processes, killed when the first artifact is there."""
    before = tree(old)
    partial = tmp_path / "bundle.partial"
    script = Path(sys.executable).with_name("edge-moe")
    options = [str(o) for o in ("--data", tiny_images, "-o", old, "--calibration-images", 4, "--jobs", 2, "--force")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen([script, "convert", tiny_checkpoint, *options], **quiet)
    deadline = time.monotonic() + 120
    while not list(partial.glob("litert/*/*.tflite")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=30)[1] == []  # an orphan would write into the next run's folder
    assert tree(old) == before
    assert partial.is_dir()
    with pytest.raises(BundleError, match="has no manifest"):
        Bundle(partial)

    assert cli("convert", tiny_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force").code == 0
    assert Bundle(old).manifest.sets[0].operating_points[0].samples == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
