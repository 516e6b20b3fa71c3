"""The full-size benchmark's machinery, on the tiny bundle: what it says is not the point, that it says it is."""

from __future__ import annotations

import json
import sys

import pytest

from edge_moe.benchmarks import speed
from edge_moe.progress import Silent


@pytest.fixture(scope="module")
def measured(tiny_bundle):
    return speed.measure(tiny_bundle, rounds=2, threads=1, progress=Silent())


def test_bars_are_ratios_of_what_was_timed(measured):
    first, *points = measured["bars"]
    overhead = measured["overhead"]
    assert overhead.keys() == {"raw", "predict"}
    for one in overhead.values():
        assert 0 < one.p10_ms <= one.median_ms <= one.p90_ms
    assert first.what == "exit path: predict_tensor / raw call"
    assert first.ratio == overhead["predict"].median_ms / overhead["raw"].median_ms
    assert (first.bar, first.met) == ("<= 1.05", first.ratio <= 1.05)
    assert first.ratio > 0.5
    assert len(points) >= 3
    for point in points:
        assert point.what.startswith("tau ") and point.what.endswith("mean / sum of parts")
        assert (point.bar, point.met) == ("<= 1.05", point.ratio <= 1.05)
        assert point.ratio > 0.5


def test_what_was_measured_is_said(measured):
    assert (measured["rounds"], measured["threads"]) == (2, 1)
    assert {"edge-moe", "torch", "litert-torch"} <= measured["versions"].keys()
    assert measured["machine"].logical_cpus >= 1


def test_the_page(measured):
    page = speed.to_markdown(measured)
    assert "UNTRAINED" in page.splitlines()[0]
    assert "litert/int8, " in page
    assert measured["machine"].processor in page
    for bar in measured["bars"]:
        assert f"| {bar.what} | {bar.ratio:.3f} | {bar.bar} | {'yes' if bar.met else 'NO'} |" in page


def test_the_command(measured, monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(speed, "full_size_bundle", lambda folder, experts, progress: folder / f"bundle-{experts}")
    monkeypatch.setattr(speed, "measure", lambda *arguments: asked.append(arguments[:3]) or measured)
    monkeypatch.setattr(sys, "argv", ["speed", "-o", str(tmp_path / "out"), "--rounds", "3", "--experts", "2"])
    speed.main()
    assert asked == [(tmp_path / "out/bundle-2", 3, 1)]
    assert capsys.readouterr().out == speed.to_markdown(measured) + "\n"
    assert json.loads((tmp_path / "out/speed.json").read_text())["rounds"] == 2
    assert (tmp_path / "out/speed.md").read_text() == speed.to_markdown(measured)
