"""checkpoint -> bundle. The session's bundle went through the real converter; variants are made in this process."""

from __future__ import annotations

import importlib
import json
import shutil
import sys

import msgspec
import numpy as np
import pytest
import torch

from edge_moe import Bundle, BundleError, ConversionError, DataError, OutputError, Runtime, UsageError, backends
from edge_moe.converters import convert as module
from edge_moe.converters import measure, recipes
from edge_moe.converters.convert import Options, convert
from edge_moe.converters.measure import TAUS
from edge_moe.converters.same_network import fixed_image
from edge_moe.converters.workers import FailedBackends
from edge_moe.data import open_data
from edge_moe.errors import LeftOutError
from edge_moe.evaluate import wilson
from edge_moe.nn import Architecture
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, new_mixture, read_config, save_checkpoint
from edge_moe.verify import verify
from tests import own
from tests.test_bundle import flip
from tests.tiny import CLASSES, EXPERTS, SETS, VALIDATION_IMAGES, digest, tree

PARTS = ["base", "gate", "expert_00", "expert_01"]
LOOSE = {"min_agreement": 0, "min_routing": 0}
FAST = {"recipes": ("int8",), "calibration_images": 8, "validation_images": 12, **LOOSE}
SUFFIX = {"litert": ".tflite", "onnx": ".onnx"}


def names(manifest):
    return [f"{one.backend}/{one.recipe.name}" for one in manifest.sets]


# --- the real conversion, of a real network ---


def test_the_real_conversion(tiny_bundle):
    """Through litert-torch, torch.onnx, the quantizers, and processes of their own."""
    files = [f"{name}/{p}{SUFFIX[name.split('/')[0]]}" for name in SETS for p in PARTS]
    files += [f"{name}/golden.npz" for name in SETS]
    assert sorted(tree(tiny_bundle)) == sorted(
        ["litert", "onnx", "manifest.json", "network.npz", "parity.json", "parity.md", *SETS, *files]
    )
    assert not tiny_bundle.with_name("bundle.partial").exists()
    checks = verify(tiny_bundle)
    assert len(checks) == 1 + len(SETS) * (5 + 6 + 1)
    assert all(check.passed for check in checks)


def test_the_manifest_says_what_the_checkpoint_said(tiny_bundle, tiny_checkpoint):
    manifest, config = Bundle(tiny_bundle).manifest, read_config(tiny_checkpoint)
    assert (manifest.architecture, manifest.trained, manifest.experts) == ("mobilenet_v3_small", True, EXPERTS)
    for field in ("labels", "preprocessing", "ensemble", "space", "experts"):
        assert getattr(manifest, field) == getattr(config, field)
    assert names(manifest) == list(SETS)
    for one in manifest.sets:
        recipe = recipes.get(one.backend, one.recipe.name)
        assert one.recipe.settings == json.loads(json.dumps(recipe.settings(128)))
        assert one.made_from.keys() == one.parts.keys()
    made_from = [digest for one in manifest.sets for digest in one.made_from.values()]
    assert len(set(made_from)) == len(made_from)
    tools = {"edge-moe", "torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert", "onnx", "onnxruntime"}
    assert tools <= manifest.tools.keys()


def test_parity_of_the_real_conversion(tiny_bundle):
    report = json.loads((tiny_bundle / "parity.json").read_text())
    assert (report["trained"], report["images"], report["shipped"]) == (True, VALIDATION_IMAGES, list(SETS))
    assert sorted(report["sets"]) == sorted(SETS)
    for name, rows in report["sets"].items():
        backend = name.split("/")[0]
        assert [row["part"] for row in rows] == PARTS
        for row in rows:
            assert row["structure"] == ([1, 0] if backend == "litert" else None)
            assert row["bytes"] == (tiny_bundle / name / f"{row['part']}{SUFFIX[backend]}").stat().st_size
    for backend in SUFFIX:
        for fp32, int8 in zip(report["sets"][f"{backend}/fp32"], report["sets"][f"{backend}/int8"], strict=True):
            assert fp32["torch_error"] < 1e-4
            assert int8["torch_error"] is None
            assert int8["bytes"] < 0.6 * fp32["bytes"]
            assert int8["against_fp32"]["cosine"] > 0.95
            assert int8["against_fp32"]["sqnr_db"] < 60  # something is int8
            assert fp32["against_fp32"] == {"top1": 1.0, "cosine": pytest.approx(1), "sqnr_db": 200.0}
    kinds = [f"{backend}/{kind}" for backend in SUFFIX for kind in ("base", "gate", "expert")]
    assert report["seconds"].keys() == {f"{kind} graph" for kind in kinds} | {f"{b}/{p}" for b in SUFFIX for p in PARTS}
    assert all(seconds > 0 for seconds in report["seconds"].values())


def test_int8_routes_and_answers_as_fp32(tiny_bundle):
    """The bars that users have: of 72 images one may be answered otherwise, and two routed otherwise."""
    report = json.loads((tiny_bundle / "parity.json").read_text())
    assert report["routed"].keys() == {"litert/int8", "onnx/int8"}
    for settings in report["routed"].values():
        assert [setting["tau"] for setting in settings] == [0.0, 0.25]
        for setting in settings:
            assert setting["same_answer"] >= 0.985
            assert setting["same_routing"] >= 0.97


