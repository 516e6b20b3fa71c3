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


def test_every_recipe_and_the_stock_one_are_timed(measured):
    for part in ("base", "expert"):
        timings = measured["timings"][part]
        assert timings.keys() == {"int8", "fp32", "int8-stock"}
        for one in timings.values():
            assert 0 < one.p10_ms <= one.median_ms <= one.p90_ms


def test_bars_are_ratios_of_what_was_timed(measured):
    bars = {bar.what: bar for bar in measured["bars"]}
    base, expert = measured["timings"]["base"], measured["timings"]["expert"]
    for what, slow, fast, least in (
        ("base, fp32 / int8", base["fp32"], base["int8"], 1.4),
        ("expert, fp32 / int8", expert["fp32"], expert["int8"], 1.7),
        ("base, stock int8 / int8", base["int8-stock"], base["int8"], 3.0),
    ):
        assert bars[what].ratio == slow.median_ms / fast.median_ms
        assert (bars[what].bar, bars[what].met) == (f">= {least:g}", bars[what].ratio >= least)
    overhead = bars["exit path: predict_tensor / raw call"]
    assert overhead.ratio > 0.5
    assert (overhead.bar, overhead.met) == ("<= 1.05", overhead.ratio <= 1.05)
    assert sum("mean / sum of parts" in what for what in bars) >= 3


def test_the_page(measured):
    page = speed.to_markdown(measured)
    assert "UNTRAINED" in page.splitlines()[0]
    for part, timings in measured["timings"].items():
        for recipe, one in timings.items():
            faster = timings["fp32"].median_ms / one.median_ms
            assert f"| {part} | {recipe} | {one.median_ms:.3f} |" in page
            assert f"| {faster:.2f} |" in page
    for bar in measured["bars"]:
        assert f"| {bar.what} | {bar.ratio:.3f} | {bar.bar} | {'yes' if bar.met else 'NO'} |" in page


def test_the_command(measured, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(speed, "full_size_bundle", lambda folder, experts, progress: folder / f"bundle-{experts}")
    monkeypatch.setattr(speed, "measure", lambda bundle, *_: measured)
    monkeypatch.setattr(sys, "argv", ["speed", "-o", str(tmp_path / "out")])
    speed.main()
    assert capsys.readouterr().out == speed.to_markdown(measured) + "\n"
    assert json.loads((tmp_path / "out/speed.json").read_text())["rounds"] == 2
    assert (tmp_path / "out/speed.md").read_text() == speed.to_markdown(measured)


def test_variants_take_turns(monkeypatch):
    monkeypatch.setattr(speed, "_WARM_UP", 1)
    calls: list[str] = []
    variants = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    found = speed._take_turns(variants, 4, "turns", Silent(), block=2)
    blocks = [calls[i : i + 3] for i in range(0, len(calls), 3)]  # a warm-up, then two that count
    assert len(blocks) == 4 * 2
    assert all(len(set(block)) == 1 for block in blocks)
    assert all({a[0], b[0]} == {"a", "b"} for a, b in zip(blocks[::2], blocks[1::2], strict=True))
    assert found.keys() == {"a", "b"}


def test_the_bundle_is_made_once_and_is_untrained(monkeypatch, tmp_path):
    made = []

    def convert(checkpoint, data, out, options, **_):
        made.append((checkpoint, data, options))
        out.mkdir()

    monkeypatch.setattr(speed, "convert", convert)
    monkeypatch.setattr(speed, "_SIZE", 32)
    for _ in range(2):
        assert speed.full_size_bundle(tmp_path, 1, Silent()) == tmp_path / "bundle-1"
    ((checkpoint, data, options),) = made
    assert json.loads((checkpoint / "config.json").read_text())["origin"] == "untrained"
    assert data == "noise"
    assert "int8" in options.recipes
