"""The comparison of recipes, on a small network; LiteRT's stock recipe is made in this process."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest
import torch

from edge_moe.benchmarks.conditions import Conditions
from edge_moe.benchmarks.peers import stock
from edge_moe.benchmarks.samples import Summary
from edge_moe.benchmarks.studies import recipes
from edge_moe.bundle import Bundle
from edge_moe.converters.recipes import book
from edge_moe.progress import Silent
from tests import tiny
from tests.benchmarks.conftest import hurry

PARTS = {"base": "base", "expert": "expert_00"}


@pytest.fixture(scope="module")
def measured(own_bundle, own_checkpoint, tmp_path_factory, _made_before):
    folder = tmp_path_factory.mktemp("stock")
    there = {one.backend: one for one in Bundle(own_bundle).manifest.sets if one.recipe.name == "fp32"}

    def convert_here(jobs, processes, folder, progress):
        for job in jobs:
            ((recipe, target),) = job.targets
            assert (recipe, job.checkpoint) == (book(job.backend).stock, own_checkpoint)
            if job.backend == "litert":  # takes and gives integers, as no other artifact does
                _made_before([job], processes, folder, progress)
            else:
                target.write_bytes((own_bundle / there[job.backend].parts[job.part].file).read_bytes())

    with pytest.MonkeyPatch.context() as patch, tiny.one_thread():
        hurry(patch)
        patch.setattr(stock, "carry_out", convert_here)
        before = torch.get_num_threads(), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        report = recipes.measure(own_bundle, own_checkpoint, folder, 1, (1, 2), Silent())
        assert torch.get_num_threads() == before[0]
        assert before[1] is None or os.sched_getaffinity(0) == before[1]
    return report


@pytest.fixture(scope="module")
def sets(own_bundle):
    return {f"{one.backend}/{one.recipe.name}": one for one in Bundle(own_bundle).manifest.sets}


def test_what_it_was_measured_on(measured):
    assert measured["machine"].logical_cpus >= 1
    assert measured["conditions"].keys() == {1, 2}
    for count, one in measured["conditions"].items():
        assert isinstance(one, Conditions)
        assert len(one.probe) == 2  # once for each part
        assert one.cpus is None or len(one.cpus) == count
    assert (measured["rounds"], measured["versions"].keys() >= {"edge-moe", "torch", "litert-torch"}) == (1, True)


def test_every_recipe_the_stock_ones_and_torch_are_timed(measured, sets):
    stock = {f"{name.split('/')[0]}, the quantizer's own" for name in sets}
    assert {"litert/int8", "litert/fp32"} <= sets.keys()
    assert measured["timings"].keys() == {1, 2}
    for timings in measured["timings"].values():
        assert timings.keys() == PARTS.keys()
        for found in timings.values():
            assert found.keys() == {"torch eager", *sets, *stock}
            for one in found.values():
                assert 0 < one.p10 <= one.median <= one.p90


def test_sizes_are_those_of_the_files(measured, sets, own_bundle):
    for name, one in sets.items():
        for part, of_the_bundle in PARTS.items():
            file = own_bundle / one.parts[of_the_bundle].file
            assert measured["bytes"][name][part] == file.stat().st_size


def test_bars_are_ratios_of_what_was_timed(measured, sets):
    bars = {bar.what: bar for bar in measured["goals"]}
    timings = measured["timings"][1]
    expected = {}
    for backend, part, least in (
        ("litert", "base", 1.4),
        ("litert", "expert", 1.7),
        ("onnx", "base", 1.0),
        ("onnx", "expert", 1.0),
        ("executorch", "base", 1.2),
        ("executorch", "expert", 1.2),
    ):
        times = timings[part]
        int8 = times.get(f"{backend}/{'int8-dynamic' if backend == 'executorch' else 'int8'}")
        if int8:
            expected[f"{backend} {part}, fp32 / int8, 1 thread(s)"] = (times[f"{backend}/fp32"], int8, least)
        if int8 and backend == "litert":
            expected[f"{backend} {part}, stock int8 / int8, 1 thread(s)"] = (
                times["litert, the quantizer's own"],
                int8,
                3.0,
            )
    assert bars.keys() == expected.keys()
    for what, (slow, fast, least) in expected.items():
        assert bars[what].ratio == slow.median / fast.median
        assert (bars[what].bar, bars[what].met) == (f">= {least:g}", bars[what].ratio >= least)


def summary(ms):
    return Summary(median=ms, p10=ms - 0.5, p90=ms + 0.5, p99=ms + 1, mean=ms)


def test_bars_of_every_backend():
    """By hand: fp32 4 ms, the first int8 recipe 2 ms, LiteRT's stock 5 ms."""
    times = {f"{backend}/fp32": summary(4.0) for backend in ("litert", "onnx", "executorch")}
    times |= {name: summary(2.0) for name in ("litert/int8", "onnx/int8", "executorch/int8-dynamic")}
    times |= {f"{backend}, the quantizer's own": summary(5.0) for backend in ("litert", "onnx", "executorch")}
    bars = recipes._goals({"base": times, "expert": times}, 1)
    assert len(bars) == 8
    for bar in bars:
        assert bar.ratio == (2.5 if "stock" in bar.what else 2.0)
        assert bar.met is ("stock" not in bar.what)