def test_operating_points_of_the_backends_at_equal_tau(tiny_bundle):
    """Each is within an image of fp32, and two in routing."""
    sets = {f"{one.backend}/{one.recipe.name}": one for one in Bundle(tiny_bundle).manifest.sets}
    rows = json.loads((tiny_bundle / "parity.json").read_text())["operating_points"]
    assert [(row["tau"], row["max_experts"]) for row in rows] == [(tau, 1) for tau in TAUS]
    points = [sets[name].operating_points for name in ("litert/int8", "onnx/int8")]
    for row, one, other in zip(rows, *points, strict=True):
        assert row["accuracy"] == {"litert/int8": one.accuracy, "onnx/int8": other.accuracy}
        assert row["points_apart"] == pytest.approx(100 * abs(one.accuracy - other.accuracy))
        assert row["points_apart"] < 100 * 2.5 / VALIDATION_IMAGES
        assert abs(one.exit_rate - other.exit_rate) < 4.5 / VALIDATION_IMAGES


def test_the_backends_give_the_same_answers_in_fp32(tiny_bundle, tiny_images):
    images = open_data(tiny_images, "val")
    models = [Runtime(tiny_bundle, backend=backend, recipe="fp32", max_experts=2) for backend in SUFFIX]
    seen = set()
    for x in images.tensors(models[0].manifest.preprocessing):
        for tau in (0.0, 0.25, 1.0):
            for model in models:
                model.tau = tau
            one, other = (model.predict_tensor(x) for model in models)
            assert (one.label, one.exited, one.experts) == (other.label, other.exited, other.experts)
            assert (one.macs, one.gate_ran) == (other.macs, other.gate_ran)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
            seen.add((tau, one.exited))
    assert {(0.0, False), (1.0, True)} <= seen
    for model in models:
        model.close()


@pytest.mark.parametrize("name", SETS)
def test_operating_points_are_those_of_single_predictions(tiny_bundle, tiny_images, name):
    """Image by image and sum by sum, through nothing but Runtime.predict_tensor."""
    backend, recipe = name.split("/")
    artifacts = Bundle(tiny_bundle).manifest.find(backend, recipe)
    images = open_data(tiny_images, "val")
    assert [(p.tau, p.max_experts) for p in artifacts.operating_points] == [(tau, 1) for tau in TAUS]
    with Runtime(tiny_bundle, backend=backend, recipe=recipe, max_experts=1) as model:
        tensors = list(images.tensors(model.manifest.preprocessing))
        for point in artifacts.operating_points[:: 1 if name == SETS[0] else 5]:
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


def test_the_default_tau_of_each_set_loses_nothing_on_that_set(tiny_bundle):
    for one in Bundle(tiny_bundle).manifest.sets:
        points = {point.tau: point.accuracy for point in one.operating_points}
        assert points[one.default_tau] >= points[0.0]
        assert all(accuracy < points[0.0] for other, accuracy in points.items() if other > one.default_tau)


# --- variants, of a small network ---


@pytest.fixture
def make(made_here, own_checkpoint, tiny_images, tmp_path):
    """make(**options) -> the manifest of a fresh bundle at make.path."""

    def call(checkpoint=own_checkpoint, data=tiny_images, out=None, force=False, **options):
        call.path = out or tmp_path / "bundle"
        call.report = convert(checkpoint, str(data), call.path, Options(**(FAST | options)), force=force)
        return Bundle(call.path).manifest

    call.partial = tmp_path / "bundle.partial"
    return call


def test_a_network_of_one_s_own(make):
    manifest = make(backends=("onnx", "litert"))
    assert manifest.architecture == own.NAME
    assert names(manifest) == ["onnx/int8", "onnx/fp32", "litert/int8", "litert/fp32"]
    assert all(check.passed for check in verify(make.path))
    with Runtime(make.path) as model:  # the first backend is the default
        assert model.artifacts.backend == "onnx"


def test_sets_that_differ_have_defaults_that_differ(make, monkeypatch):
    """fp32 loses from tau 0.3 on, int8 from 0.6 on: each keeps its own largest tau that loses nothing."""
    real = measure.operating_points

    def bent(outputs, *arguments):
        last = 0.25 if len(seen) == 0 else 0.5
        seen.append(last)
        return tuple(
            msgspec.structs.replace(point, accuracy=0.75 if point.tau <= last else 0.5)
            for point in real(outputs, *arguments)
        )

    seen: list[float] = []
    monkeypatch.setattr(measure, "operating_points", bent)
    manifest = make()
    assert {one.recipe.name: one.default_tau for one in manifest.sets} == {"fp32": 0.25, "int8": 0.5}


def test_chosen_defaults(make):
    manifest = make(tau=0.33, max_experts=2)
    assert {(one.default_tau, one.default_max_experts) for one in manifest.sets} == {(0.33, 2)}
    assert {point.max_experts for point in manifest.sets[0].operating_points} == {1, 2}
    assert [setting["tau"] for setting in make.report["routed"]["litert/int8"]] == [0.0, 0.33]
    assert {setting["max_experts"] for setting in make.report["routed"]["litert/int8"]} == {2}
    assert make.report["operating_points"] == []  # of one backend: nothing to compare


