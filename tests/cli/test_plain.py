"""A plain network, K = 0, by every command: each works, or says in one line what it would need."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_moe.benchmarks import results
from edge_moe.bundle import Bundle
from edge_moe.checkpoint import read_config
from edge_moe.converters import convert
from edge_moe.data import open_data
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.training.preflight import check_mixture
from tests import own, tiny
from tests.benchmarks.conftest import hurry
from tests.tiny import CLASSES, VALIDATION_IMAGES

OPTIONS = convert.ConversionOptions(
    backends=("litert", "onnx"), recipes=("int8",), calibration_images=8, keep_going=True
)
FAST = ("--images", 3, "--rounds", 2, "--cold-starts", 1)


@pytest.fixture(scope="module")
def base_accuracy(own_checkpoint: Path, tiny_images: Path) -> float:
    found = check_mixture(load_checkpoint(own_checkpoint), open_data(tiny_images, "val"))
    assert found is not None
    return found.right["base"] / found.images


@pytest.fixture(scope="module")
def checkpoint(own_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base of a mixture, imported alone."""
    from edge_moe.cli.app import app

    out = tmp_path_factory.mktemp("plain") / "checkpoint"
    base = ["--base", str(own_checkpoint / "base.safetensors"), "--architecture", own.NAME]
    app(["import", *base, "-o", str(out)], standalone_mode=False)
    return out


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tiny_images: Path, _made_before: tiny.PartsMadeHere) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_moe.converters.make.carry_out", _made_before)
        convert.convert(checkpoint, str(tiny_images), checkpoint.with_name("bundle"), OPTIONS)
    return checkpoint.with_name("bundle")


@pytest.fixture(scope="module")
def measured(bundle: Path, checkpoint: Path, tiny_images: Path) -> Path:
    """What bench leaves, peers and all."""
    from edge_moe.cli.app import app

    out = bundle.with_name("report")
    more = ["--peers", "--checkpoint", checkpoint, "--tau", 0.3, *FAST]
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        app(["bench", str(bundle), "--data", str(tiny_images), "-o", str(out), *map(str, more)], standalone_mode=False)
    return out


def test_import(cli, own_checkpoint, checkpoint, tiny_images, tmp_path, base_accuracy):
    assert (read_config(checkpoint).experts, read_config(checkpoint).labels) == (0, CLASSES)
    base = ("--base", own_checkpoint / "base.safetensors", "--architecture", own.NAME)
    done = cli("import", *base, "--data", tiny_images, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert " space" not in done.out
    assert f"fp32 accuracy: base {base_accuracy:.2%} (95%" in done.out
    assert done.out.splitlines()[-1] == f"{tmp_path / 'out'}: {own.NAME}, a plain network, 3 classes, imported"
    expert, gate = own_checkpoint / "expert_00.safetensors", own_checkpoint / "gate.safetensors"
    cli("import", *base, "--experts", expert, "-o", tmp_path / "no").refused(2, str(expert), "give --gate")
    cli("import", *base, "--gate", gate, "-o", tmp_path / "no").refused(2, str(gate), "a plain network")
    cli("import", *base, "--space", "logit", "-o", tmp_path / "no").refused(2, "logit says how", "leave it out")
    assert not (tmp_path / "no").exists()


def test_init_and_macs(cli, tmp_path):
    done = cli("init", "-o", tmp_path / "out", "--experts", 0, "--classes", 5, "--image-size", 32, "--base", own.NAME)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].endswith(f"{own.NAME}, a plain network, 5 classes, UNTRAINED (for latency only)")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"config.json", "base.safetensors"}
    done = cli("macs", "--experts", 0, "--json")
    assert json.loads(done.out) == {"base": {"macs": 56510400, "parameters": 2542856}}
    assert "a plain network" in " ".join(cli("macs", "--experts", 0).out.split())


