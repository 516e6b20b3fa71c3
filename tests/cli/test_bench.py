"""edge-moe bench: its files, its table, and what it refuses before it measures."""

from __future__ import annotations

import shutil

import pytest

from edge_moe.benchmarks import results
from edge_moe.bundle import Bundle
from tests.cli.conftest import small_disk
from tests.tiny import SETS, VALIDATION_IMAGES, tree

FAST = ("--images", 4, "--rounds", 1)


def test_bench(cli, tiny_bundle, tiny_images, tmp_path):
    done = cli("bench", tiny_bundle, "--data", tiny_images, "-o", tmp_path / "report", *FAST)
    assert done.code == 0, done.err
    assert "error" not in done.err
    files = [tmp_path / "report" / name for name in ("results.json", "results.md", "latency.png", "accuracy.png")]
    assert done.out.splitlines()[-4:] == [str(file) for file in files]
    assert all(file.stat().st_size > 1000 for file in files)
    found = results.load(files[0])
    assert (found.timed_images, found.rounds, found.images, found.threads) == (4, 1, VALIDATION_IMAGES, 1)
    assert [f"{one.backend}/{one.recipe}" for one in found.sets] == list(SETS)
    # The table on the screen says what the manifest says of the same images and settings.
    for point in Bundle(tiny_bundle).manifest.sets[0].operating_points:
        row = (f" {point.tau:.3g} ", f"{point.exit_rate:.1%}", f"{point.mean_macs / 1e6:.3f}", f"{point.accuracy:.2%}")
        assert any(all(cell in line for cell in row) for line in done.out.splitlines()), row


def test_chosen_settings(cli, tiny_bundle, tmp_path):
    options = ("--tau", 0.3, "--tau", 0.1, "--max-experts", 2, "--validation-images", 9)
    options += ("--backend", "onnx", "--recipe", "fp32")
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / "report", *options, *FAST, "--threads", 2)
    assert done.code == 0, done.err
    found = results.load(tmp_path / "report/results.json")
    (one,) = found.sets
    assert [timing.point.tau for timing in one.points] == [0.0, 0.1, 0.3, 1.0]
    assert {timing.point.max_experts for timing in one.points} == {2}
    assert (one.backend, one.recipe) == ("onnx", "fp32")
    assert (found.images, found.threads, found.data) == (9, 2, "noise")
    assert not (tmp_path / "report/accuracy.png").exists()  # noise has no labels


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tau", "nan"], ["tau is nan", "from 0"]),
        (["--tau", "2"], ["tau is 2", "from 0"]),
        (["--tau", "-1"], ["tau is -1", "from 0"]),
        (["--max-experts", 0], ["max_experts is 0", "from 1 to 2"]),
        (["--max-experts", 3], ["max_experts is 3", "from 1 to 2"]),
        (["--threads", 0], ["threads is 0", "at least 1"]),
        (["--images", 0], ["images", "at least 1"]),
        (["--validation-images", 0], ["validation_images", "at least 1"]),
        (["--rounds", 0], ["rounds is 0", "at least 1"]),
        (["--seed", -1], ["--seed"]),
        (["--recipe", "int4"], ["int4", "it has litert/int8"]),
        (["--backend", "tpu"], ["tpu", "it has litert/int8"]),
    ],
)
def test_options_out_of_range(cli, tiny_bundle, tmp_path, options, words):
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / "report", *options)
    done.refused(2, *words)
    assert tree(tmp_path) == {}


@pytest.fixture
def report(tmp_path):
    """A target that holds an earlier report."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report/results.json").write_text('{"schema_version": 1}')
    return tmp_path / "report"


def test_an_existing_target(cli, tiny_bundle, tmp_path, report):
    before = tree(tmp_path)
    command = ("bench", tiny_bundle, "--data", "noise", "-o", report, *FAST, "--recipe", "int8", "--tau", 0.5)
    cli(*command).refused(1, str(report), "exists already", "--force")
    assert tree(tmp_path) == before
    assert cli(*command, "--force").code == 0
    assert results.load(report / "results.json").rounds == 1
    assert sorted(tree(tmp_path)) == ["report", *(f"report/{n}" for n in ("latency.png", "results.json", "results.md"))]


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        ("manuscript", "choose another target"),
        ("file", "expected the name of a folder"),
        ("file/report", "choose another target"),
    ],
)
def test_a_target_that_is_not_ours_or_no_folder(cli, tiny_bundle, tmp_path, target, advice):
    (tmp_path / "manuscript").mkdir()
    (tmp_path / "manuscript/chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    before = tree(tmp_path)
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / target, "--force")
    done.refused(1, str(tmp_path / target), advice)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("most_bytes", [2000, 40_000], ids=["results", "picture"])
def test_a_full_disk(cli, tiny_bundle, tmp_path, report, most_bytes):
    before = tree(tmp_path)
    with small_disk(most_bytes):
        done = cli("bench", tiny_bundle, "--data", "noise", "-o", report, *FAST, "--recipe", "int8", "--force")
    done.refused(1, "cannot write", "report", progress=True)
    assert tree(tmp_path) == before


def spoiled(root, tiny_images):
    data = shutil.copytree(tiny_images, root)
    shutil.rmtree(data / "train")
    return data


def empty_class(data):
    shutil.rmtree(data / "val/down")
    (data / "val/down").mkdir()


def unknown_class(data):
    (data / "val/down").rename(data / "val/sideways")


def no_image(data):
    (data / "val/down/00.png").write_bytes(b"words")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["does not exist", "expected"]),
        (lambda data: shutil.rmtree(data / "val"), ["has no class folders", "expected"]),
        (empty_class, ["val/down has no images", "add some or remove the folder"]),
        (unknown_class, ["'sideways', which the model does not know", "across, diagonal, down"]),
        (no_image, ["down/00.png is not an image", "convert it or leave it out"]),
    ],
    ids=["missing", "empty", "empty class", "unknown class", "no image"],
)
def test_data_that_cannot_be_used(cli, tiny_bundle, tiny_images, tmp_path, spoil, words):
    data = spoiled(tmp_path / "data", tiny_images)
    spoil(data)
    before = tree(tmp_path)
    cli("bench", tiny_bundle, "--data", data, "-o", tmp_path / "report").refused(1, *words, progress=True)
    assert tree(tmp_path) == before
