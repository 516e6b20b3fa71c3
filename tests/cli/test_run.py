"""inspect, verify and run: what they answer, and every bundle or image that they refuse."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_moe import Runtime
from edge_moe.backends.litert import LiteRT
from edge_moe.backends.onnx import Onnx
from edge_moe.bundle import MANIFEST, OPERATING, Bundle
from edge_moe.cli.console import say_json
from edge_moe.digest import answers_digest
from tests.fakes import agree, write_bundle
from tests.tiny import CLASSES, tree

READERS = ("inspect", "verify", "run", "bench")  # commands that open a bundle


@pytest.fixture
def bundle(own_bundle, tmp_path) -> Path:
    """A copy that may be spoiled."""
    return shutil.copytree(own_bundle, tmp_path / "spoiled" / "bundle")


@pytest.fixture
def image(tiny_images) -> Path:
    return sorted(tiny_images.glob("val/*/*.png"))[0]


@pytest.fixture
def opened(monkeypatch) -> list[bytes]:
    """What native code was given."""
    given: list[bytes] = []

    def recording(real):
        def record(self, data, **options):
            given.append(data)
            return real(self, data, **options)

        return record

    for backend in (LiteRT, Onnx):
        monkeypatch.setattr(backend, "open", recording(backend.open))
    return given


def arguments(command: str, bundle: Path, image: Path, tmp_path: Path) -> list[object]:
    more = {"run": [image], "bench": ["--data", "noise", "-o", tmp_path / "report"]}
    return [command, bundle, *more.get(command, [])]


def edit(bundle: Path, change, file: str = MANIFEST) -> None:
    raw = json.loads((bundle / file).read_text())
    change(raw)
    (bundle / file).write_text(json.dumps(raw))


# --- what they answer ---


def test_inspect_json_is_the_manifest(cli, tiny_bundle):
    done = cli("inspect", tiny_bundle, "--json")
    assert (done.code, done.err) == (0, "")
    found, manifest = json.loads(done.out), Bundle(tiny_bundle).manifest
    assert found.pop("digests") == {
        f"{one.backend}/{one.recipe.name}": answers_digest(manifest, one) for one in manifest.sets
    }
    operating = json.loads((tiny_bundle / OPERATING).read_text())["sets"]
    assert found.pop("operating") == operating
    assert found == json.loads((tiny_bundle / MANIFEST).read_text())


def test_inspect_shows_parts_sizes_and_operating_points(cli, tiny_bundle):
    done = cli("inspect", tiny_bundle)
    assert (done.code, done.err) == (0, "")
    manifest = Bundle(tiny_bundle).manifest
    for name, part in manifest.parts.items():
        (row,) = [line for line in done.out.splitlines() if f" {name} " in line and line[0] == "\u2502"]
        for cell in (f"{part.macs / 1e6:.3f}", f"{part.parameters:,}"):
            assert cell in row
        for one in manifest.sets:
            assert f" {one.parts[name].bytes / 1024:.0f} " in row
    for one in manifest.sets:
        assert f"{one.backend}/{one.recipe.name}: operating points on 72 images" in done.out
    assert "UNTRAINED" not in done.out
    first = Bundle(tiny_bundle).operating(manifest.sets[0])
    for point in first.operating_points:
        assert any(f" {point.tau:g} " in row and f"{point.exit_rate:.1%}" in row for row in done.out.splitlines())
    assert f"* {first.default_tau:g} " in done.out


def test_inspect_prints_the_digest_of_every_set(cli, tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    lines = cli("inspect", tiny_bundle).out.splitlines()
    for one in manifest.sets:
        assert f"digest of {one.backend}/{one.recipe.name}: {answers_digest(manifest, one)}" in lines


def test_an_expected_digest(cli, own_bundle, bundle, image, opened):
    """A label less right, and nobody would have noticed: every artifact passes its hash."""
    manifest = Bundle(own_bundle).manifest
    digest = answers_digest(manifest, manifest.sets[0])
    for command in (["run", own_bundle, image], ["verify", own_bundle]):
        assert cli(*command, "--expect-digest", digest).code == 0
        cli(*command, "--expect-digest", digest, "--backend", "onnx").refused(1, f"expected {digest}", "onnx/int8 has")
    edit(bundle, lambda raw: raw.update(labels=["across", "diagonal", "dowo"]))
    agree(bundle)
    found = answers_digest(Bundle(bundle).manifest, manifest.sets[0])
    assert cli("verify", bundle).code == 0
    opened.clear()
    for command in (["run", bundle, image], ["verify", bundle]):
        cli(*command, "--expect-digest", digest).refused(1, f"has the digest {found}, expected {digest}", "inspect")
    assert opened == []


def test_inspect_says_where_the_experts_bring_nothing(cli, bundle):
    def alike(raw):
        for point in raw["sets"]["litert/int8"]["operating_points"]:
            point["accuracy"] = 0.5
        raw["sets"]["litert/int8"]["default_tau"] = 1.0
        for point in raw["sets"]["litert/fp32"]["operating_points"]:
            point["accuracy"] = 0.5 - 0.1 * point["tau"]

    edit(bundle, alike, OPERATING)
    said = [line for line in cli("inspect", bundle).out.splitlines() if "bring nothing" in line]
    assert said[0] == (
        "litert/int8: on these 72 images the experts bring nothing: the base alone is right on 50.00%, the mixture "
        "(tau 0) on 50.00%; at its default tau of 1 no expert is ever used"
    )
    assert not any(line.startswith("litert/fp32") for line in said)


def test_verify(cli, tiny_bundle, opened):
    done = cli("verify", tiny_bundle)
    assert (done.code, done.err) == (0, "")
    assert "FAILED" not in done.out
    # Four sets of four parts and golden samples, six outputs and four answers: 4 * (5 + 6 + 4); and what they share:
    # network.npz, inputs, vectors and images.
    shared = 3 + len(Bundle(tiny_bundle).manifest.golden.images)
    assert done.out.splitlines()[-1] == f"{tiny_bundle}: {60 + shared} checks passed"
    for options, checks in ((("--recipe", "int8"), 30 + shared), (("--backend", "onnx"), 30 + shared)):
        quiet = cli("verify", tiny_bundle, *options, "--quiet")
        assert quiet.out == f"{tiny_bundle}: {checks} checks passed\n"
    one = cli("verify", tiny_bundle, "--backend", "onnx", "--recipe", "fp32", "--quiet")
    assert one.out == f"{tiny_bundle}: {15 + shared} checks passed\n"


@pytest.mark.parametrize("backend", ["litert", "onnx"])
@pytest.mark.parametrize(("tau", "exited"), [(0.0, {False}), (0.05, None), (1.0, {True})])
def test_run_json_is_what_the_runtime_predicts(cli, tiny_bundle, tiny_images, tau, exited, backend):
    images = sorted(tiny_images.glob("val/*/*.png"))[::9]
    done = cli("run", tiny_bundle, *images, "--tau", tau, "--max-experts", 2, "--backend", backend, "--json")
    assert (done.code, done.err) == (0, "")
    rows = json.loads(done.out)
    assert exited in (None, {row["exited"] for row in rows})
    with Runtime(tiny_bundle, backend=backend, tau=tau, max_experts=2) as model:
        assert model.artifacts.backend == backend
        for path, row in zip(images, rows, strict=True):
            expected = model.predict(path)
            assert row.pop("milliseconds") > 0
            assert row == {
                "image": str(path),
                "label": expected.label,
                "probability": pytest.approx(expected.probability),
                "exited": expected.exited,
                "experts": list(expected.experts),
                "macs": expected.macs,
            }


def test_of_several_sets_the_first_that_can_run_answers(cli, own_bundle, bundle, image):
    digests = {
        str(one.key): answers_digest(Bundle(own_bundle).manifest, one) for one in Bundle(own_bundle).manifest.sets
    }
    for names in ("onnx/fp32,litert/int8", "onnx/fp32, onnx"):
        done = cli("run", own_bundle, image, "--set", names, "--expect-digest", digests["onnx/fp32"])
        assert (done.code, done.err) == (0, "")
    refused = cli("run", own_bundle, image, "--set", "onnx/fp32,litert/int4")
    refused.refused(2, "the bundle has no artifacts for litert/int4")
    edit(bundle, lambda raw: [one["runs_on"].update(npu="hexagon") for one in raw["sets"] if one["backend"] == "onnx"])
    given = ("--set", "onnx/int8,litert/int8", "--expect-digest", digests["litert/int8"])
    done = cli("run", bundle, image, *given)
    assert done.code == 0, done.err
    note = "onnx/int8 cannot run here: it needs the NPU hexagon, which is not here; litert/int8 is taken"
    assert done.err == f"edge-moe: note: {note}\n"
    cli("run", bundle, image, "--set", "onnx/int8,onnx/fp32").refused(1, "onnx/fp32 cannot run here", "choose litert")


@pytest.mark.parametrize(("tau", "by"), [(0, "base + expert"), (1, "base (exit)")])
@pytest.mark.parametrize("options", [["--recipe", "int8"], ["--recipe", "fp32"], ["--backend", "onnx"]])
def test_run_shows_a_table(cli, tiny_bundle, image, tau, by, options):
    done = cli("run", tiny_bundle, image, "--tau", tau, *options)
    assert (done.code, done.err) == (0, "")
    assert by in done.out
    assert any(label in done.out for label in CLASSES)


def test_names_with_brackets_and_colons_are_shown_as_they_are(cli, tiny_bundle, image, tmp_path):
    odd = tmp_path / ":cat:[red][" / "blue].png"  # a colour, an emoji, and what would end a colour never begun
    odd.parent.mkdir()
    shutil.copy(image, odd)
    done = cli("run", tiny_bundle, odd)
    assert done.code == 0
    assert ":cat:[red][/blue].png" in re.sub(r"[\s│]", "", done.out)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.new("L", (40, 50), 99),
        lambda: Image.new("CMYK", (40, 50), (1, 2, 3, 4)),
        lambda: Image.new("RGBA", (40, 50), (1, 2, 3, 0)),
        lambda: Image.new("RGB", (1, 1)),
        lambda: Image.new("RGB", (5000, 4000)),
    ],
    ids=["grey", "CMYK", "alpha", "1 pixel", "20 megapixels"],
)
def test_images_of_every_kind_are_answered(cli, tiny_bundle, tmp_path, make):
    file = tmp_path / "image.tif"
    make().save(file)
    done = cli("run", tiny_bundle, file, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)[0]["label"] in CLASSES


def test_one_bad_file_among_many_costs_only_its_own_answer(cli, tiny_bundle, image, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = cli("run", tiny_bundle, image, bad, image, "--json")
    done.refused(1, "1 of 3 images could not be read", str(bad), "is not an image")
    first, second, third = json.loads(done.out)
    assert first["label"] == third["label"]
    assert "is not an image" in second["error"]


def test_folders_and_standard_input_are_images_too(cli, tiny_bundle, image, tmp_path, monkeypatch):
    folder = tmp_path / "some"
    (folder / "inside").mkdir(parents=True)
    for name in ("b.png", "a.png", "inside/c.png"):
        shutil.copy(image, folder / name)
    (folder / "notes.txt").write_text("no image")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(image).read_bytes())))
    done = cli("run", tiny_bundle, folder, image, "-", "--json")
    assert (done.code, done.err) == (
        0,
        f"edge-moe: note: {folder}: 3 images are read; left out: 1 file with other suffixes (.txt)\n",
    )
    found = json.loads(done.out)
    names = [str(folder / name) for name in ("a.png", "b.png", "inside/c.png")]
    assert [row["image"] for row in found] == [*names, str(image), "-"]
    assert len({(row["label"], row["probability"]) for row in found}) == 1


def test_nothing_to_answer(cli, tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("no image")
    cli("run", tiny_bundle, tmp_path).refused(1, f"{tmp_path} has no images (found 1 file", "name another folder")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    cli("run", tiny_bundle, "-").refused(1, "there is nothing on standard input")
    monkeypatch.setattr("edge_moe.cli.run._MOST_BYTES", 10)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"eleven more")))
    cli("run", tiny_bundle, "-").refused(1, "standard input has more than 10 bytes; expected those of one image")


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1"])
def test_json_has_names_as_they_are_and_nothing_that_a_terminal_obeys(cli, make_bundle, encoding, monkeypatch):
    label = "ä\x9b2J\u202e\U000e0001\U0001f600"
    bundle = make_bundle(classes=3, edit=lambda raw: raw.update(labels=[label, "b", "c"]))
    shown = cli("inspect", bundle, "--json").out
    assert json.loads(shown)["labels"][0] == label
    assert all(one.isprintable() or one == "\n" for one in shown)
    assert "ä" in shown and "\U0001f600" in shown
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding))
    say_json({"label": label})
    sys.stdout.flush()
    assert json.loads(out.getvalue().decode(encoding)) == {"label": label}


def test_the_likeliest_classes(cli, tiny_bundle, image, opened):
    (row,) = json.loads(cli("run", tiny_bundle, image, "--top", 2, "--json").out)
    first, second = row["top"]
    assert (first["label"], first["probability"]) == (row["label"], pytest.approx(row["probability"], rel=1e-5))
    assert first["probability"] >= second["probability"]
    (whole,) = json.loads(cli("run", tiny_bundle, image, "--top", 99, "--json").out)
    assert whole["top"][:2] == row["top"]
    assert sorted(one["label"] for one in whole["top"]) == sorted(CLASSES)
    assert sum(one["probability"] for one in whole["top"]) == pytest.approx(1)
    assert f"{second['label']} {second['probability']:.1%}" in cli("run", tiny_bundle, image, "--top", 2).out


def test_what_milliseconds_hold_is_said(cli, tiny_bundle, image):
    assert "from the input tensor to the answer" in " ".join(cli("run", tiny_bundle, image).out.split())


def test_a_label_is_no_command_to_the_terminal(cli, bundle, image):
    def rename(raw):
        raw["labels"] = [f"\x1b[2J{label}\u202e" for label in raw["labels"]]

    edit(bundle, rename)
    agree(bundle)
    for command in (("run", bundle, image), ("inspect", bundle)):
        done = cli(*command)
        assert (done.code, done.err) == (0, "")
        assert "\x1b" not in done.out
        assert "\u202e" not in done.out
    assert "\\x1b[2J" in cli("run", bundle, image).out


# --- what they refuse ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tau", "-0.1"], ["tau is -0.1", "from 0 (never exit) to 1"]),
        (["--tau", "1.5"], ["tau is 1.5", "from 0 (never exit) to 1"]),
        (["--tau", "nan"], ["tau is nan", "from 0 (never exit) to 1"]),
        (["--max-experts", "0"], ["max_experts is 0", "from 1 to 2"]),
        (["--max-experts", "3"], ["max_experts is 3", "from 1 to 2"]),
        (["--threads", "0"], ["threads is 0", "from 1 to 1024"]),
        (["--top", "0"], ["top is 0", "at least 1"]),
        (["--recipe", "int4"], ["litert/int8, litert/fp32, onnx/int8, onnx/fp32"]),
        (["--backend", "tpu"], ["tpu", "litert/int8"]),
        (["--backend", "executorch"], ["executorch/any recipe", "it has litert/int8"]),
        (["--backend", "onnx", "--recipe", "int8-heavy"], ["onnx/int8-heavy", "onnx/int8, onnx/fp32"]),
    ],
)
def test_options_out_of_range(cli, tiny_bundle, image, options, words, opened):
    cli("run", tiny_bundle, image, *options).refused(2, *words)


def not_an_image(file: Path) -> None:
    file.write_bytes(b"these are words")


def half_an_image(file: Path) -> None:
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: None, ["does not exist", "check the path"]),
        (lambda file: file.mkdir(), ["has no images", "name another folder"]),
        (lambda file: file.write_bytes(b""), ["is empty", "copy it again"]),
        (not_an_image, ["is not an image", "convert it or leave it out"]),
        (half_an_image, ["copy or convert it again"]),
        (lambda file: Image.new("1", (10_000, 10_000)).save(file), ["is too large", "make it smaller"]),
    ],
    ids=["missing", "folder", "empty", "words", "truncated", "100 megapixels"],
)
def test_files_that_are_no_images(cli, tiny_bundle, tmp_path, make, words):
    file = tmp_path / "image.png"
    make(file)
    cli("run", tiny_bundle, file).refused(1, str(file), *words)


def escape(path: str):
    def change(raw):
        raw["sets"][0]["parts"]["base"]["file"] = path

    return change


def newer(raw):
    raw["schema_version"] = 99


def unknown_key(raw):
    raw["surprise"] = 1


def missing_key(raw):
    del raw["labels"]


def no_number(raw):
    raw["sets"][0]["golden"]["samples"][0]["tau"] = 2.0


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (escape("../base.tflite"), ["'../base.tflite' leaves the bundle", "convert"]),
        (escape("/etc/passwd"), ["'/etc/passwd' leaves the bundle", "convert"]),
        (newer, ["schema version 99", "reads 3", "convert the checkpoint again"]),
        (unknown_key, ["surprise", "convert the checkpoint again"]),
        (missing_key, ["labels", "convert the checkpoint again"]),
        (no_number, ["samples", "tau", "convert the checkpoint again"]),
    ],
    ids=["parent", "absolute", "schema", "unknown key", "missing key", "tau"],
)
def test_manifests_that_are_refused(cli, bundle, image, tmp_path, opened, command, change, words):
    (bundle.parent / "base.tflite").write_bytes((bundle / "litert/int8/base.tflite").read_bytes())
    edit(bundle, change)
    before = tree(tmp_path)
    cli(*arguments(command, bundle, image, tmp_path)).refused(1, str(bundle / MANIFEST), *words)
    assert (opened, tree(tmp_path)) == ([], before)


@pytest.mark.parametrize("command", READERS)
def test_no_bundle(cli, image, tmp_path, command):
    cli(*arguments(command, tmp_path / "none", image, tmp_path)).refused(1, "is not a folder", "edge-moe convert")
    (tmp_path / "empty").mkdir()
    cli(*arguments(command, tmp_path / "empty", image, tmp_path)).refused(1, "has no manifest.json", "edge-moe convert")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("spoil", [truncate, Path.unlink])
def test_artifacts_of_another_size(cli, bundle, image, tmp_path, opened, command, spoil):
    spoil(bundle / "litert/int8/base.tflite")
    before = tree(tmp_path)
    done = cli(*arguments(command, bundle, image, tmp_path))
    done.refused(1, "litert/int8/base.tflite should have", "copy or convert the bundle again")
    assert (opened, tree(tmp_path)) == ([], before)


@pytest.mark.parametrize("part", ["base", "gate", "expert_01"])
def test_altered_artifacts_of_another_backend_never_reach_native_code(cli, bundle, image, opened, part):
    file = bundle / f"onnx/int8/{part}.onnx"
    flip(file)
    for more in (["verify"], ["run", image, "--tau", 0, "--max-experts", 2]):
        command, *rest = more
        done = cli(command, bundle, *rest, "--backend", "onnx")
        done.refused(1, f"onnx/int8/{part}.onnx was altered", "copy or convert the bundle again")
    assert opened or part == "base"
    assert file.read_bytes() not in opened
    assert cli("run", bundle, image, "--tau", 0).code == 0  # LiteRT's are whole


@pytest.mark.parametrize("command", ["verify", "run", "bench"])
@pytest.mark.parametrize("part", ["base", "gate", "expert_00", "expert_01"])
def test_altered_artifacts_never_reach_native_code(cli, bundle, image, tmp_path, opened, command, part):
    file = bundle / f"litert/int8/{part}.tflite"
    flip(file)
    before = tree(tmp_path)
    more = ["--tau", 0, "--max-experts", 2] if command == "run" else []
    done = cli(*arguments(command, bundle, image, tmp_path), *more)
    done.refused(1, f"litert/int8/{part}.tflite was altered", "copy or convert the bundle again", progress=True)
    assert opened or part == "base"
    assert file.read_bytes() not in opened
    assert tree(tmp_path) == before


def test_verify_says_what_failed_and_how_many(cli, bundle):
    # Of an altered part only the hash is looked at; then the whole, which needs it for each of the four samples.
    for file in ("litert/fp32/gate.tflite", "onnx/int8/gate.onnx"):
        flip(bundle / file)
    done = cli("verify", bundle, "--quiet")
    checks = 61 + len(Bundle(bundle).manifest.golden.images)
    done.refused(1, f"10 of {checks} checks failed", "litert/fp32, litert/fp32/gate.tflite")
    assert done.out.count("FAILED") == 10


def test_a_backend_that_this_edge_moe_lacks(cli, tmp_path, image):
    cli("run", write_bundle(tmp_path / "bundle"), image).refused(2, "unknown backend 'fake'", "expected one of litert")


def test_an_untrained_bundle_says_so(cli, bundle, image):
    edit(bundle, lambda raw: raw.update(trained=False))
    assert "UNTRAINED" in cli("inspect", bundle).out
    done = cli("run", bundle, image, "--json")
    assert (done.code, len(json.loads(done.out))) == (0, 1)
    assert done.err == "UNTRAINED network: for latency only, its answers are noise\n"


def test_probabilities_are_finite(cli, tiny_bundle, tmp_path):
    for name, pixels in (("black", 0), ("white", 255)):
        Image.fromarray(np.full((40, 40, 3), pixels, np.uint8)).save(tmp_path / f"{name}.png")
    for row in json.loads(cli("run", tiny_bundle, *tmp_path.glob("*.png"), "--json").out):
        assert math.isfinite(row["probability"])
