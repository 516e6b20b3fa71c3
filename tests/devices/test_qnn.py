"""Qualcomm's own tools at work: the estimate, context binaries, the simulator's answers, and that nobody is called.

They are under their vendor's licence, which is for a person to agree to: `edge-moe devices setup qnn`.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_moe import BackendError, Bundle
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.elsewhere import Elsewhere
from edge_moe.benchmarks.results import load
from edge_moe.benchmarks.targets.qnn.session import WARNING
from edge_moe.benchmarks.targets.qnn.socs import SOCS
from edge_moe.benchmarks.targets.qnn.tool import Tool
from edge_moe.brought import cache_folder
from edge_moe.bundle import GOLDEN_FEED
from edge_moe.converters import recipes
from edge_moe.converters.convert import ConversionOptions, convert
from edge_moe.progress import Silent
from edge_moe.records import file_sha256
from edge_moe.sets import SetKey
from edge_moe.verify import relative_error, verify
from tests.benchmarks.targets.qnn import graphs
from tests.cli.conftest import cli  # noqa: F401  (a fixture)
from tests.devices import network
from tests.devices.test_privacy import DRIVER, traced

pytestmark = pytest.mark.devices

BENCH = ("--data", "noise", "--images", 2, "--validation-images", 16, "--checked-images", 8)


@pytest.fixture(scope="module", autouse=True)
def _agreed():
    assert targets.get("qnn").set_up().complete, "Qualcomm's tools are not set up: make test-devices ACCEPT_LICENCE=yes"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small network by the recipe that the NPU takes, and by those that it does not."""
    folder = tmp_path_factory.mktemp("qnn")
    checkpoint, out = network.write_checkpoint(folder / "checkpoint"), folder / "bundle"
    wanted = ("litert/int8", *(f"onnx/{name}" for name in ("int8-stock", "int8-a16", "int8-all", "int8-heavy")))
    options = ConversionOptions(
        backends=("litert", "onnx"), recipes=wanted, calibration_images=8, validation_images=8, keep_going=True
    )
    convert(checkpoint, "noise", out, options, jobs=2)
    return out


@pytest.fixture
def tool():
    return Tool(targets.get("qnn").set_up().libraries, SOCS["QCS9100"].model, "qnn:QCS9100")


def bench(cli, bundle, soc, out):  # noqa: F811
    done = cli("bench", bundle, "--device", f"qnn:{soc}", "--set", "onnx/int8-stock", *BENCH, "-o", out)
    assert done.code == 0, done.err
    return load(out), done


def test_an_estimate_with_its_bounds_and_the_warning(cli, bundle, tmp_path):  # noqa: F811
    found, done = bench(cli, bundle, "QCS9100", tmp_path / "one")
    assert (found.unit.name, found.provenance(), found.rounds) == ("ms", "estimated", 1)
    assert WARNING in found.conditions.remarks
    assert WARNING in done.err
    (one,) = found.sets
    assert [part.part for part in one.parts] == ["base", "expert_00", "expert_01", "gate"]
    for part in one.parts:
        low, high = part.bounds
        assert 0 < low <= part.cost <= high < 1
    assert one.prices["base"] > one.prices["expert_00"] == one.prices["expert_01"] > one.prices["gate"]
    assert one.agreement_there is not None
    page = (tmp_path / "one/results.md").read_text()
    assert "estimated, by QNN" in page
    assert "0.963 ms" in page
    assert "| between |" in page
    again, _ = bench(cli, bundle, "QCS9100", tmp_path / "two")
    assert (again.lines, again.opening.compiled) == (found.lines, found.opening.compiled)


@pytest.mark.parametrize("soc", [name for name, one in SOCS.items() if one.estimated])
def test_what_has_an_estimate(tool, tmp_path, soc):
    other = Tool(targets.get("qnn").set_up().libraries, SOCS[soc].model, soc)
    assert other.compile(graphs.whole(tmp_path / "part.onnx"), "a part").us.value > 0


def test_a_phone_gets_context_binaries_and_no_latency(cli, bundle, tmp_path):  # noqa: F811
    found, done = bench(cli, bundle, "SM8650", tmp_path / "report")
    assert (found.unit.name, found.unit.is_time) == ("context_bytes", False)
    assert "latency on SM8650: n/a, needs the device" in done.err
    assert "latency: n/a, needs the device" in (tmp_path / "report/results.md").read_text()
    folder = targets.get("qnn").set_up().folder / "contexts"
    made = found.opening.compiled["onnx/int8-stock"]
    for part, one in made.items():
        assert (file_sha256(folder / one.file), one.bytes) == (one.sha256, int(found.sets[0].prices[part]))
    assert (folder / made["base"].file).with_name("base.onnx").is_file()


@pytest.mark.parametrize("soc", SOCS)
def test_every_chip_compiles(tmp_path, soc):
    one = Tool(targets.get("qnn").set_up().libraries, SOCS[soc].model, soc)
    found = one.compile(graphs.whole(tmp_path / "part.onnx"), "a part", tmp_path / "context.onnx")
    assert (found is not None) == SOCS[soc].estimated
    assert (tmp_path / "context_qnn.bin").stat().st_size > 0


