"""edge-moe simulate: its tables, its files, and what it refuses."""

from __future__ import annotations

import json

import msgspec
import pytest

from edge_moe import backends
from edge_moe.benchmarks.decide.simulation import Simulation
from edge_moe.errors import MissingExtraError
from tests.benchmarks.fitted import fitted, save
from tests.cli.conftest import small_disk
from tests.fakes import FakeBackend
from tests.tiny import tree


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())


@pytest.fixture
def bundle(make_bundle):
    return make_bundle(tau=0.1)


@pytest.fixture
def profile(bundle, tmp_path):
    return save(fitted(bundle, images=20, timed=5, machine="a phone", target="adb"), tmp_path / "profile.json")


@pytest.fixture
def command(bundle, profile):
    return ("simulate", bundle, "--profile", profile, "--data", "noise", "--validation-images", 20)


def test_of_several_sets_the_first_that_was_measured(cli, make_bundle, tmp_path):
    bundle = make_bundle("two", tau=0.1, recipes=("int8", "fp32"))
    profile = save(fitted(bundle, images=20, timed=5), tmp_path / "profile.json")
    command = ("simulate", bundle, "--profile", profile, "--data", "noise", "--validation-images", 20)
    for names, expected in (("fake/fp32,fake/int8", "fake/fp32"), ("fake", "fake/int8")):
        done = cli(*command, "--set", names)
        assert done.code == 0, done.err
        assert f"{expected}, 20 images of noise" in done.out
    cli(*command, "--set", "fake/fp32,onnx/int8").refused(2, "no artifacts for onnx/int8")


def test_tables_and_files(cli, command, bundle, tmp_path):
    other = save(fitted(bundle, images=30, timed=5, seed=1, taus=(0.0, 1.0)), tmp_path / "other.json")
    done = cli(*command, "--compare", other, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    warnings = [line for line in done.err.splitlines() if "warning" in line]
    assert warnings == ["edge-moe: warning: the images are noise: exit rates and costs are those of noise"]
    lines = done.out.splitlines()
    assert "20 images of noise; PREDICTED for adb: a phone, A chip (avx2), 1 thread(s)" in " ".join(done.out.split())
    assert lines[-2:] == [str(tmp_path / "out" / name) for name in ("simulation.json", "simulation.csv")]
    found = msgspec.json.decode((tmp_path / "out/simulation.json").read_bytes(), type=Simulation)
    assert (found.profile.machine.name, found.images) == ("a phone", 20)
    for one in found.points:
        row = (f" {one.point.tau:g} ", f"{one.point.exit_rate:.1%}", f"{one.mean:.3f}", f"{one.p90:.3f}")
        assert any(all(cell in line for cell in row) for line in lines), row
    for one in found.comparison.points:
        row = (f" {one.tau:g} ", f"{one.predicted:.3f}", f"{one.measured:.3f}", f"{one.ratio:.3f}")
        assert any(all(cell in line for cell in row) for line in lines), row
    assert "not measured there: tau 0.25, max_experts 1" in lines
    errors = found.comparison.errors
    assert f"error of the mean: largest {max(errors):.1%}, mean {sum(errors) / 2:.1%}" in lines
    assert any("other images" in line for line in lines)


def test_json(cli, command):
    done = cli(*command, "--json", "--tau", 0.3, "--tau", 0.2, "--max-experts", 2, "--max-experts", 1)
    assert done.code == 0, done.err
    found = msgspec.json.decode(done.out, type=Simulation)
    settings = [(one.point.max_experts, one.point.tau) for one in found.points]
    assert settings == [(1, 0.2), (1, 0.3), (2, 0.2), (2, 0.3)]
    assert json.loads(done.out)["schema_version"] == 2


def test_doubts_of_a_profile(cli, make_bundle, tmp_path):
    bundle = make_bundle("raw", edit=lambda raw: raw.update(trained=False))
    made = fitted(bundle, images=20, timed=5, trained=False, rounds_asked=9, remarks=("the clock was slowed down",))
    profile = save(made, tmp_path / "profile.json")
    done = cli("simulate", bundle, "--profile", profile, "--data", "noise", "--compare", profile)
    assert done.code == 0
    warnings = [line for line in done.err.splitlines() if "warning" in line]
    for word in ("before its last round", "UNTRAINED", "slowed down", "the profile itself"):
        assert any(word in line and str(profile) in line for line in warnings), word


def test_an_existing_target(cli, command, tmp_path):
    out = tmp_path / "out"
    assert cli(*command, "-o", out).code == 0
    before = tree(tmp_path)
    cli(*command, "-o", out).refused(1, str(out), "exists already", "--force")
    assert tree(tmp_path) == before
    assert cli(*command, "-o", out, "--seed", 5, "--force").code == 0
    assert json.loads((out / "simulation.json").read_text())["seed"] == 5
    assert sorted(tree(out)) == ["simulation.csv", "simulation.json"]


def test_a_full_disk(cli, command, tmp_path):
    before = tree(tmp_path)
    with small_disk(1000):
        done = cli(*command, "-o", tmp_path / "out")
    done.refused(1, "cannot write", "out", progress=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--tau", "nan"], 2, ["tau is nan"]),
        (["--tau", "2"], 2, ["tau is 2", "from 0"]),
        (["--max-experts", "4"], 2, ["max_experts is 4", "from 1 to 3"]),
        (["--validation-images", "0"], 2, ["validation_images is 0"]),
        (["--seed", "-1"], 2, ["--seed"]),
        (["--recipe", "int4"], 2, ["int4", "it has fake/int8"]),
        (["--data", "nowhere"], 1, ["nowhere does not exist"]),
        (["--profile", "none.json"], 1, ["none.json does not exist", "edge-moe bench"]),
        (["--compare", "none.json"], 1, ["none.json does not exist"]),
    ],
)
def test_what_is_refused(cli, command, tmp_path, options, code, words):
    before = tree(tmp_path)
    cli(*command, "-o", tmp_path / "out", *options).refused(code, *words)
    assert tree(tmp_path) == before


def test_a_profile_of_another_bundle(cli, profile, make_bundle):
    done = cli("simulate", make_bundle("other", seed=1), "--profile", profile, "--data", "noise")
    done.refused(1, "profile.json was measured on another bundle", "edge-moe bench")


def test_a_profile_that_holds_no_number(cli, command, profile):
    profile.write_text(profile.read_text().replace('{"ms":[', '{"ms":[NaN,', 1))
    cli(*command).refused(1, "profile.json is not a results file", "measure again")


def test_an_empty_folder(cli, bundle, profile, tmp_path):
    (tmp_path / "empty").mkdir()
    done = cli("simulate", bundle, "--profile", profile, "--data", tmp_path / "empty")
    done.refused(1, "empty has no class folders", "expected")


def test_a_backend_that_is_not_installed(cli, command, monkeypatch):
    class Missing(FakeBackend):
        def open(self, data, *, threads=1):
            raise MissingExtraError("ai-edge-litert", "litert", "running .tflite files")

    monkeypatch.setattr(backends, "get", lambda name: Missing())
    cli(*command).refused(1, "ai-edge-litert, which is not installed", "pip install 'edge-moe[litert]'")
