"""checkpoint -> bundle. The session's bundle went through the real converter; variants copy its parts."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import pytest
import torch

from edge_moe import Bundle, ConversionError, DataError, Runtime
from edge_moe.converters import litert
from edge_moe.converters.convert import Options, _choose, convert
from edge_moe.converters.measure import TAUS
from edge_moe.data import open_data
from edge_moe.evaluate import wilson
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, read_config, save_checkpoint
from edge_moe.verify import verify
from tests.tiny import CLASSES, EXPERTS, VALIDATION_IMAGES, digest, tree

PARTS = ["base", "gate", "expert_00", "expert_01"]
FAST = {"recipes": ("int8",), "min_agreement": 0, "calibration_images": 4, "validation_images": 12}


@pytest.fixture
def make(copied_parts, tiny_checkpoint, tiny_images, tmp_path):
    """make(**options) -> the manifest of a fresh bundle at tmp_path / "bundle"."""

    def call(checkpoint=tiny_checkpoint, data=tiny_images, force=False, **options):
        out = tmp_path / "bundle"
        call.report = convert(checkpoint, str(data), out, Options(**(FAST | options)), force=force)
        call.calls = copied_parts.calls
        return Bundle(out).manifest

    return call


def test_the_real_conversion(tiny_bundle):
    """Through litert-torch, the quantizer, and processes of their own."""
    assert sorted(tree(tiny_bundle)) == sorted(
        ["litert", "manifest.json", "parity.json", "parity.md"]
        + [f"litert/{r}{f}" for r in ("fp32", "int8") for f in ("", "/golden.npz", *(f"/{p}.tflite" for p in PARTS))]
    )
    assert not tiny_bundle.with_name("bundle.partial").exists()
    checks = verify(tiny_bundle)
    assert len(checks) == 2 * (5 + 6 + 1)
    assert all(check.passed for check in checks)


def test_the_manifest_says_what_the_checkpoint_said(tiny_bundle, tiny_checkpoint):
    manifest, config = Bundle(tiny_bundle).manifest, read_config(tiny_checkpoint)
    assert (manifest.architecture, manifest.trained, manifest.experts) == ("mobilenet_v3_small", True, EXPERTS)
    for field in ("labels", "preprocessing", "ensemble", "space", "experts"):
        assert getattr(manifest, field) == getattr(config, field)
    assert [one.recipe.name for one in manifest.sets] == ["int8", "fp32"]
    assert manifest.sets[0].recipe.settings["calibration_images"] == 128
    assert {"edge-moe", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"} <= manifest.tools.keys()


def test_parity_of_the_real_conversion(tiny_bundle):
    report = json.loads((tiny_bundle / "parity.json").read_text())
    assert (report["trained"], report["images"], report["shipped"]) == (True, VALIDATION_IMAGES, ["int8", "fp32"])
    for recipe, rows in report["recipes"].items():
        assert [row["part"] for row in rows] == PARTS
        for row in rows:
            assert (row["delegates"], row["outside"]) == (1, 0)
            assert row["bytes"] == (tiny_bundle / f"litert/{recipe}/{row['part']}.tflite").stat().st_size
    assert all(row["torch_error"] < 1e-4 for row in report["recipes"]["fp32"])
    for fp32, int8 in zip(report["recipes"]["fp32"], report["recipes"]["int8"], strict=True):
        assert int8["bytes"] < 0.6 * fp32["bytes"]
        assert int8["against_fp32"]["cosine"] > 0.9
        assert fp32["against_fp32"] == {"top1": 1.0, "cosine": pytest.approx(1), "sqnr_db": 200.0}
    assert all(setting["same_answer"] > 0.8 for setting in report["routed"]["int8"])


@pytest.mark.parametrize("recipe", ["int8", "fp32"])
def test_operating_points_are_those_of_single_predictions(tiny_bundle, tiny_images, recipe):
    """Image by image and sum by sum, through nothing but Runtime.predict_tensor."""
    artifacts = Bundle(tiny_bundle).manifest.find(recipe=recipe)
    images = open_data(tiny_images, "val")
    assert [(p.tau, p.max_experts) for p in artifacts.operating_points] == [(tau, 1) for tau in TAUS]
    with Runtime(tiny_bundle, recipe=recipe, max_experts=1) as model:
        tensors = list(images.tensors(model.manifest.preprocessing))
        for point in artifacts.operating_points:
            model.tau = point.tau
            answers = [model.predict_tensor(x) for x in tensors]
            right = sum(images.classes[y] == a.label for y, a in zip(images.labels, answers, strict=True))
            assert point.samples == len(answers) == VALIDATION_IMAGES
            assert point.exit_rate == pytest.approx(sum(a.exited for a in answers) / len(answers))
            assert point.mean_macs == pytest.approx(sum(a.macs for a in answers) / len(answers))
            assert point.accuracy == pytest.approx(right / len(answers))
            assert (point.accuracy_low, point.accuracy_high) == wilson(right, len(answers))
    rates = [point.exit_rate for point in artifacts.operating_points]
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (0, 1)
    assert any(0 < rate < 1 for rate in rates)  # something to see in between


def test_the_default_tau_loses_nothing_on_the_first_recipe(tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    points = {point.tau: point.accuracy for point in manifest.sets[0].operating_points}
    tau = manifest.sets[0].default_tau
    assert points[tau] >= points[0.0]
    assert all(accuracy < points[0.0] for other, accuracy in points.items() if other > tau)
    assert {one.default_tau for one in manifest.sets} == {tau}


def test_chosen_defaults(make):
    manifest = make(tau=0.33, max_experts=2)
    assert {(one.default_tau, one.default_max_experts) for one in manifest.sets} == {(0.33, 2)}
    assert {point.max_experts for point in manifest.sets[0].operating_points} == {1, 2}
    assert [setting["tau"] for setting in make.report["routed"]["int8"]] == [0.0, 0.33]
    assert {setting["max_experts"] for setting in make.report["routed"]["int8"]} == {2}


def test_without_fp32(make, tmp_path):
    manifest = make(ship_float=False)
    assert [one.recipe.name for one in manifest.sets] == ["int8"]
    assert list(make.report["recipes"]) == ["fp32", "int8"]  # the reference all the same
    assert not [path for path in tree(tmp_path) if "fp32" in path]


@pytest.mark.parametrize(
    ("wanted", "shipped"),
    [
        (("int8-dynamic", "int8"), ["int8-dynamic", "int8", "fp32"]),
        (("fp32", "int8"), ["fp32", "int8"]),
        (("fp32",), ["fp32"]),
        (("int8", "int8"), ["int8", "fp32"]),
    ],
)
def test_recipes_in_the_order_of_asking(make, wanted, shipped):
    manifest = make(recipes=wanted)
    assert [one.recipe.name for one in manifest.sets] == shipped
    assert all(check.passed for check in verify(Bundle(manifest_path(make))))


def manifest_path(make):
    return make.calls[-1][0].targets["fp32"].parents[2].with_name("bundle")


@pytest.mark.parametrize(
    ("missed", "options", "shipped"),
    [
        ({"int8": []}, {}, ["int8", "fp32"]),
        ({"int8": ["off"], "int8-dynamic": []}, {}, ["int8-dynamic", "fp32"]),
        ({"int8": ["off"], "int8-dynamic": ["off"]}, {}, ["int8-dynamic", "fp32"]),
        ({"int8": ["off"]}, {"recipes": ("int8",)}, ["int8", "fp32"]),
        ({"int8": []}, {"ship_float": False}, ["int8"]),
    ],
)
def test_the_first_candidate_without_fault_is_shipped(missed, options, shipped):
    assert _choose(missed, Options(**options)) == shipped


@pytest.fixture
def contrary(copied_parts, tiny_checkpoint):
    """The int8 gate says the opposite of what it should."""
    gate = load_checkpoint(tiny_checkpoint).mixture.gate
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.neg_()
    wrong = litert.export(gate, np.zeros((1, 576), np.float32))
    weights = digest(tiny_checkpoint / "gate.safetensors")
    copied_parts.made[weights, "int8"] = wrong


@pytest.mark.usefixtures("contrary")
def test_agreement_under_the_bar(make, tmp_path):
    make()
    before = tree(tmp_path)
    message = r"int8/gate agrees with fp32 on [\d.]+% of the images, expected 50\.00%.*parity\.md.*--keep-going$"
    with pytest.raises(ConversionError, match=message):
        make(force=True, min_agreement=0.5)
    after = tree(tmp_path)
    assert {path: after[path] for path in before} == before
    left = {"bundle.partial", "bundle.partial/parity.json", "bundle.partial/parity.md"}
    assert after.keys() - before.keys() == left
    assert make(force=True, min_agreement=0.5, keep_going=True).sets[0].recipe.name == "int8"
    assert "int8/gate agrees" in make.report["missed_bars"]["int8"][0]
    assert not (tmp_path / "bundle.partial").exists()


def test_a_full_agreement_passes_the_highest_bar(make):
    assert make(recipes=("fp32",), min_agreement=1).sets


def test_another_run_s_leftovers_are_cleared(make, tmp_path):
    (tmp_path / "bundle.partial/litert/int8").mkdir(parents=True)
    (tmp_path / "bundle.partial/litert/int8/stale.tflite").write_bytes(b"x")
    make()
    assert not [path for path in tree(tmp_path) if "stale" in path or "partial" in path]


@pytest.fixture
def one_expert(tiny_checkpoint, tmp_path):
    """The checkpoint's first expert alone, behind a gate of one."""
    loaded = load_checkpoint(tiny_checkpoint)
    mixture = loaded.mixture
    del mixture.experts[1:]
    mixture.gate = type(mixture.gate)(mixture.gate.in_features, 1).eval()
    save_checkpoint(tmp_path / "one", Checkpoint(msgspec.structs.replace(loaded.config, experts=1), mixture))
    return tmp_path / "one"


