"""What the native runner is told, line by line, and what it kept, read back."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.runner.work import GIVEN, KEEP, WORK, Run, Work
from tests.fixtures import JOB


@pytest.fixture
def work():
    job = read_job(JOB)
    (artifacts, _) = job.sets
    files = {name: job.bundle.path / one.file for name, one in artifacts.parts.items()}
    return job, Work(job.bundle.manifest.parts, artifacts.parts), files


def write(folder, work, runs, **options):
    job, made, files = work
    given = {"library": "lib/x.so", "files": files, "inputs": np.concatenate(job.inputs), "runs": runs}
    made.write(folder, **{**given, "keep": True, "marks": False, **options})
    return (folder / WORK).read_text().splitlines()


RUNS = [Run(2, ("base", "gate", "expert_01"), whole=False), Run(0, ("base",), whole=True)]


def test_every_line(work, tmp_path):
    assert write(tmp_path, work, RUNS) == [
        "library lib/x.so",
        "threads 1",
        "part base base",
        "input image 1 32 32 3",
        *[f"output {line}" for line in ("embedding 1 80", "features 1 8 8 80", "logits 1 3")],
        "part gate gate",
        "input embedding 1 80",
        "output logits 1 2",
        "part expert_00 expert_00",
        "input features 1 8 8 80",
        "output logits 1 3",
        "part expert_01 expert_01",
        "input features 1 8 8 80",
        "output logits 1 3",
        "feed gate base embedding",
        "feed expert_00 base features",
        "feed expert_01 base features",
        "given given.f32",
        "keep keep.f32",
        "each 2 base gate expert_01",
        "whole 0 base",
    ]
    assert (tmp_path / "expert_01").read_bytes() == work[2]["expert_01"].read_bytes()
    np.testing.assert_array_equal(np.fromfile(tmp_path / GIVEN, np.float32), np.concatenate(work[0].inputs).ravel())
    assert [run.intervals for run in RUNS] == [3, 1]


def test_a_part_alone_is_fed_by_nobody(work, tmp_path):
    job, _, files = work
    only = Work(job.bundle.manifest.parts, {"gate": job.sets[0].parts["gate"]})
    lines = write(tmp_path, (job, only, files), [Run(0, ("gate",), whole=True)], keep=False, marks=True)
    assert lines[2:] == [
        "part gate gate",
        "input embedding 1 80",
        "output logits 1 2",
        "given given.f32",
        "marks",
        "whole 0 gate",
    ]


def test_what_is_repeated_lies_elsewhere_and_is_told_in_detail(work):
    job, made, _ = work
    runs, at = [Run(0, ("base",), whole=True)], {name: f"set/{name}" for name in job.sets[0].parts}
    given = {"library": "lib/x.so", "runs": runs, "at": at, "given": "inputs.f32"}
    lines = made.lines(**given, details=True, seconds=30).splitlines()
    assert "part base set/base" in lines and "part expert_01 set/expert_01" in lines
    assert lines[-4:] == ["given inputs.f32", "details", "for 30", "whole 0 base"]


def test_what_was_kept_is_told_apart(work, tmp_path):
    sizes = [80, 8 * 8 * 80, 3, 2, 3, 80, 8 * 8 * 80, 3]
    values = np.concatenate([np.full(size, place, np.float32) for place, size in enumerate(sizes)])
    values.tofile(tmp_path / KEEP)
    first, second = work[1].read(tmp_path / KEEP, RUNS)
    assert {part: list(found) for part, found in first.items()} == {
        "base": ["embedding", "features", "logits"],
        "gate": ["logits"],
        "expert_01": ["logits"],
    }
    assert (first["base"]["features"].shape, set(first["base"]["features"].ravel().tolist())) == ((1, 8, 8, 80), {1.0})
    assert [float(one["logits"][0, 0]) for one in first.values()] == [2.0, 3.0, 4.0]
    assert second["base"]["logits"].tolist() == [[7.0] * 3]


def test_too_little_was_kept(work, tmp_path):
    np.zeros(100, np.float32).tofile(tmp_path / KEEP)
    with pytest.raises(BackendError, match="fewer outputs than were asked for"):
        work[1].read(tmp_path / KEEP, RUNS)
