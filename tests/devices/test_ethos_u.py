"""Arm's own tools at work: conversion, Vela's estimates, the reference model's answers, and that nobody is called."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from edge_moe import BackendError, Bundle, ConversionError, Runtime, backends
from edge_moe.backends.tosa import unpack
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.results import load
from edge_moe.brought import cache_folder
from edge_moe.comparing import relative_error
from edge_moe.converters import recipes, toolchain
from edge_moe.converters.interface import channels_first
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import load_checkpoint
from tests.cli.conftest import cli  # noqa: F401  (a fixture)
from tests.devices import network
from tests.devices.test_privacy import DRIVER, traced

pytestmark = pytest.mark.devices

KEY = SetKey("ethos-u", "int8")
BENCH = ("--data", "noise", "--images", 2, "--validation-images", 16)
FEW = ("--calibration-images", 8, "--validation-images", 8, "--jobs", 2)


@pytest.fixture(scope="module", autouse=True)
def _set_up():
    assert targets.get("ethos-u").set_up().complete, "Arm's tools are not set up: make test-devices"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return network.write_checkpoint(tmp_path_factory.mktemp("ethos-u") / "checkpoint")


@pytest.fixture(scope="module")
def bundle(checkpoint):
    """For an NPU and for processors, by what a person types."""
    from typer.testing import CliRunner

    from edge_moe.cli.app import app

    out = checkpoint.parent / "bundle"
    arguments = (
        "convert",
        checkpoint,
        "--data",
        "noise",
        "-o",
        out,
        "--set",
        f"{KEY},litert/int8",
        *FEW,
        "--keep-going",
    )
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return out


def bench(cli, bundle, npu, out):  # noqa: F811
    done = cli("bench", bundle, "--device", f"ethos-u:{npu}", *BENCH, "-o", out)
    assert done.code == 0, done.err
    return load(out)


def test_the_set_is_integers_at_its_ends_and_for_the_npu(bundle):
    manifest = Bundle(bundle).manifest
    assert [str(one.key) for one in manifest.sets] == [str(KEY), "litert/int8", "litert/fp32"]  # no float for an NPU
    (one, *_) = manifest.sets
    assert one.runs_on.npu == "ethos-u"
    for part in one.parts.values():
        assert {tensor.dtype for tensor in (*part.inputs, *part.outputs)} <= {"int8", "int16"}
        assert all(tensor.scale and tensor.tensor for tensor in (*part.inputs, *part.outputs))


def test_what_the_base_gives_an_expert_are_the_integers_that_it_takes(bundle):
    """So that a device hands the map over as it is: no rounding between parts."""
    one = Bundle(bundle).manifest.sets[0]
    (given,) = (tensor for tensor in one.parts["base"].outputs if tensor.name == "features")
    (taken,) = one.parts["expert_00"].inputs
    assert given.zero_point == taken.zero_point
    assert given.scale == pytest.approx(taken.scale, rel=1e-5)


def test_the_reference_model_answers_as_the_quantized_graph_in_torch(checkpoint):
    """Two ways through the same integers: Arm's, and torch's, which computes with what they stand for."""
    part = load_checkpoint(checkpoint).mixture.experts[0].eval()
    samples = np.random.default_rng(0).uniform(0, 2, (8, 1, *_features(checkpoint))).astype(np.float32)
    tools, recipe = toolchain.get("ethos-u"), recipes.get("ethos-u", "int8")
    traced_ = tools.trace(part, "expert", samples[0])
    (artifact,) = tools.build(traced_, part, "expert", samples, [recipe])
    assert tools.structure(artifact).is_whole
    opened = backends.get("ethos-u").open(artifact)
    try:
        for sample, expected in zip(samples, tools.emulate(artifact, traced_, part, samples, recipe), strict=True):
            opened.invoke(sample)
            with torch.no_grad():
                true = part(channels_first(sample)).numpy()
            assert relative_error(opened.output("logits"), expected) < 0.03  # sums that round to the other side
            assert np.corrcoef(opened.output("logits").ravel(), true.ravel())[0, 1] > 0.97
    finally:
        opened.close()


def _features(checkpoint):
    base = load_checkpoint(checkpoint).mixture.base
    with torch.no_grad():
        return base(torch.zeros(1, 3, network.SIZE, network.SIZE)).features.permute(0, 2, 3, 1).shape[1:]


@pytest.mark.parametrize("npu", ["u55-128", "u55-256", "u65-256", "u65-512", "u85-256", "u85-512"])
def test_every_npu_in_both_memory_modes(cli, bundle, tmp_path, npu):  # noqa: F811
    found = bench(cli, bundle, npu, tmp_path / npu)
    assert (found.unit.name, found.provenance(), found.rounds) == ("cycles", "estimated", 1)
    (one,) = found.sets
    assert [part.part for part in one.parts] == ["base", "expert_00", "expert_01", "gate"]
    outside = "flash" if npu.startswith("u55") else "DRAM"
    (line,) = found.lines
    for costs in line.sets[0].parts.values():
        assert costs["cycles"] >= costs["cycles_weights_in_sram"] > (0.0,)
    details = found.opening.details[str(KEY)]
    for part, two in details.items():
        assert len(two) == 2
        for way in two:
            assert way.facts[f"{outside if way.way != 'Sram_Only' else 'weights in SRAM'} bytes"] > 0, (part, way.way)
            assert sum(layer.costs["cycles"] for layer in way.layers) > 0


def test_it_answers_as_the_bundle_says_and_tau_is_chosen_in_cycles(cli, bundle, tmp_path):  # noqa: F811
    done = cli("verify", bundle, "--device", "ethos-u:u55-256", "--set", KEY)
    assert done.code == 0, done.err
    opened = Bundle(bundle)
    sample = next(iter(opened.golden_inputs().values()))
    with Runtime(bundle, backend="ethos-u") as model:
        assert np.isfinite(model.predict_tensor(sample).scores).all()
    bench(cli, bundle, "u55-256", tmp_path / "results")
    most = max(point.mean for one in load(tmp_path / "results").sets for point in one.points)
    done = cli("choose", bundle, "--results", tmp_path / "results", "--max-cost", most)
    assert done.code == 0, done.err
    assert "cycles" in done.out
    done = cli("report", tmp_path / "results", "-o", tmp_path / "page")
    assert done.code == 0, done.err


class Sorts(nn.Module):
    """An expert with an operator that the NPU has not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 8, 1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sort(self.first(x).mean((2, 3)), dim=1)[0])