def test_one_expert(make, one_expert):
    manifest = make(one_expert)
    assert list(manifest.parts) == ["base", "gate", "expert_00"]
    assert manifest.sets[0].golden.experts == (0,)
    path = manifest_path(make)
    assert all(check.passed for check in verify(path))
    with Runtime(path, tau=0.0) as model:
        x = np.zeros((1, 32, 32, 3), np.float32)
        assert model.predict_tensor(x).experts == (0,)
        model.tau = 1.0
        assert model.predict_tensor(x).exited


def test_images_without_labels(make, tiny_images, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index, file in enumerate(sorted((tiny_images / split).glob("*/*.png"))[::9]):
            shutil.copy(file, tmp_path / "data" / split / f"{index}.png")
    manifest = make(data=tmp_path / "data")
    assert make.report["accuracy"] is None
    for one in manifest.sets:
        assert {(p.accuracy, p.accuracy_low, p.accuracy_high) for p in one.operating_points} == {(None, None, None)}
        assert one.operating_points[0].exit_rate == 0
        assert one.default_tau == 0.25
    assert "Accuracy" not in (manifest_path(make) / "parity.md").read_text()


def test_an_untrained_network_on_noise(make, tiny_checkpoint, tmp_path):
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "untrained")
    raw = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(raw | {"origin": "untrained"}))
    manifest = make(checkpoint, "noise", min_agreement=1)  # no bar applies
    assert not manifest.trained
    assert {one.operating_points for one in manifest.sets} == {()}
    assert make.report["accuracy"] is None
    assert "UNTRAINED" in (manifest_path(make) / "parity.md").read_text()


def test_classes_in_another_order_are_matched_by_name(make, tiny_images, tmp_path):
    """A folder that has only the last class: its index in the folder is 0, in the model 2."""
    for split in ("train", "val"):
        shutil.copytree(tiny_images / split / CLASSES[2], tmp_path / "data" / split / CLASSES[2])
    found = make(data=tmp_path / "data", validation_images=None)
    with Runtime(manifest_path(make), tau=1.0) as model:
        right = [model.predict(f).label == CLASSES[2] for f in sorted((tmp_path / "data/val").glob("*/*"))]
    assert found.sets[0].operating_points[-1].accuracy == pytest.approx(np.mean(right))


def test_classes_that_the_model_does_not_know(make, tiny_images, tmp_path):
    shutil.copytree(tiny_images, tmp_path / "data")
    (tmp_path / "data/val/down").rename(tmp_path / "data/val/sideways")
    before = tree(tmp_path)
    with pytest.raises(DataError, match="class 'sideways', which the model does not know"):
        make(data=tmp_path / "data")
    assert tree(tmp_path) == before
