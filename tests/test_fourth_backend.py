"""A new backend is one folder and one record: convert, verify, run, bench with peers and report work with it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edge_moe import Bundle, Runtime, backends
from edge_moe.backends import table
from edge_moe.benchmarks import results
from tests import fourth
from tests.cli.conftest import cli  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def known(monkeypatch):
    """The record is in the table; that is all."""
    monkeypatch.setattr(table, "_RECORDS", dict(table._RECORDS))
    table.register(fourth.RECORD)


def test_nothing_else_knows_of_it():
    files = subprocess.run(
        ["git", "grep", "-liE", r"\bfourth\b", "--", "*.py", "*.toml", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    assert {file for file in files if not file.startswith("tests/")} == set()


@pytest.mark.usefixtures("known")
def test_convert_verify_run_bench_and_report(cli, own_checkpoint, tiny_images, tmp_path):  # noqa: F811
    bundle, report = tmp_path / "bundle", tmp_path / "report"
    data = ("--data", tiny_images)
    fast = ("--calibration-images", 4, "--validation-images", 24, "--jobs", 1)
    done = cli("convert", own_checkpoint, *data, "-o", bundle, "--set", "fourth,litert/fp32", *fast)
    assert done.code == 0, done.err
    sets = [f"{one.backend}/{one.recipe.name}" for one in Bundle(bundle).manifest.sets]
    assert sets == ["fourth/int8", "fourth/fp32", "litert/fp32"]
    assert (bundle / "fourth/int8/expert_01.pt2").is_file()

    done = cli("convert", own_checkpoint, *data, "-o", bundle, "--set", "fourth,litert/fp32", *fast, "--force")
    assert done.code == 0, done.err
    done = cli("verify", bundle)
    assert done.code == 0, done.out
    image = next((tiny_images / "val").rglob("*.png"))
    answers = [json.loads(cli("run", bundle, image, "--set", name, "--json").out)[0]["label"] for name in sets]
    assert len(set(answers)) == 1
    with Runtime(bundle) as model:
        assert (model.artifacts.backend, model.predict(image).label) == ("fourth", answers[0])

    given = ("--images", 3, "--rounds", 1, "--cold-starts", 1, "--validation-images", 12, "--set", "fourth/int8")
    done = cli("bench", bundle, *data, "-o", report, "--peers", "--checkpoint", own_checkpoint, *given)
    assert done.code == 0, done.err
    found = results.load(report / "results.json")
    assert [one.label for one in found.sets] == ["fourth/int8"]
    assert found.sets[0].backend_version.startswith("torch ")
    assert found.sets[0].cold_start_ms[0] > 0
    timed = {peer.name for peer in found.peers if peer.backend == "fourth" and peer.raw is not None}
    assert {"base only", "stock int8, base only", "stock int8, base + expert"} <= timed
    assert cli("report", report / "results.json", "-o", tmp_path / "again").code == 0
    assert "fourth/int8" in (tmp_path / "again/report.html").read_text()


@pytest.mark.usefixtures("known")
def test_commands_that_list_backends_list_it(cli):  # noqa: F811
    assert "fourth" in cli("recipes").out
    assert "host, fourth" in cli("devices").out
    assert backends.names()[-1] == "fourth"