def test_an_operator_that_the_npu_lacks_is_named_with_its_layer():
    samples = np.random.default_rng(0).standard_normal((2, 1, 5, 5, 4)).astype(np.float32)
    tools = toolchain.get("ethos-u")
    traced_ = tools.trace(Sorts().eval(), "expert", samples[0])
    with pytest.raises(ConversionError, match=r"Ethos-U does not take aten::sort of .*another backend"):
        list(tools.build(traced_, Sorts().eval(), "expert", samples, [recipes.get("ethos-u", "int8")]))


def test_a_file_that_was_altered_does_not_reach_the_tools(bundle):
    data = bytearray((bundle / "ethos-u/int8/gate.tosa").read_bytes())
    assert unpack(bytes(data)).graph
    data[100] ^= 1
    with pytest.raises(BackendError, match="altered"):
        backends.get("ethos-u").open(bytes(data))


def test_nobody_is_called(checkpoint, tmp_path):
    """While ExecuTorch lowers, Vela compiles and the reference model answers."""
    commands = [
        f"convert {checkpoint} --data noise -o bundle --set {KEY} {' '.join(map(str, FEW))} --keep-going",
        f"bench bundle --device ethos-u:u55-256 {' '.join(map(str, BENCH))} -o results",
    ]
    cache = {"EDGE_MOE_CACHE": str(cache_folder())}
    called, left = traced(tmp_path, DRIVER, json.dumps([command.split() for command in commands]), **cache)
    assert called == []
    assert [path for path in left if "matplotlib" not in path and path not in (".cache", ".config")] == []