def test_without_fp32(make, tmp_path):
    manifest = make(ship_float=False, backends=("litert", "onnx"))
    assert names(manifest) == ["litert/int8", "onnx/int8"]
    assert list(make.report["sets"]) == ["litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8"]  # the references
    assert not [path for path in tree(tmp_path) if "fp32" in path]


@pytest.mark.parametrize(
    ("wanted", "shipped"),
    [
        (("int8-dynamic", "int8"), ["litert/int8-dynamic", "litert/int8", "litert/fp32"]),
        (("litert/fp32", "int8"), ["litert/fp32", "litert/int8"]),
        (("fp32",), ["litert/fp32"]),
        (("int8", "litert/int8"), ["litert/int8", "litert/fp32"]),
        ((), ["litert/int8", "litert/fp32"]),
    ],
)
def test_recipes_in_the_order_of_asking(make, wanted, shipped):
    assert names(make(recipes=wanted)) == shipped
    assert all(check.passed for check in verify(make.path))


def test_a_recipe_for_one_backend_leaves_the_other_its_defaults(make):
    manifest = make(backends=("litert", "onnx"), recipes=("onnx/int8-all",))
    assert names(manifest) == ["litert/int8", "litert/fp32", "onnx/int8-all", "onnx/fp32"]
    assert list(make.report["sets"]) == ["litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8-all"]


def test_a_full_agreement_passes_the_highest_bar(make):
    assert make(recipes=("fp32",), min_agreement=1, min_routing=1).sets


def test_another_run_s_leftovers_are_cleared(make, tmp_path):
    (make.partial / "litert/int8").mkdir(parents=True)
    (make.partial / "litert/int8/stale.tflite").write_bytes(b"x")
    (make.partial / "manifest.json").write_bytes(b"{}")
    make()
    assert not [path for path in tree(tmp_path) if "stale" in path or "partial" in path]


def test_images_without_labels(make, tiny_images, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index, file in enumerate(sorted((tiny_images / split).glob("*/*.png"))[::9]):
            shutil.copy(file, tmp_path / "data" / split / f"{index}.png")
    manifest = make(data=tmp_path / "data", backends=("litert", "onnx"))
    assert make.report["accuracy"] is None
    assert make.report["operating_points"] == []
    for one in manifest.sets:
        assert {(p.accuracy, p.accuracy_low, p.accuracy_high) for p in one.operating_points} == {(None, None, None)}
        assert one.operating_points[0].exit_rate == 0
        assert one.default_tau == 0.25
    assert "Accuracy" not in (make.path / "parity.md").read_text()


def untrained(checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "untrained")
    raw = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(raw | {"origin": "untrained"}))
    return copy


def test_an_untrained_network_on_noise(make, ruined_checkpoint, tmp_path):
    """No bar applies, though what it answers in int8 has nothing to do with what it answers in fp32."""
    manifest = make(untrained(ruined_checkpoint, tmp_path), "noise", min_agreement=1, min_routing=1)
    assert not manifest.trained
    assert {one.operating_points for one in manifest.sets} == {()}
    assert make.report["accuracy"] is None
    assert "UNTRAINED" in (make.path / "parity.md").read_text()


def test_classes_in_another_order_are_matched_by_name(make, tiny_images, tmp_path):
    """A folder that has only the last class: its index in the folder is 0, in the model 2."""
    for split in ("train", "val"):
        shutil.copytree(tiny_images / split / CLASSES[2], tmp_path / "data" / split / CLASSES[2])
    found = make(data=tmp_path / "data", validation_images=None)
    with Runtime(make.path, tau=1.0) as model:
        right = [model.predict(f).label == CLASSES[2] for f in sorted((tmp_path / "data/val").glob("*/*"))]
    assert found.sets[0].operating_points[-1].accuracy == pytest.approx(np.mean(right))