def test_train(cli, own_checkpoint, tiny_images, tmp_path):
    network = ("--base", own.NAME, "--experts", 0, "--image-size", 32, "--epochs", 1)
    done = cli("train", tiny_images, *network, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "training: base, 1 epoch at 0.1, from scratch; no experts" in done.out.splitlines()
    assert "mixture" not in done.out
    assert read_config(tmp_path / "out").training.expert_epochs is None
    given = ("--base-weights", own_checkpoint / "base.safetensors", "--finetune", "none")
    done = cli("train", tiny_images, *network, *given, "-o", tmp_path / "no")
    done.refused(2, "nothing would be trained", "edge-moe import")
    cli("train", tiny_images, "-o", tmp_path / "out", "--only-expert", 0).refused(2, "is a plain network")


def test_a_base_that_does_not_learn_is_said_to_be_given(cli, own_checkpoint, tiny_images, tmp_path):
    given = ("--base", own.NAME, "--base-weights", own_checkpoint / "base.safetensors", "--finetune", "none")
    more = ("--experts", 1, "--expert-epochs", 1, "--augment", "none")
    done = cli("train", tiny_images, *given, *more, "-o", tmp_path / "out", "--jobs", 1)
    assert done.code == 0, done.err
    line = "training: base as given, not trained; gate, 30 epochs; 1 expert, 1 epoch at 0.002"
    assert line in done.out.splitlines()
    training = json.loads((tmp_path / "out" / "config.json").read_text())["training"]
    assert (training["epochs"], training["learning_rate"]) == (None, None)


def test_convert(cli, checkpoint, bundle, tiny_images, tmp_path, made_here, base_accuracy):
    options = ("--recipe", "int8", "--calibration-images", 8, "--keep-going", "--jobs", 1)
    done = cli("convert", checkpoint, "--data", tiny_images, "-o", tmp_path / "out", *options, "--tau", 0.3)
    assert done.code == 0, done.err
    assert "mixture" not in done.out
    opened = Bundle(bundle)
    manifest = opened.manifest
    for one in opened.operating_sets.values():
        (point,) = one.operating_points
        assert (point.tau, point.max_experts, point.exit_rate) == (1.0, 0, 1.0)
        assert (one.default_tau, one.default_max_experts) == (1.0, 0)
        assert point.mean_macs == manifest.parts["base"].macs
    assert opened.operating_sets["litert/fp32"].operating_points[0].accuracy == base_accuracy
    assert next(iter(Bundle(tmp_path / "out").operating_sets.values())).default_tau == 1.0, "a tau changes nothing"
    done = cli("convert", checkpoint, "--data", tiny_images, "-o", tmp_path / "no", *options, "--max-experts", 2)
    done.refused(2, "max_experts is 2; expected 0, or nothing: a plain network has no experts")
    done = cli("convert", checkpoint, "--data", tiny_images, "-o", tmp_path / "no", *options, "--keep-float", "gate")
    done.refused(2, "'gate'", "no module of the network")


def test_inspect_verify_and_run(cli, bundle, tiny_images):
    done = cli("inspect", bundle)
    assert done.code == 0, done.err
    assert f"{own.NAME}, a plain network, 3 classes" in " ".join(done.out.split())
    assert "ensemble" not in done.out
    assert cli("verify", bundle).code == 0
    image = tiny_images / "val" / "down" / "00.png"
    rows = []
    for tau in (0, 0.5, 1):
        (row,) = json.loads(cli("run", bundle, image, "--tau", tau, "--json").out)
        rows.append({name: row[name] for name in ("label", "exited", "experts", "macs")})
    assert rows[0] == rows[1] == rows[2]
    expected = {"exited": True, "experts": [], "macs": Bundle(bundle).manifest.parts["base"].macs}
    assert rows[0] == {"label": rows[0]["label"]} | expected
    assert "(exit)" not in cli("run", bundle, image).out
    cli("run", bundle, image, "--max-experts", 1).refused(2, "max_experts is 1; expected 0")


def test_bench(measured, base_accuracy):
    found = results.load(measured)
    for one in found.sets:
        assert [part.part for part in one.parts] == ["base"]
        assert [(p.point.tau, p.point.max_experts) for p in one.points] == [(1.0, 0)]
    fp32 = next(one for one in found.sets if one.label == "litert/fp32")
    assert fp32.points[0].point.accuracy == base_accuracy
    names = {(peer.name, peer.backend) for peer in found.peers if peer.raw is not None}
    assert names == {
        *(("base only", backend) for backend in ("litert", "onnx")),
        *(("stock int8, base only", backend) for backend in ("litert", "onnx")),
        ("torch eager, base only", "torch"),
    }
    page = (measured / "results.md").read_text()
    assert "litert/int8, a plain network, answers in" in page
    assert "mends" not in page
    assert re.findall(r"\b(?:experts?|gates?|routed|tau|exits?)\b", page, re.IGNORECASE) == []


def test_report_beside_a_mixture(cli, measured, own_bundle, tiny_images, tmp_path, monkeypatch):
    hurry(monkeypatch)
    more = ("--recipe", "litert/int8", "--tau", 0.5, "--images", 3, "--rounds", 1, "--cold-starts", 0)
    done = cli("bench", own_bundle, "--data", tiny_images, "-o", tmp_path / "mixture", *more)
    assert done.code == 0, done.err
    done = cli("report", measured, tmp_path / "mixture", "-o", tmp_path / "both")
    assert done.code == 0, done.err
    page = (tmp_path / "both" / "results.md").read_text()
    assert "2 experts" in page
    assert "a plain network" in page


def test_choose_and_simulate(cli, bundle, measured, tiny_images):
    done = cli("choose", bundle, "--results", measured, "--max-macs", 1e9)
    done.refused(2, f"{bundle} is a plain network: there is nothing to choose")
    done = cli("simulate", bundle, "--profile", measured, "--data", tiny_images, "--tau", 0.2, "--json")
    assert done.code == 0, done.err
    (point,) = json.loads(done.out)["points"]
    assert (point["point"]["max_experts"], point["point"]["exit_rate"]) == (0, 1.0)
    assert point["point"]["samples"] == VALIDATION_IMAGES
    assert point["mean"] > 0
