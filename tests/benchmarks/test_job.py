"""Job folders: written, read, written again, and what is no job."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edge_moe import BundleError, DataError, OutputError
from edge_moe.benchmarks.job import PLAN, image_names, read_job, read_rounds
from edge_moe.bundle import Bundle
from edge_moe.decode import load_image
from edge_moe.preprocess import prepare
from tests.benchmarks.jobs import make_job, setting
from tests.cli.conftest import small_disk
from tests.fixtures import JOB
from tests.tiny import tree

X = [np.full((1, 4, 4, 3), value, np.float32) for value in (0.25, 0.5)]


def test_a_job_is_read_as_it_was_written(make_bundle, tmp_path):
    bundle = Bundle(make_bundle(recipes=("int8", "fp32")))
    job = make_job(tmp_path / "job", bundle, [setting(0.5, 1)], X, order=[(2, 0, 1), (0, 1, 2)], seed=7)
    again = read_job(tmp_path / "job")
    assert again.plan == job.plan
    assert [str(one.key) for one in again.sets] == ["fake/int8", "fake/fp32"]
    assert again.bundle.manifest == bundle.manifest
    for one, other in zip(again.inputs, X, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [load_image(one).size for one in again.images] == [(4, 4)] * 2
    before = tree(tmp_path / "job")
    make_job(tmp_path / "job", bundle, [setting(0.5, 1)], X, order=[(2, 0, 1), (0, 1, 2)], seed=7)
    assert tree(tmp_path / "job") == before


def test_images_that_are_arrays_lose_nothing(make_bundle, tmp_path):
    bundle = Bundle(make_bundle())
    job = make_job(tmp_path / "job", bundle, [setting(0.5, 1)], X)
    sources = np.random.default_rng(0)
    for file in job.images:
        pixels = sources.integers(0, 256, (4, 4, 3), np.uint8)
        np.testing.assert_array_equal(np.asarray(load_image(file)), pixels)
        np.testing.assert_array_equal(
            prepare(file, bundle.manifest.preprocessing), prepare(pixels, bundle.manifest.preprocessing)
        )


def test_names_of_images_say_how_to_read_them(tmp_path):
    names = image_names([tmp_path / "a.JPG", np.zeros((2, 2), np.uint8), tmp_path / "b.webp"])
    assert names == ("images/0000.jpg", "images/0001.png", "images/0002.webp")


def test_a_job_that_was_copied_is_a_job(make_bundle, tmp_path):
    make_job(tmp_path / "job", Bundle(make_bundle()), [setting(0.5, 1)], X)
    shutil.copytree(tmp_path / "job", tmp_path / "there")  # links become what they point to
    assert not (tmp_path / "there/bundle").is_symlink()
    job = read_job(tmp_path / "there")
    assert job.bundle.path == tmp_path / "there/bundle"
    make_job(tmp_path / "there", Bundle(make_bundle("other")), [setting(0.5, 1)], X)  # over a copy
    assert (tmp_path / "there/bundle").is_symlink()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda folder: (folder / PLAN).unlink(), DataError, "holds no job: .*expected plan.json"),
        (lambda folder: (folder / PLAN).write_text("{"), DataError, "holds no job"),
        (lambda folder: (folder / PLAN).write_text((folder / PLAN).read_text().replace("3", "4", 1)), DataError,
         "job of schema 4; this edge-moe answers 3"),
        (lambda folder: (folder / "bundle/manifest.json").unlink(), BundleError, "manifest"),
    ],
    ids=["no plan", "half a plan", "another schema", "no bundle"],
)  # fmt: skip
def test_what_is_no_job(tmp_path, spoil, error, words):
    folder = shutil.copytree(JOB, tmp_path / "job")
    spoil(folder)
    with pytest.raises(error, match=words):
        read_job(folder)


def test_a_round_that_was_cut_off_is_not_there(tmp_path):
    data = (JOB / "rounds.jsonl").read_bytes()
    for cut, whole in ((1, 1), (200, 1), (len(data.splitlines()[2]) + 1, 1), (0, 2)):
        (tmp_path / "rounds.jsonl").write_bytes(data[: len(data) - cut])
        _, rounds = read_rounds(tmp_path / "rounds.jsonl")
        assert len(list(rounds)) == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        (b"", "line 1 of .* is no opening"),
        (b"{}\n", "line 1 of .* is no opening: .*required"),
    ],
)
def test_what_is_no_answer(tmp_path, text, words):
    if text is not None:
        (tmp_path / "rounds.jsonl").write_bytes(text)
    with pytest.raises(DataError, match=words):
        read_rounds(tmp_path / "rounds.jsonl")


def test_a_line_that_is_no_round(tmp_path):
    first = (JOB / "rounds.jsonl").read_bytes().split(b"\n")[0]
    (tmp_path / "rounds.jsonl").write_bytes(first + b"\n" + b'{"sets": 7}\n')
    _, rounds = read_rounds(tmp_path / "rounds.jsonl")
    with pytest.raises(DataError, match=r"line 2 of .* is no round: .*sets.*; measure again"):
        list(rounds)


def test_a_full_disk(make_bundle, tmp_path):
    bundle = Bundle(make_bundle())
    with small_disk(100), pytest.raises(OutputError, match="cannot write"):
        make_job(tmp_path / "job", bundle, [setting(0.5, 1)], X)