def test_classes_that_the_model_does_not_know(make, tiny_images, tmp_path):
    shutil.copytree(tiny_images, tmp_path / "data")
    (tmp_path / "data/val/down").rename(tmp_path / "data/val/sideways")
    before = tree(tmp_path)
    with pytest.raises(DataError, match="class 'sideways', which the model does not know"):
        make(data=tmp_path / "data")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backends": ()}, "backends are none; expected each at most once"),
        ({"backends": ("onnx", "onnx")}, "backends are onnx, onnx; expected each at most once"),
        ({"backends": ("tpu",)}, "unknown backend 'tpu'; expected one of litert, onnx"),
        ({"backends": ("litert",), "recipes": ("onnx/int8",)}, "of backend 'onnx'; expected one of litert, or add --b"),
        ({"backends": ("litert", "onnx"), "recipes": ("int8-dynamic",)}, "unknown recipe 'int8-dynamic' for onnx"),
        ({"recipes": ("fp32",), "ship_float": False}, "nothing is left to put into the bundle"),
        ({"keep_float": ("last.7",)}, "'last.7', which is no module of the network; it has first, second, even, last"),
        ({"min_routing": 1.5}, "min_routing is 1.5; expected a share from 0 to 1"),
        ({"min_routing": float("nan")}, "min_routing is nan; expected a share from 0 to 1"),
    ],
)
def test_options_that_make_no_sense(make, made_here, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        make(**options)
    assert (tree(tmp_path), made_here.calls) == ({}, [])


# --- bars ---


@pytest.fixture
def contrary(made_here, own_checkpoint):
    """The int8 gate says the opposite of what it should."""
    gate = load_checkpoint(own_checkpoint).mixture.gate
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.neg_()
    recipe = recipes.get("litert", "int8")
    made_here.made = dict(made_here.made)

    class Job:
        backend, kind, part, checkpoint = "litert", "gate", "gate", own_checkpoint
        samples = own_checkpoint.with_name("gate.npy")

    np.save(Job.samples, np.zeros((1, 1, 80), np.float32))
    from edge_moe.converters.litert import LiteRTToolchain

    (wrong,) = LiteRTToolchain().build(
        made_here.graph(Job), gate, "gate", np.load(Job.samples), [recipes.get("litert", "fp32")]
    )
    made_here.made[digest(own_checkpoint / "gate.safetensors"), recipe] = wrong


@pytest.mark.usefixtures("contrary")
def test_routing_under_the_bar(make, tmp_path):
    make()
    before = tree(tmp_path)
    message = (
        r"^litert/int8 as routed at tau 0 exits or wakes the experts of fp32 on 0\.00% of the images, expected 50\.00%"
        r".*try --recipe litert/int8-dynamic, .*--min-routing, or add --keep-going; the report is .*parity\.md$"
    )
    with pytest.raises(ConversionError, match=message):
        make(force=True, min_routing=0.5)
    after = tree(tmp_path)
    assert {path: after[path] for path in before} == before
    left = {path for path in after.keys() - before.keys() if "partial/parts" not in path}
    # The base is to blame, as far as anybody knows: its layers are in a picture.
    report = ("parity.json", "parity.md", "layers.png")
    assert left == {"bundle.partial", *(f"bundle.partial/{name}" for name in report)}
    assert names(make(force=True, min_routing=0.5, keep_going=True))[0] == "litert/int8"
    assert "litert/int8 as routed" in make.report["missed_bars"]["litert/int8"][0].problem
    assert make.report["layers"] == {}  # nobody asked
    assert not make.partial.exists()


STRICT = {"min_agreement": 0.985, "min_routing": 0.97, "validation_images": None}


@pytest.mark.parametrize(("backend", "recipe"), [("litert", "int8"), ("onnx", "int8")])
def test_a_bad_layer_is_named_and_kept_in_float(make, made_here, ruined_checkpoint, backend, recipe, tmp_path):
    wanted = {"backends": (backend,), "recipes": (recipe,), **STRICT}
    with pytest.raises(ConversionError) as caught:
        make(ruined_checkpoint, **wanted)
    text = str(caught.value)
    assert text.startswith(f"{backend}/int8/base agrees with fp32 on ")
    assert f"the layers of base that add most noise are {own.RUINED} (" in text
    assert f"keep them in float with --keep-float {own.RUINED}, try" in text
    assert f"try --recipe {backend}/{recipes.CANDIDATES[backend][1]}, " in text
    assert "\n" not in text
    assert not (tmp_path / "bundle").exists()

    manifest = make(ruined_checkpoint, keep_float=(own.RUINED,), **wanted)
    assert names(manifest)[0] == f"{backend}/int8"
    assert manifest.sets[0].recipe.settings["keep_float"] == [own.RUINED]
    assert "keep_float" not in manifest.sets[1].recipe.settings
    # fp32 is the same as before: only the int8 ones were made anew.
    assert made_here.calls[1] == [f"{backend}/int8/{part}" for part in PARTS]
    for row in make.report["sets"][f"{backend}/int8"]:
        assert row.against_fp32.top1 >= 0.985


class Saturated:
    """A part by a kernel that is wrong here: no logit gets beyond a quarter of the largest."""

    def __init__(self, part):
        self._part = part

    def __getattr__(self, name):
        return getattr(self._part, name)

    def output(self, name):
        found = self._part.output(name)
        return found.clip(-abs(found).max() / 4, abs(found).max() / 4) if name == "logits" else found


@pytest.fixture(params=["litert", "onnx"])
def saturating(request, monkeypatch, own_bundle):
    """A backend whose int8 base saturates on this processor: the artifact is as good as ever."""
    base = (own_bundle / request.param / "int8" / f"base{SUFFIX[request.param]}").stat().st_size
    kind = type(backends.get(request.param))
    opened = kind.open

    def open_(self, artifact, **options):
        part = opened(self, artifact, **options)
        return Saturated(part) if abs(len(artifact) - base) < 64 else part

    monkeypatch.setattr(kind, "open", open_)
    return request.param


def test_a_kernel_that_is_wrong_is_named_and_no_layer_is(make, saturating):
    with pytest.raises(ConversionError) as caught:
        make(backends=(saturating,), min_agreement=0.99, min_routing=0.97, validation_images=None)
    text = str(caught.value)
    assert text.startswith(f"{saturating}/int8")
    assert "; the layers of base are not to blame: " in text
    assert f"the suspect is a kernel of {saturating} on this processor: try --recipe {saturating}/" in text
    assert "'edge-moe verify'" in text
    for layer in ("first.0", "second.0", "even.0", "last.0", "classifier", "--keep-float"):
        assert layer not in text
    assert "\n" not in text
    found = json.loads((make.partial / "parity.json").read_text())["kernels"][f"{saturating}/int8/base"]
    assert found["kernel_sqnr_db"] < 15 < 40 < found["graph_sqnr_db"]
    assert "a kernel is the suspect, not the layers" in (make.partial / "parity.md").read_text()


def test_the_next_recipe_is_made_only_where_the_first_misses_a_bar(make, made_here, ruined_checkpoint):
    """Nothing but linear layers is int8 in an int8-heavy of this network: the bad layer does not matter."""
    with pytest.raises(LeftOutError, match=r" without litert: litert/int8-dynamic( as routed|/base agrees) "):
        make(ruined_checkpoint, recipes=(), backends=("litert", "onnx"), **STRICT)
    first = [name for part in PARTS for name in (f"litert/fp32/{part}", f"litert/int8/{part}")]
    first += [name for part in PARTS for name in (f"onnx/fp32/{part}", f"onnx/int8/{part}")]
    then = [f"{name}/{part}" for name in ("litert/int8-dynamic", "onnx/int8-heavy") for part in PARTS]
    assert made_here.calls == [first, then]
    assert names(Bundle(make.path).manifest) == ["onnx/int8-heavy", "onnx/fp32"]
    manifest = make(ruined_checkpoint, force=True, recipes=(), backends=("onnx",), **STRICT)
    assert names(manifest) == ["onnx/int8-heavy", "onnx/fp32"]
    assert "onnx/int8/base agrees" in make.report["missed_bars"]["onnx/int8"][0].problem
    assert made_here.calls[2:] == [[], []]


# --- one backend of several fails ---


@pytest.fixture
def broken(made_here):
    """`broken("onnx")`: from now on, a part of this backend cannot be converted; the others are made first."""

    def call(backend, problem="torch.onnx cannot convert this part"):
        class Failing(type(made_here)):
            def __call__(self, jobs, processes, folder, progress):
                seconds = super().__call__([job for job in jobs if job.backend != backend], processes, folder, progress)
                if any(job.backend == backend for job in jobs):
                    raise FailedBackends({backend: ConversionError(f"{backend}/base: {problem}")}, seconds)
                return seconds

        made_here.__class__ = Failing

    return call


BOTH = {"backends": ("litert", "onnx")}


def test_what_passes_is_published_without_what_misses_a_bar(make, made_here, ruined_checkpoint, tmp_path):
    """litert/int8 cannot be told from fp32 with the layer kept in float by a recipe of its own; onnx/int8 can."""
    wanted = {"recipes": ("litert/fp32", "onnx/int8"), **BOTH, **STRICT}
    with pytest.raises(LeftOutError) as caught:
        make(ruined_checkpoint, **wanted)
    text = str(caught.value)
    assert text.startswith(f"{make.path} was written without onnx: onnx/int8/base agrees with fp32 on ")
    assert "expected 98.50%" in text
    assert text.endswith(f"; the report is {make.path / 'parity.md'}")
    assert "\n" not in text
    assert names(Bundle(make.path).manifest) == ["litert/fp32"]
    assert all(check.passed for check in verify(make.path))
    assert caught.value.report["shipped"] == ["litert/fp32"]
    stored = json.loads((make.path / "parity.json").read_text())
    assert list(stored["left_out"]) == ["onnx"]
    assert "**onnx was left out of the bundle:** onnx/int8/base agrees" in (make.path / "parity.md").read_text()
    assert not [path for path in tree(make.path) if path.startswith("onnx")]
    assert not {"onnx", "onnxruntime"} & Bundle(make.path).manifest.tools.keys()
    # What onnx has so far is there for the next try, which makes nothing but what changed.
    assert sorted(path.name for path in make.partial.iterdir()) == ["parts"]
    manifest = make(ruined_checkpoint, force=True, keep_float=(own.RUINED,), **wanted)
    assert names(manifest) == ["litert/fp32", "onnx/int8", "onnx/fp32"]
    assert made_here.calls[1:] == [all_of("onnx/int8")]
    assert make.report["left_out"] == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_backend_that_cannot_be_converted_counts_alike(make, broken, keep_going):
    broken("onnx")
    with pytest.raises(LeftOutError, match=r"without onnx: onnx/base: torch.onnx cannot convert this part; the report"):
        make(keep_going=keep_going, **BOTH)
    assert names(Bundle(make.path).manifest) == ["litert/int8", "litert/fp32"]
    assert not make.partial.exists()


def test_an_artifact_that_does_not_open_counts_alike(make, monkeypatch):
    real = measure.run_artifacts

    def refuse(targets, *arguments):
        if any(key.backend == "litert" for key in targets):
            raise ConversionError("litert/int8/base: LiteRT refuses the artifact")
        return real(targets, *arguments)

    monkeypatch.setattr(measure, "run_artifacts", refuse)
    with pytest.raises(LeftOutError, match="without litert: litert/int8/base: LiteRT refuses the artifact"):
        make(**BOTH)
    assert names(Bundle(make.path).manifest) == ["onnx/int8", "onnx/fp32"]  # the default is another backend's
    with Runtime(make.path) as model:
        assert model.artifacts.backend == "onnx"


def test_if_nothing_passes_nothing_is_published(make, made_here, broken, tmp_path):
    made_here.structure = {"litert": b"[3,2]"}
    broken("onnx")
    with pytest.raises(ConversionError, match=r"onnx/base: torch.onnx cannot .*litert/.* 3 partitions .*parity\.md"):
        make(**BOTH)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.partial"]
    assert sorted(path.name for path in make.partial.iterdir()) == ["parity.json", "parity.md", "parts"]


def test_if_all_miss_bars_the_first_is_told_and_the_others_are_counted(make, ruined_checkpoint, tmp_path):
    with pytest.raises(ConversionError) as caught:
        make(ruined_checkpoint, recipes=("int8",), **BOTH, **STRICT)
    assert not isinstance(caught.value, LeftOutError)
    stored = (make.partial / "parity.json").read_text()
    problems = [one["problem"] for found in json.loads(stored)["missed_bars"].values() for one in found]
    assert str(caught.value).startswith(f"{problems[0]} (and {len(problems) - 1} more); the layers of base that add")
    assert str(caught.value).endswith("; the report is " + str(make.partial / "parity.md"))
    assert not (tmp_path / "bundle").exists()


def test_a_whole_bundle_is_not_replaced_by_half_of_one(make, made_here, broken):
    make(**BOTH)
    before = tree(make.path)
    whole = made_here.__class__
    broken("onnx")
    made_here.made = {}
    words = r"^onnx/base: torch.onnx cannot convert this part; .*bundle stays as it was, .* without onnx: mend that and"
    with pytest.raises(ConversionError, match=words) as caught:
        make(force=True, calibration_images=9, **BOTH)
    assert not isinstance(caught.value, LeftOutError)
    assert tree(make.path) == before
    assert sorted(path.name for path in make.partial.iterdir()) == ["parity.json", "parity.md", "parts"]
    made_here.__class__ = whole
    make(force=True, calibration_images=9, **BOTH)
    assert made_here.calls[1:] == [all_of("litert/int8"), all_of("onnx/int8")]  # the former are kept
    assert not make.partial.exists()


def test_nor_by_one_that_was_asked_for(make, made_here):
    """Before any work; another backend in its place is what was asked for, and is not fewer."""
    make(**BOTH)
    before = tree(make.path)
    words = r"has litert, onnx, and --force would leave it without litert; add --backend litert,onnx, choose another"
    with pytest.raises(OutputError, match=words):
        make(force=True, backends=("onnx",))
    with pytest.raises(OutputError, match="has litert, onnx, and --force would leave it without litert, onnx; add"):
        make(force=True, backends=("executorch",))
    assert (tree(make.path), len(made_here.calls)) == (before, 1)
    make(out=make.path.with_name("one"), backends=("litert",))
    assert names(make(out=make.path, force=True, backends=("onnx",)))[0] == "onnx/int8"


def test_a_ranking_that_fails_does_not_cost_the_others(make, monkeypatch, ruined_checkpoint):
    def refuse(*_):
        raise ConversionError("onnx/base: cannot be ranked")

    monkeypatch.setattr(module, "rank_layers", refuse)
    with pytest.raises(LeftOutError, match="without onnx: onnx/int8/base agrees"):
        make(ruined_checkpoint, recipes=("litert/fp32", "onnx/int8"), **BOTH, **STRICT)


# --- noise ---


@pytest.mark.parametrize("origin", ["trained", "imported"])
def test_noise_is_for_untrained_networks(make, made_here, own_checkpoint, tmp_path, origin):
    copy = shutil.copytree(own_checkpoint, tmp_path / "checkpoint")
    raw = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(raw | {"origin": origin}))
    words = rf"the data is 'noise', but the checkpoint is {origin}, .*; give --data a folder of images .* ./noise"
    with pytest.raises(UsageError, match=words):
        make(copy, "noise")
    assert made_here.calls == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_layers_of_every_part_on_demand(make):
    manifest = make(backends=("litert", "onnx"), debug_parity=True)
    assert names(manifest)
    expected = {f"{b}/int8/{part}" for b in ("litert", "onnx") for part in ("base", "expert_00", "expert_01")}
    assert make.report["layers"].keys() == expected
    base = {"first.0", "second.0", "even.0", "last.0", "classifier"}
    for name, layers in make.report["layers"].items():
        assert {one.layer for one in layers} == (base if "base" in name else base - {"first.0", "second.0"})
        assert [one.own_sqnr_db for one in layers] == sorted(one.own_sqnr_db for one in layers)
        assert sorted(one.position for one in layers) == list(range(len(layers)))
    assert (make.path / "layers.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (make.path / "parity.md").read_text()
    assert page.count("## Layers of ") == len(expected)
    stored = json.loads((make.path / "parity.json").read_text())["layers"]
    assert stored == msgspec.to_builtins(make.report["layers"])


# --- nothing is converted twice ---


def all_of(*sets, parts=PARTS):
    return [f"{one}/{part}" for part in parts for one in sets]


LITERT = ("litert/fp32", "litert/int8")


def test_the_same_again_converts_nothing(make, made_here, tmp_path):
    make(debug_parity=True)
    first = tree(tmp_path)
    assert made_here.calls == [all_of(*LITERT)]
    make(force=True, debug_parity=True)  # for the layers, a graph is traced once more
    assert made_here.calls[1:] == [[]]
    assert {p: d for p, d in tree(tmp_path).items() if "parity" not in p} == {
        p: d for p, d in first.items() if "parity" not in p
    }


def test_another_backend_comes_on_top(make, made_here):
    make()
    make(force=True, backends=("litert", "onnx"))
    assert made_here.calls[1:] == [all_of("onnx/fp32", "onnx/int8")]


def test_other_images_do_not_matter_to_fp32_nor_to_dynamic_ranges(make, made_here):
    make(recipes=("int8", "int8-dynamic"))
    make(force=True, recipes=("int8", "int8-dynamic"), calibration_images=9)
    assert made_here.calls[1:] == [all_of("litert/int8")]


def test_altered_artifacts_are_made_anew(make, made_here):
    make()
    flip(make.path / "litert/int8/gate.tflite")
    make(force=True)
    assert made_here.calls[1:] == [["litert/int8/gate"]]
    assert all(check.passed for check in verify(make.path))


@pytest.fixture
def one_more(own_checkpoint, tmp_path):
    """The checkpoint with a third expert, and the gate that goes with it."""
    loaded = load_checkpoint(own_checkpoint)
    mixture = loaded.mixture
    mixture.experts.append(mixture.base.new_expert().eval())
    mixture.gate = mixture.base.new_gate(3, 32).eval()
    save_checkpoint(tmp_path / "three", Checkpoint(msgspec.structs.replace(loaded.config, experts=3), mixture))
    return tmp_path / "three"


def test_one_expert_more_costs_one_expert_and_the_gate(make, made_here, one_more, tmp_path):
    make()
    before, earlier = tree(make.path), make.path
    manifest = make(one_more, out=tmp_path / "more", reuse=(earlier,))
    assert made_here.calls[1:] == [all_of(*LITERT, parts=["gate", "expert_02"])]
    assert list(manifest.parts) == [*PARTS, "expert_02"]
    for part in ("base", "expert_00", "expert_01"):
        for one, two in zip(Bundle(earlier).manifest.sets, manifest.sets, strict=True):
            assert one.made_from[part] == two.made_from[part]
            assert one.parts[part].sha256 == two.parts[part].sha256
    assert all(check.passed for check in verify(make.path))
    assert tree(earlier) == before


def test_experts_may_change_places(make, made_here, own_checkpoint, tmp_path):
    make()
    swapped = shutil.copytree(own_checkpoint, tmp_path / "swapped")
    (swapped / "expert_00.safetensors").write_bytes((own_checkpoint / "expert_01.safetensors").read_bytes())
    (swapped / "expert_01.safetensors").write_bytes((own_checkpoint / "expert_00.safetensors").read_bytes())
    make(swapped, force=True)
    assert made_here.calls[1:] == [[]]
    assert all(check.passed for check in verify(make.path))


def test_one_expert_alone(make, own_checkpoint, tmp_path):
    loaded = load_checkpoint(own_checkpoint)
    mixture = loaded.mixture
    del mixture.experts[1:]
    mixture.gate = mixture.base.new_gate(1, 32).eval()
    save_checkpoint(tmp_path / "one", Checkpoint(msgspec.structs.replace(loaded.config, experts=1), mixture))
    manifest = make(tmp_path / "one")
    assert list(manifest.parts) == ["base", "gate", "expert_00"]
    assert manifest.sets[0].golden.experts == (0,)
    assert all(check.passed for check in verify(make.path))
    with Runtime(make.path, tau=0.0) as model:
        x = np.zeros((1, 32, 32, 3), np.float32)
        assert model.predict_tensor(x).experts == (0,)
        model.tau = 1.0
        assert model.predict_tensor(x).exited


def test_another_code_of_the_network_is_another_network(make, made_here, monkeypatch):
    make()
    monkeypatch.setattr("edge_moe.converters.keys.code_digest", lambda name: "changed")
    make(force=True)
    assert made_here.calls == [all_of(*LITERT)] * 2


# --- nothing of another network is taken over ---

HELPER = """
from torch import nn

def activation():
    return nn.{}()
"""
BUILDER = """
from torch import nn

import {helper}
from edge_moe.nn import SplitBase, base_builder


class Network(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), {helper}.activation())
        self.last = nn.Sequential(nn.Conv2d(8, 8, 1), {helper}.activation())
        self.classifier = nn.Linear(8, classes)


@base_builder
def network(architecture):
    return SplitBase(Network(architecture.classes), ("first",), ("last",), "classifier")
"""


@pytest.fixture
def edited(tmp_path, monkeypatch, own_checkpoint):
    """`edited(activation)` writes the helper that the builder imports, and returns the checkpoint, ever the same."""
    builder, helper = f"builder_{tmp_path.name}".replace("-", "_"), f"helper_{tmp_path.name}".replace("-", "_")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{builder}.py").write_text(BUILDER.format(helper=helper))

    def call(activation):
        (tmp_path / "code" / f"{helper}.py").write_text(HELPER.format(activation))
        for name in (builder, helper):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "code/__pycache__", ignore_errors=True)
        if not (tmp_path / "checkpoint").exists():
            torch.manual_seed(0)
            architecture = Architecture(base=f"{builder}:network", classes=len(CLASSES), image_size=32)
            mixture = new_mixture(architecture, EXPERTS).eval()
            mixture.experts[1].classifier.bias.data += 1  # else both are the base's tail
            config = msgspec.structs.replace(
                read_config(own_checkpoint),
                architecture=architecture,
                experts=EXPERTS,
                origin="imported",
                training=None,
            )
            save_checkpoint(tmp_path / "checkpoint", Checkpoint(config, mixture))
        return tmp_path / "checkpoint"

    yield call
    for name in (builder, helper):
        sys.modules.pop(name, None)


