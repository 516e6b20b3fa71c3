"""What converting costs, measured on conversions that are stood in for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import torch

from edge_moe.benchmarks.machine import this_machine
from edge_moe.benchmarks.studies import conversion
from edge_moe.bundle import Preprocessing
from edge_moe.nn import Architecture
from edge_moe.progress import Silent
from edge_moe.training.checkpoint import load_checkpoint, save_checkpoint
from edge_moe.training.untrained import new_untrained

SECONDS = {
    "litert/base graph": 3.0,
    "litert/expert graph": 2.0,
    "litert/base": 5.0,
    "litert/gate": 1.0,
    "litert/expert_00": 1.0,
    "litert/expert_01": 4.0,
    "litert/expert_02": 2.0,
}
MORE = {"litert/expert graph": 2.0, "litert/gate": 1.0, "litert/expert_03": 2.0}


@pytest.fixture
def tiny_full_size(monkeypatch):
    def checkpoint(folder, experts):
        architecture = Architecture(base="mobilenet_v3_small", classes=3, image_size=32)
        spec = Preprocessing(image_size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        path = folder / f"checkpoint-{experts}"
        save_checkpoint(path, new_untrained(architecture, experts, spec, seed=0))
        return path

    monkeypatch.setattr(conversion, "full_size_checkpoint", checkpoint)


@pytest.fixture
def measured(tiny_full_size, monkeypatch, tmp_path):
    calls = []

    def convert(checkpoint, data, out, options, *, jobs, progress):
        assert not out.exists()  # what an earlier run left would be taken over
        calls.append((checkpoint, data, out, options, jobs))
        out.mkdir()
        time.sleep(0.25)
        return SimpleNamespace(seconds=MORE if options.reuse else SECONDS)

    monkeypatch.setattr(conversion, "convert", convert)
    (tmp_path / "converted").mkdir()
    return conversion.measure(tmp_path, 1, ("litert",), 3, Silent()), calls


def test_one_expert_more_is_converted_from_the_first_bundle(measured, tmp_path):
    report, (first, more) = measured
    assert (first[2], first[3].reuse) == (tmp_path / "converted", ())
    assert (more[2], more[3].reuse) == (tmp_path / "converted-more", (tmp_path / "converted",))
    assert first[3].backends == more[3].backends == ("litert",)
    assert {first[4], more[4], report["jobs"]} == {3}
    for run, parts in zip(report["runs"].values(), (SECONDS, MORE), strict=True):
        assert 0.25 <= run["seconds"] < 5
        assert run["parts"] == parts
        assert run["peak_bytes"] > 50 << 20  # this process has torch


def test_experts_differ_and_the_second_checkpoint_has_those_of_the_first(measured):
    _, (first, more) = measured
    one, two = (load_checkpoint(call[0]).mixture for call in (first, more))
    assert (len(one.experts), len(two.experts)) == (1, 2)

    def weights(part):
        return torch.cat([parameter.detach().flatten() for parameter in part.parameters()])

    assert torch.equal(weights(one.base), weights(two.base))
    assert torch.equal(weights(one.experts[0]), weights(two.experts[0]))
    assert not torch.allclose(weights(two.experts[0]), weights(two.experts[1]))


def test_the_table_counts_parts():
    report = {
        "machine": this_machine(),
        "jobs": 2,
        "backends": ("litert",),
        "runs": {
            "K = 3": {"seconds": 12.0, "peak_bytes": 300 << 20, "parts": SECONDS},
            "one expert more": {"seconds": 3.0, "peak_bytes": 200 << 20, "parts": MORE},
        },
    }
    lines = conversion.to_markdown(report).splitlines()
    assert "UNTRAINED" in lines[0]
    assert "| K = 3 | 12 | 5 | 300 |" in lines
    assert "| one expert more | 3 | 2 | 200 |" in lines
    rows = [line for line in lines if line.startswith("| litert |")]
    assert rows == [  # of the first run: the median of 1, 4 and 2 seconds is 2
        "| litert | base | 5.0 | 1 |",
        "| litert | base graph | 3.0 | 1 |",
        "| litert | expert | 2.0 | 3 |",
        "| litert | expert graph | 2.0 | 1 |",
        "| litert | gate | 1.0 | 1 |",
    ]


def test_memory_of_children_counts():
    mebibytes = 150
    program = f"import time; held = b'1' * ({mebibytes} << 20); time.sleep(0.6)"
    with conversion._Memory() as memory:
        subprocess.run([sys.executable, "-S", "-c", program], check=True)
    own = psutil.Process().memory_info().rss
    assert mebibytes << 20 < memory.peak - own < (mebibytes + 100) << 20


def test_the_command(monkeypatch, tmp_path, capsys):
    parts = {"seconds": 1.0, "peak_bytes": 1 << 20, "parts": SECONDS}
    asked = []

    def measure(folder, experts, backends, jobs, progress):
        asked.append((folder, experts, backends, jobs))
        return {
            "machine": this_machine(),
            "jobs": jobs,
            "backends": backends,
            "runs": {"K = 2": parts},
        }

    monkeypatch.setattr(conversion, "measure", measure)
    arguments = ["-o", str(tmp_path / "out"), "--experts", "2", "--jobs", "1", "--backends", "onnx"]
    monkeypatch.setattr(sys, "argv", ["conversion", *arguments])
    conversion.main()
    assert asked == [(tmp_path / "out", 2, ("onnx",), 1)]
    page = (tmp_path / "out/conversion.md").read_text()
    assert capsys.readouterr().out == page + "\n"
    assert "| K = 2 | 1 | 5 | 1 |" in page
    assert json.loads((tmp_path / "out/conversion.json").read_text())["runs"]["K = 2"]["parts"] == SECONDS
