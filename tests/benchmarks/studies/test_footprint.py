"""Memory and import time are measured in processes of their own; on the tiny bundle, once."""

from __future__ import annotations

import json
import sys

import pytest

from edge_moe.benchmarks.studies import footprint


def test_memory_of_a_process_that_used_one_expert(tiny_bundle):
    (found,) = footprint.memory_bytes(tiny_bundle, repeats=1)
    parts = sum((tiny_bundle / f"litert/int8/{part}.tflite").stat().st_size for part in ("base", "gate", "expert_00"))
    assert parts < found < 200 << 20


def test_import_time():
    found = footprint.import_ms(repeats=2)
    assert found["import edge_moe"] > found["pass"] > 0
    assert found["difference"] == found["import edge_moe"] - found["pass"]


@pytest.mark.parametrize(("more", "took", "met"), [(2 << 20, 150.0, "yes"), ((2 << 20) + 1, 150.1, "NO")])
def test_the_command_and_its_bars(monkeypatch, tmp_path, capsys, more, took, met):
    memory = {"bundle-1": 10 << 20, "bundle-20": (10 << 20) + more}
    monkeypatch.setattr(footprint, "full_size_bundle", lambda folder, experts, progress: folder / f"bundle-{experts}")
    monkeypatch.setattr(footprint, "memory_bytes", lambda bundle: [memory[bundle.name]] * 3)
    monkeypatch.setattr(footprint, "import_ms", lambda: {"difference": took})
    monkeypatch.setattr(sys, "argv", ["footprint", "-o", str(tmp_path)])
    footprint.main()
    found = json.loads((tmp_path / "footprint.json").read_text())
    assert (found["more_bytes"], found["more_bytes_met"], found["import_met"]) == (more, met == "yes", met == "yes")
    assert capsys.readouterr().out.count(f"| {met} |") == 2
