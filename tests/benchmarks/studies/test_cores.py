"""Which recipe wins where: medians, ratios to fp32 and goals, of a device with a price list."""

from __future__ import annotations

import json

import pytest

from edge_moe.benchmarks import targets
from edge_moe.benchmarks.studies import cores
from edge_moe.benchmarks.target import Prices, Target
from edge_moe.benchmarks.units import MS, UNITS
from edge_moe.progress import Silent
from tests.fixtures import JOB


class Priced(Target):
    kind = "priced"

    def available(self):
        return []

    def open(self, job, progress):
        raise AssertionError

    def price(self, files, specs, inputs, rounds, progress):
        assert {name: x.ndim for name, x in inputs.items()} == {"base": 4, "expert_00": 4}
        base = {"fp32": 40e6, "int8": 10e6}
        return Prices(
            UNITS["instructions"],
            {
                key: {
                    "base": [[base[key.recipe]] * 2, [base[key.recipe], 3 * base[key.recipe]]],
                    "expert_00": [[base[key.recipe] / 4]],
                }
                for key in files
            },
        )


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(targets, "_registered", {"priced": Priced})


def test_costs_are_medians(monkeypatch):
    monkeypatch.setattr(Priced, "price", lambda self, files, *_: Prices(MS, {
        key: {"base": [[1.0, 2.0, 9.0]], "expert_00": [[0.5], [0.7], [0.6]]} for key in files
    }))  # fmt: skip
    found = cores.measure(JOB / "bundle", ["priced"], Silent())
    assert found == {"priced": (MS, {key: {"base": 2.0, "expert_00": 0.6} for key in ("litert/int8", "litert/fp32")})}


def test_the_page(monkeypatch):
    instructions = UNITS["instructions"]
    costs = {
        "litert/fp32": {"base": 40e6, "expert_00": 10e6},
        "litert/int8": {"base": 10e6, "expert_00": 5e6},
        "onnx/int8": {"base": 2e6, "expert_00": 1e6},
    }
    monkeypatch.setattr(cores, "GOALS", {"priced": (10.5, 4.0)})
    page = cores.to_markdown({"priced": (instructions, costs)})
    assert "## priced, instructions" in page
    assert [line for line in page.splitlines() if line.startswith(("| litert", "| onnx"))] == [
        "| litert/int8 | 10.000 | 5.000 | 0.25 | 0.50 |",
        "| litert/fp32 | 40.000 | 10.000 | 1.00 | 1.00 |",
        "| onnx/int8 | 2.000 | 1.000 | 1.00 | 1.00 |",
    ]
    goal = "Goal, litert/int8: base 10.000, goal at most 10.5: met; expert 5.000, goal at most 4: MISSED."
    assert goal in page


def test_one_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cores, "full_size_bundle", lambda *_: JOB / "bundle")
    monkeypatch.setattr("sys.argv", ["cores", "-o", str(tmp_path), "--devices", "priced"])
    cores.main()
    assert (tmp_path / "cores.md").read_text() == capsys.readouterr().out[:-1]
    unit, costs = json.loads((tmp_path / "cores.json").read_text())["priced"]
    assert (unit["name"], costs["litert/int8"]["expert_00"]) == ("instructions", 2.5e6)