def test_an_edit_in_what_the_builder_imports(make, made_here, edited, tmp_path):
    """The builder's own file stays as it is, and so do weights, recipe and images: the keys are the same."""
    first = make(edited("ReLU"), **BOTH)
    assert make.report["made_anew"] == []
    again = make(edited("ReLU"), out=tmp_path / "again", reuse=(tmp_path / "bundle",), **BOTH)
    assert made_here.calls[1:] == [[]]
    assert again.sets[0].parts == first.sets[0].parts

    checkpoint = edited("Hardswish")
    made_here.made, made_here.graphs = {}, {}
    second = make(checkpoint, out=tmp_path / "bundle", force=True, **BOTH)
    assert [one.made_from for one in second.sets] == [one.made_from for one in first.sets]
    parts = [part for part in PARTS if part != "gate"]
    every = ("litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8")
    # The gate is one linear layer, but what it is fed, and calibrated on, differs.
    assert set(made_here.calls[2]) == {f"{one}/{part}" for one in every for part in PARTS}
    (line,) = make.report["made_anew"]
    assert line.startswith("base, gate, expert_00, expert_01: made anew, because torch gives other outputs")
    assert "was code edited that the network's builder imports?" in line
    for part in parts:
        assert first.sets[0].parts[part].sha256 != second.sets[0].parts[part].sha256
    mixture, x = load_checkpoint(checkpoint).mixture, fixed_image(32, 32)
    with Runtime(tmp_path / "bundle", recipe="fp32") as model, torch.no_grad():
        base = model.part("base")
        base.invoke(x)
        expected = mixture.base(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).logits.numpy()
        np.testing.assert_allclose(base.output("logits"), expected, rtol=1e-3, atol=1e-4)


