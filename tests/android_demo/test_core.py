""":core of the Android demo, held against Python: the same answers on 100 images, and a job answered as a target."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_moe import Runtime
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.sound import Wanted, opening_problem, round_problem, shape
from edge_moe.benchmarks.stream import Streamed
from edge_moe.errors import BackendError
from edge_moe.progress import Silent
from tests.phone import jvm

pytestmark = pytest.mark.devices

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "android_demo/core"


@pytest.fixture(scope="module")
def expected(own_bundle, tmp_path_factory):
    """Return the folder with what Python makes of a bundle, and a job: see expected.py."""
    out = tmp_path_factory.mktemp("expected")
    subprocess.run([sys.executable, HERE / "expected.py", own_bundle, out], check=True)
    return out


@pytest.fixture(scope="module")
def built(expected):
    """Return what Maven says, having compiled and tested with these answers at hand."""
    command = [CORE.parent / "mvn.sh", "--batch-mode", "-pl", "core", "test", f"-Dedgemoe.expected={expected}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


@pytest.fixture(scope="module")
def program(built):
    """Return the command of a target that answers a job on a JVM."""
    return jvm.program("answer")


def test_gradle_takes_what_maven_takes():
    """Gradle's build is not run here; that it names other versions would be seen by nobody."""
    maven = (CORE.parent / "pom.xml").read_text()
    gradle = tomllib.loads((CORE.parent / "gradle/libs.versions.toml").read_text())["versions"]
    pinned = dict(re.findall(r"<([a-z0-9-]+)\.version>([\d.]+)</", maven))
    shared = {"kotlin", "jackson", "onnxruntime", "litert", "junit", "junit4", "robolectric"}
    assert shared <= pinned.keys() & gradle.keys()
    assert all(gradle[name] == pinned[name] for name in pinned.keys() & gradle.keys())


def test_the_tests_of_the_module(built):
    """All of them ran."""
    assert "relative error at most" in built  # the answers were there to compare with
    assert "Skipped: 0" in built
    print(*(line for line in built.splitlines() if "flip" in line or "grey levels" in line), sep="\n")


def test_a_job_is_answered_and_goes_on_where_it_was_stopped(program, expected):
    """Rounds are what the harness takes, and what ran is what runs in Python."""
    job = read_job(expected)
    wanted = [Wanted(one.set, len(one.settings), frozenset(job.bundle.manifest.parts)) for one in job.plan.sets]
    with Streamed([*program, str(expected)], "jvm") as session:
        assert opening_problem(session.opening, 3) is None
        assert session.opening.versions.keys() == {one.set for one in job.plan.sets}
        first = next(session.rounds(0, Silent(), ""))
    with Streamed([*program, str(expected)], "jvm") as session:
        rounds = [first, *session.rounds(1, Silent(), "")]
        assert len(rounds) == job.plan.rounds
        for line in rounds:
            assert round_problem(session.opening, wanted, line, job.plan.timed) is None
            assert len(line.steps["preprocessing"]["ms"]) == job.plan.timed
        assert len({shape(line) for line in rounds}) == 1
    for place, (one, artifacts) in enumerate(zip(job.plan.sets, job.sets, strict=True)):
        with Runtime(job.bundle, backend=artifacts.backend, recipe=artifacts.recipe.name) as runtime:
            for number, setting in enumerate(one.settings):
                runtime.tau, runtime.max_experts = setting.tau, setting.max_experts
                answers = [runtime.predict_tensor(x) for x in job.inputs]
                ran = tuple(answer.experts if answer.gate_ran else None for answer in answers)
                assert {line.sets[place].points[number].ran for line in rounds} == {ran}


def test_without_a_pause(program, expected, tmp_path):
    """After the rounds, when it is told so."""
    plan = json.loads((expected / "plan.json").read_text())
    plan |= {"rounds": 1, "sustained_s": 1}
    plan["sets"][0]["sustained"] = {"tau": 0.1, "max_experts": 1}
    job = tmp_path / "job"
    job.mkdir()
    for name in ("bundle", "inputs.npy", "images"):
        (job / name).symlink_to((expected / name).resolve())
    (job / "plan.json").write_text(json.dumps(plan))
    with Streamed([*program, str(job)], "jvm") as session:
        assert len(list(itertools.islice(session.rounds(0, Silent(), ""), 1))) == 1
        (only,) = session.sustained(Silent(), "")
        assert (only.set, only.setting.tau, len(only.windows)) == (plan["sets"][0]["set"], 0.1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 4}, "schema version 4"),
        ({"bundle": "../elsewhere"}, "leaves the job"),
        ({"more": 1}, "unknown field `more`"),
    ],
)
def test_a_job_that_is_none_is_told(program, expected, tmp_path, change, words):
    """The last line on stderr is what a person sees."""
    plan = json.loads((expected / "plan.json").read_text()) | change
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(BackendError, match=words):
        Streamed([*program, str(tmp_path)], "jvm")
