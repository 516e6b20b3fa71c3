"""checkpoint -> bundle. The session's bundle went through the real converter; variants are made in this process."""

from __future__ import annotations

import json
import re
import shutil

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, ConversionError, DataError, Runtime, UsageError, backends
from edge_moe.backends import OpenPart
from edge_moe.checkpoint import read_config
from edge_moe.converters import measure, recipes
from edge_moe.converters.measure import TAUS
from edge_moe.converters.ranking import row_of
from edge_moe.data import open_data
from edge_moe.errors import LeftOutError
from edge_moe.intervals import wilson
from edge_moe.verify import verify
from edge_moe.work import Work, making
from tests import own
from tests.converters.quick import PARTS, STRICT, SUFFIX, names
from tests.tiny import CLASSES, EXPERTS, SETS, VALIDATION_IMAGES, tree

# --- the real conversion, of a real network ---


def test_the_real_conversion(tiny_bundle):
    """Through litert-torch, torch.onnx, the quantizers, and processes of their own."""
    files = [f"{name}/{p}{SUFFIX[name.split('/')[0]]}" for name in SETS for p in PARTS]
    golden = Bundle(tiny_bundle).manifest.golden
    files += [f"golden/{name.replace('/', '-')}.npz" for name in SETS]
    files += ["golden", "golden/inputs.npz", "golden/vectors.json", *(one.file for one in golden.images.values())]
    written = ["manifest.json", "operating.json", "network.npz", "parity.json", "parity.md"]
    assert sorted(tree(tiny_bundle)) == sorted(["litert", "onnx", *written, *SETS, *files])
    assert not tiny_bundle.with_name("bundle.partial").exists()
    checks = verify(tiny_bundle)
    # Five files, six outputs, and an exit, two experts and both; then network, inputs, vectors and the images.
    assert len(checks) == len(SETS) * (5 + 6 + 4) + 3 + len(golden.images)
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
            assert row["structure"] == ([1, 0, []] if backend == "litert" else None)
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
        assert [setting["tau"] for setting in settings] == [0.0, 0.25, 0.5]  # the last is the default
        for setting in settings:
            assert setting["same_answer"] >= 0.985
            assert setting["same_routing"] >= 0.97


def test_operating_points_of_the_backends_at_equal_tau(tiny_bundle):
    """Each is within an image of fp32, and two in routing."""
    sets = Bundle(tiny_bundle).operating_sets
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
    artifacts = Bundle(tiny_bundle).operating_sets[name]
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
    for one in Bundle(tiny_bundle).operating_sets.values():
        points = {point.tau: point.accuracy for point in one.operating_points}
        assert points[one.default_tau] >= points[0.0]
        assert all(accuracy < points[0.0] for other, accuracy in points.items() if other > one.default_tau)


# --- variants, of a small network ---


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
    make()
    found = {name: one.default_tau for name, one in Bundle(make.path).operating_sets.items()}
    assert found == {"litert/fp32": 0.25, "litert/int8": 0.5}


def test_chosen_defaults(make):
    make(tau=0.33, max_experts=2)
    sets = Bundle(make.path).operating_sets
    assert {(one.default_tau, one.default_max_experts) for one in sets.values()} == {(0.33, 2)}
    assert {point.max_experts for point in sets["litert/int8"].operating_points} == {1, 2}
    assert [setting.tau for setting in make.report.routed["litert/int8"]] == [0.0, 0.33]
    assert {setting.max_experts for setting in make.report.routed["litert/int8"]} == {2}
    assert make.report.operating_points == []  # of one backend: nothing to compare


def test_without_fp32(make, tmp_path):
    manifest = make(ship_float=False, backends=("litert", "onnx"))
    assert names(manifest) == ["litert/int8", "onnx/int8"]
    assert list(make.report.sets) == ["litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8"]  # the references
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
    assert list(make.report.sets) == ["litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8-all"]


def test_a_full_agreement_passes_the_highest_bar(make):
    assert make(recipes=("fp32",), min_agreement=1, min_routing=1).sets


def test_a_killed_run_s_leftovers_are_cleared(make, tmp_path, monkeypatch, own_checkpoint):
    with monkeypatch.context() as patch, making(tmp_path / "bundle", "convert") as work:
        work.take_up({"checkpoint": str(own_checkpoint)})
        patch.setattr(Work, "close", lambda self: self._lock.release())
    result = make.partial / ".edge-moe/result"  # in which the bundle is made
    (result / "litert/int8").mkdir(parents=True)
    (result / "litert/int8/stale.tflite").write_bytes(b"x")
    (result / "manifest.json").write_bytes(b"{}")
    (make.partial / "layers.png").write_bytes(b"of another conversion")
    (make.partial / "base_samples.npy").write_bytes(b"of another conversion")
    make()
    assert not [path for path in tree(tmp_path) if "stale" in path or "partial" in path or "layers" in path]


def test_what_somebody_put_beside_the_parts_is_neither_published_nor_removed(make, made_here, tmp_path):
    made_here.stop_before = "litert/int8/expert_01"
    with pytest.raises(KeyboardInterrupt):
        make()
    made_here.stop_before = None
    mine = {"notes.txt": "mine", "parts/notes.txt": "mine, too", "golden/mine.png": "a picture"}
    for name, text in mine.items():
        (make.partial / name).parent.mkdir(exist_ok=True)
        (make.partial / name).write_text(text)
    make()
    assert not [path for path in tree(make.path) if "notes" in path or "mine" in path or "parts" in path]
    left = {str(path.relative_to(make.partial)): path for path in make.partial.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in left.items()} == mine
    assert not (make.partial / "parts/.edge-moe").exists()