def test_an_edit_while_a_conversion_was_stopped(make, made_here, edited):
    """Artifacts in the partial folder, and how they are split."""
    made_here.stop_before = "onnx/int8/expert_00"
    with pytest.raises(KeyboardInterrupt):
        make(edited("ReLU"), **BOTH)
    assert {".structure", ".tflite", ".npz"} <= {path.suffix for path in (make.partial / "parts").iterdir()}
    made_here.stop_before = None
    made_here.made, made_here.graphs = {}, {}
    make(edited("Hardswish"), **BOTH)
    assert set(made_here.calls[1]) == set(all_of("litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8"))
    assert "made anew, because torch gives other outputs" in make.report["made_anew"][0]


def test_a_bundle_that_does_not_say_what_torch_made(make, made_here):
    make()
    raw = json.loads((make.path / "manifest.json").read_text())
    del raw["network"]
    (make.path / "manifest.json").write_text(json.dumps(raw))
    assert Bundle(make.path).network() is None
    make(force=True)
    assert made_here.calls[1:] == [all_of(*LITERT)]
    words = "made anew, because it was not kept with them what torch made of a fixed input"
    assert make.report["made_anew"] == [f"{', '.join(PARTS)}: {words}"]


def test_reusing_what_is_no_bundle(make, tmp_path):
    with pytest.raises(BundleError, match="is not a folder; expected a bundle"):
        make(reuse=(tmp_path / "typo",))
    assert tree(tmp_path) == {}