def test_the_page_has_every_row(measured):
    lines = recipes.to_markdown(measured).splitlines()
    assert "UNTRAINED" in lines[0]
    for threads, parts in measured["timings"].items():
        for part, timings in parts.items():
            start = lines.index(f"## {part}, {threads} thread{'s' if threads > 1 else ''}")
            rows = lines[start + 4 : start + 4 + len(timings)]
            assert len({line.count("|") for line in [*lines[start + 2 : start + 4], *rows]}) == 1
            for row, (name, one) in zip(rows, timings.items(), strict=True):
                fp32 = timings.get(f"{re.split('[/,]', name)[0]}/fp32")
                size = measured["bytes"].get(name, {}).get(part)
                cells = [cell.strip() for cell in row.split("|")[1:-1]]
                assert cells == [
                    name,
                    f"{one.median:.3f}",
                    f"{one.p10:.3f}",
                    f"{one.p90:.3f}",
                    f"{fp32.median / one.median:.2f}" if fp32 else "",
                    f"{timings['torch eager'].median / one.median:.2f}",
                    f"{size / 1024:.0f}" if size else "",
                ]
    for bar in measured["goals"]:
        assert f"| {bar.what} | {bar.ratio:.3f} | {bar.bar} | {'yes' if bar.met else 'NO'} |" in lines


def test_the_command(measured, monkeypatch, tmp_path, capsys):
    asked = []

    def bundle(folder, experts, progress, backends):
        asked.append((experts, backends))
        return folder / "bundle"

    def measure(bundle, checkpoint, made, rounds, threads, progress):
        assert (bundle, checkpoint) == (tmp_path / "out/bundle", tmp_path / "out/checkpoint-1")
        assert made.is_dir() and not any(made.iterdir())
        asked.append((rounds, threads))
        return measured

    monkeypatch.setattr(recipes, "full_size_bundle", bundle)
    monkeypatch.setattr(recipes, "full_size_checkpoint", lambda folder, experts: folder / f"checkpoint-{experts}")
    monkeypatch.setattr(recipes, "measure", measure)
    arguments = ["-o", str(tmp_path / "out"), "--rounds", "3", "--threads", "1", "--backends", "onnx", "litert"]
    monkeypatch.setattr(sys, "argv", ["recipes", *arguments])
    recipes.main()
    assert asked == [(1, ("onnx", "litert")), (3, [1])]
    assert capsys.readouterr().out == recipes.to_markdown(measured) + "\n"
    assert json.loads((tmp_path / "out/recipes.json").read_text())["timings"].keys() == {"1", "2"}
    assert (tmp_path / "out/recipes.md").read_text() == recipes.to_markdown(measured)