def test_the_simulator_answers_nearly_as_the_host(bundle):
    opened, target = Bundle(bundle), targets.get("qnn:QCS9100")
    artifacts = next(one for one in opened.manifest.sets if str(one.key) == "onnx/int8-stock")
    golden = opened.golden(artifacts)
    for part, spec in opened.manifest.parts.items():
        samples = [one for one in golden.values() if f"{part}.{spec.outputs[0].name}" in one]
        given = np.concatenate([one[GOLDEN_FEED[spec.kind]] for one in samples])
        found = target.outputs(opened, artifacts, part, given)
        for one in spec.outputs:
            expected = np.concatenate([sample[f"{part}.{one.name}"] for sample in samples])
            assert found[one.name].shape == expected.shape
            assert relative_error(found[one.name], expected) < 0.1  # other integers, not another function


@pytest.mark.parametrize("recipe", recipes.book("onnx").orders["qnn"])
def test_right_answers_pass_and_wrong_ones_do_not(bundle, tool, tmp_path, recipe):
    opened, target, key = Bundle(bundle), targets.get("qnn:QCS9100"), SetKey("onnx", recipe)

    def failed(run):
        def engines(name):
            return Elsewhere(name, target.name, opened, run)

        checks = verify(opened, sets=[key], engines=engines, tolerance=target.tolerance)
        assert {one.detail.split(", ")[-1].split(" tol")[0] for one in checks if one.what == "base.logits"} == {
            "the device's own"
        }
        return {one.what.partition(".")[0] for one in checks if not one.passed and "answer" not in one.what}

    def altered(bundle, artifacts, part, inputs):
        """The base, with one scale doubled."""
        if part != "base":
            return target.outputs(bundle, artifacts, part, inputs)
        file = graphs.misscaled(bundle.path / artifacts.parts[part].file, tmp_path / "base.onnx")
        return tool.run(file, "the altered base", inputs)

    exchanged = {"expert_00": "expert_01", "expert_01": "expert_00"}
    assert failed(target.outputs) == set()
    assert failed(lambda b, a, part, x: target.outputs(b, a, exchanged.get(part, part), x)) == set(exchanged)
    assert failed(altered) == {"base"}


def test_verify_says_whose_tolerance_it_is(cli, bundle):  # noqa: F811
    done = cli("verify", bundle, "--set", "onnx/int8-stock", "--device", "qnn:QCS9100")
    assert done.code == 0, done.err
    assert "the device's own" in done.out


def test_recipes_are_ranked_by_the_estimate(bundle, tmp_path):
    """What QNN has no whole estimate of has no price, and comes last."""
    opened, one = Bundle(bundle), targets.get("qnn").ranked_by()
    files = {
        artifacts.key: {part: opened.path / artifacts.parts[part].file for part in ("base", "gate", "expert_00")}
        for artifacts in opened.manifest.sets
        if artifacts.recipe.name in ("int8-stock", "int8-all", "int8")
    }
    unit, samples = one.price(files, opened.manifest.parts, {}, 21, Silent())
    assert (unit.shown, list(samples)) == ("ms by QNN's estimate", [SetKey("onnx", "int8-stock")])
    (parts,) = samples.values()
    assert parts["base"][0][0] > parts["expert_00"][0][0] > parts["gate"][0][0] > 0


def test_a_set_that_does_not_fit_is_refused_in_one_line(cli, bundle, tmp_path):  # noqa: F811
    def refused(chosen, *words, device="qnn:QCS9100", code=1, more=()):
        out = tmp_path / "never"
        cli("bench", bundle, "--device", device, "--set", chosen, *BENCH, *more, "-o", out).refused(code, *words)
        assert not out.exists()

    by_scale = "base of onnx/int8-all cannot run on qnn:QCS9100: Add behind layer first.0 reads integers by another"
    refused("onnx/int8-all", by_scale, "convert --for qnn")
    refused("onnx/int8-heavy", "the HTP does not take Gemm in layer classifier.", "convert --for qnn")
    refused("onnx/fp32", "of layers in float", "--set")
    refused("litert/int8", "qnn:QCS9100 runs artifacts of onnx", "--set")
    refused("onnx/int8-stock", "threads is 2", code=2, more=("--threads", 2))
    refused("onnx/int8-stock", "unknown device 'qnn:SM1'; expected qnn:QCS9100", device="qnn:SM1", code=2)
    refused("onnx/int8-stock", "qnn has to be told which chip", device="qnn", code=2)


def test_an_operator_that_the_npu_lacks(tool, tmp_path):
    file = graphs.whole(tmp_path / "part.onnx", last="Erf")
    with pytest.raises(BackendError, match=r"the HTP does not take Erf behind layer head\.0 as it is; replace that"):
        tool.compile(file, "base of onnx/int8-stock")


def test_nobody_is_called_and_nothing_is_left(bundle, tmp_path):
    """Neither by loading the libraries, nor by compiling, nor by the simulator; see docs/privacy.md."""
    shown = "devices", *(f"bench {bundle} --device qnn:{soc} --set onnx/int8-stock --data noise --images 2 "
        f"--validation-images 4 --checked-images 2 -o {soc}" for soc in ("QCS9100", "SM8650"))  # fmt: skip
    cache = {"EDGE_MOE_CACHE": str(cache_folder())}
    called, left = traced(tmp_path, DRIVER, json.dumps([one.split() for one in shown]), **cache)
    assert called == []
    assert [one for one in left if "matplotlib" not in one and one not in (".cache", ".config")] == []