def test_what_is_to_be_replaced_may_be_damaged(make, made_here):
    make()
    (make.path / "manifest.json").write_text('{"schema_version": 1}')
    make(force=True)
    assert made_here.calls == [all_of(*LITERT)] * 2


def test_stopped_in_the_middle_and_repeated(make, made_here, tmp_path):
    make()
    before = tree(make.path)
    made_here.stop_before = "onnx/int8/expert_00"
    both = {"force": True, "backends": ("onnx", "litert")}
    with pytest.raises(KeyboardInterrupt):
        make(**both)
    assert tree(make.path) == before
    assert [path.name for path in make.partial.iterdir()] == ["parts"]
    assert not is_bundle(make.partial)
    made_here.stop_before = None
    names(make(**both))
    onnx = all_of("onnx/fp32", "onnx/int8")
    middle = onnx.index("onnx/int8/expert_00")
    assert made_here.calls[1:] == [onnx[:middle], onnx[middle:]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    assert all(check.passed for check in verify(make.path))


def is_bundle(path):
    try:
        Bundle(path)
    except BundleError:
        return False
    return True


def test_stopped_before_anything_was_made(make, made_here, tmp_path):
    made_here.stop_before = "litert/fp32/base"
    with pytest.raises(KeyboardInterrupt):
        make()
    assert tree(tmp_path) == {}


@pytest.mark.usefixtures("contrary")
def test_refused_and_repeated(make, made_here):
    """What was converted before it was refused for its routing is not converted again."""
    with pytest.raises(ConversionError, match="exits or wakes the experts"):
        make(min_routing=0.5)
    assert made_here.calls == [all_of(*LITERT)]
    assert not is_bundle(make.partial)
    names(make(min_routing=0.5, keep_going=True))
    assert made_here.calls[1:] == [[]]
    assert not make.partial.exists()
