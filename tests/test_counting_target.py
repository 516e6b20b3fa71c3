"""A new target is one file: bench, report, choose, simulate, verify and run work with it, and nothing else names it."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from edge_moe import Bundle, Runtime
from edge_moe.benchmarks import results, targets
from edge_moe.data import open_data
from tests.cli.conftest import cli  # noqa: F401  (a fixture)
from tests.counting import Counting

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """It is registered; that is all."""
    monkeypatch.setattr(targets, "_registered", {})
    targets.register(Counting)


@pytest.fixture
def measured(cli, tiny_bundle, tiny_images, tmp_path):  # noqa: F811
    given = ("--device", "counting:3", "--data", tiny_images, "--backend", "litert", "--rounds", 2, "--images", 4)
    done = cli("bench", tiny_bundle, *given, "--checked-images", 12, "-o", tmp_path / "report")
    assert done.code == 0, done.err
    return tmp_path / "report/results.json"


def test_nothing_else_knows_of_it():
    files = subprocess.run(
        ["git", "grep", "-liE", r"\bcounting\b", "--", "benchmarks", "edge_moe", "converters", "*.toml", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    assert files == []


def test_what_it_answered_is_what_it_is_made_of(measured, tiny_bundle, tiny_images):
    found = results.load(measured)
    manifest = Bundle(tiny_bundle).manifest
    assert (found.target, found.unit.name, found.provenance(), found.complete) == (
        "counting:3",
        "cycles",
        "estimated",
        True,
    )
    assert (found.machine.title, found.machine.memory_bytes, found.machine.facts) == (
        "a counter",
        None,
        {"fingers": 10},
    )
    assert (found.peers, found.limits, found.conditions.remarks) == ((), (), ())
    for one in found.sets:
        assert one.backend_version == "zlib 1"
        assert (one.cold_start_ms, one.peak_rss_bytes) == ((), ())
        for part in one.parts:
            assert part.cost == 3 * manifest.macs[part.part]
            assert part.bounds == (part.cost / 2, part.cost * 2)
            assert part.others == {"sram_bytes": ((manifest.macs[part.part] / 8,),) * 2}
            assert found.opening.compiled[one.label][part.part].tool == "zlib"
        for point in one.points:
            at = one.decisions.at(point.point.tau, point.point.max_experts)  # of parts alone: over every image
            experts = at.active @ [manifest.macs[f"expert_{k:02d}"] for k in range(2)]
            spent = manifest.macs["base"] + at.gate_ran * manifest.macs["gate"] + experts
            assert (point.raw, point.mean) == (None, pytest.approx(3 * spent.mean()))
        # It answered twelve images itself, by the same libraries.
        assert len(one.recorded.there.images) == 12
        assert one.agreement_there == (1.0, 1.0)


def test_report_choose_and_simulate(cli, measured, tiny_bundle, tiny_images, tmp_path):  # noqa: F811
    page = (measured.parent / "report.html").read_text()
    assert all(word in page for word in ("counting:3", "M cycles", "estimated", "KiB SRAM"))
    with (measured.parent / "parts.csv").open(newline="") as stream:
        assert {(row["unit"], row["target"]) for row in csv.DictReader(stream)} == {("cycles", "counting:3")}
    done = cli("report", measured, "-o", tmp_path / "again")
    assert done.code == 0, done.err
    done = cli("choose", tiny_bundle, "--results", measured, "--max-cost", 1e12, "--set", "litert/int8")
    assert done.code == 0, done.err
    assert "cycles" in done.out
    done = cli("choose", tiny_bundle, "--results", measured, "--max-latency-ms", 5)
    assert (done.code, "use --max-cost with a number of cycles" in done.err) == (2, True)
    given = ("--profile", measured, "--data", tiny_images, "--tau", 0, "--tau", 1, "--json")
    done = cli("simulate", tiny_bundle, *given)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["unit"] == "cycles"
    assert said["points"][-1]["mean"] == 3 * Bundle(tiny_bundle).manifest.macs["base"]


def test_golden_samples_and_answers_where_it_runs(cli, tiny_bundle, tiny_images):  # noqa: F811
    done = cli("verify", tiny_bundle, "--device", "counting", "--set", "litert/int8")
    assert done.code == 0, done.out + done.err
    image = next(one for one in open_data(str(tiny_images), "val").sources)
    done = cli("run", tiny_bundle, image, "--device", "counting", "--set", "litert/int8", "--json")
    (said,) = json.loads(done.out)
    with Runtime(tiny_bundle, backend="litert", recipe="int8") as runtime:
        here = runtime.predict(image)
    assert (said["label"], said["exited"], said["macs"]) == (here.label, here.exited, here.macs)
    assert said["probability"] == pytest.approx(here.probability, rel=1e-6)
    assert said["milliseconds"] is None


def test_devices_list_it(cli):  # noqa: F811
    assert "counting" in cli("devices").out
    done = cli("devices", "setup", "counting")
    assert (done.code, done.out) == (0, "counting needs no set-up\n")