def test_images_without_labels(make, tiny_images, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index, file in enumerate(sorted((tiny_images / split).glob("*/*.png"))[::9]):
            shutil.copy(file, tmp_path / "data" / split / f"{index}.png")
    make(data=tmp_path / "data", backends=("litert", "onnx"))
    assert make.report.accuracy is None
    assert make.report.operating_points == []
    for one in Bundle(make.path).operating_sets.values():
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
    assert {one.operating_points for one in Bundle(make.path).operating_sets.values()} == {()}
    assert make.report.accuracy is None
    assert "UNTRAINED" in (make.path / "parity.md").read_text()


def test_classes_in_another_order_are_matched_by_name(make, tiny_images, tmp_path):
    """A folder that has only the last class: its index in the folder is 0, in the model 2."""
    for split in ("train", "val"):
        shutil.copytree(tiny_images / split / CLASSES[2], tmp_path / "data" / split / CLASSES[2])
    make(data=tmp_path / "data", validation_images=None)
    with Runtime(make.path, tau=1.0) as model:
        right = [model.predict(f).label == CLASSES[2] for f in sorted((tmp_path / "data/val").glob("*/*"))]
    found = Bundle(make.path).operating_sets["litert/int8"]
    assert found.operating_points[-1].accuracy == pytest.approx(np.mean(right))


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
        ({"sets": ("onnx/int8",), "backends": ("onnx",)}, "--set is given with --backend or --recipe"),
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
    left = {path for path in after.keys() - before.keys() if not re.search("partial/(parts|.edge-moe)", path)}
    # The base is to blame, as far as anybody knows: its layers are in a picture.
    report = ("parity.json", "parity.md", "layers.png")
    assert left == {"bundle.partial", *(f"bundle.partial/{name}" for name in report)}
    assert names(make(force=True, min_routing=0.5, keep_going=True))[0] == "litert/int8"
    assert "litert/int8 as routed" in make.report.missed_bars["litert/int8"][0].problem
    assert make.report.layers == {}  # nobody asked
    assert not make.partial.exists()


@pytest.mark.parametrize(("backend", "recipe"), [("litert", "int8"), ("onnx", "int8")])
def test_a_bad_layer_is_named_and_kept_in_float(make, made_here, ruined_checkpoint, backend, recipe, tmp_path):
    wanted = {"backends": (backend,), "recipes": (recipe,), **STRICT}
    with pytest.raises(ConversionError) as caught:
        make(ruined_checkpoint, **wanted)
    text = str(caught.value)
    assert text.startswith(f"{backend}/int8/base agrees with fp32 on ")
    assert f"the layers of base that add most noise are {own.RUINED} (" in text
    assert f"keep layers in float with --keep-float {own.RUINED}, try" in text
    assert f"try --recipe {backend}/{recipes.book(backend).safest}, " in text
    assert "\n" not in text
    assert not (tmp_path / "bundle").exists()

    manifest = make(ruined_checkpoint, keep_float=(own.RUINED,), **wanted)
    assert names(manifest)[0] == f"{backend}/int8"
    assert manifest.sets[0].recipe.settings["keep_float"] == [own.RUINED]
    assert "keep_float" not in manifest.sets[1].recipe.settings
    # fp32 is the same as before: only the int8 ones were made anew.
    assert made_here.calls[1] == [f"{backend}/int8/{part}" for part in PARTS]
    for row in make.report.sets[f"{backend}/int8"]:
        assert row.against_fp32.top1 >= 0.985


class Saturated:
    """A part by a kernel that is wrong here: no logit gets beyond a quarter of the largest."""

    each = OpenPart.each

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
    litert, onnx = (recipes.book(backend).order(row_of()) for backend in ("litert", "onnx"))
    onnx = onnx[: onnx.index("int8-heavy") + 1]
    expected = [
        [
            f"{b}/{n}/{part}"
            for b, one in (("litert", litert), ("onnx", onnx))
            for part in PARTS
            for n in ("fp32", one[0])
        ]
    ]
    for turn in range(1, len(litert)):
        tried = [f"litert/{litert[turn]}", *(f"onnx/{name}" for name in onnx[turn : turn + 1])]
        expected.append([f"{name}/{part}" for name in tried for part in PARTS])
    assert made_here.calls == expected
    assert names(Bundle(make.path).manifest) == ["onnx/int8-heavy", "onnx/fp32"]
    manifest = make(ruined_checkpoint, force=True, recipes=(), backends=("onnx",), **STRICT)
    assert names(manifest) == ["onnx/int8-heavy", "onnx/fp32"]
    assert "onnx/int8/base agrees" in make.report.missed_bars["onnx/int8"][0].problem
    assert made_here.calls[len(expected) :] == [[]] * len(onnx)


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
    assert make.report.layers.keys() == expected
    base = {"first.0", "second.0", "even.0", "last.0", "classifier"}
    for name, layers in make.report.layers.items():
        assert {one.layer for one in layers} == (base if "base" in name else base - {"first.0", "second.0"})
        assert [one.own_sqnr_db for one in layers] == sorted(one.own_sqnr_db for one in layers)
        assert sorted(one.position for one in layers) == list(range(len(layers)))
    assert (make.path / "layers.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (make.path / "parity.md").read_text()
    assert page.count("## Layers of ") == len(expected)
    stored = json.loads((make.path / "parity.json").read_text())["layers"]
    assert stored == msgspec.to_builtins(make.report.layers)
