"""edge-moe convert: the bundle that comes out, what it says, and what it refuses. Parts are made in this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from PIL import Image

from edge_moe import Bundle, BundleError
from edge_moe.backends import names
from edge_moe.benchmarks import targets
from edge_moe.bundle import MANIFEST
from edge_moe.converters.kernels import KernelNoise
from edge_moe.converters.ranking import row_of
from edge_moe.converters.recipes import book
from tests import own
from tests.cli.conftest import small_disk
from tests.counting import Counting
from tests.tiny import tree, visible

pytestmark = pytest.mark.usefixtures("made_here")

ROOT = Path(__file__).parents[2]
LOOSE = ("--min-agreement", 0, "--min-routing", 0)
FAST = ("--calibration-images", 4, "--validation-images", 12, *LOOSE, "--recipe", "int8")


@pytest.fixture
def old(tmp_path) -> Path:
    """A target that holds what says that it is a bundle; what is in it does not matter."""
    (tmp_path / "bundle/litert/int8").mkdir(parents=True)
    (tmp_path / "bundle/manifest.json").write_text('{"schema_version": 1}')
    (tmp_path / "bundle/litert/int8/base.tflite").write_bytes(b"years of training")
    return tmp_path / "bundle"


@pytest.fixture
def spoiled(own_checkpoint, tmp_path) -> Path:
    """A checkpoint that may be spoiled."""
    return shutil.copytree(own_checkpoint, tmp_path / "checkpoint")


def edit(checkpoint: Path, **fields) -> None:
    raw = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(raw | fields))


def words(text: str) -> str:
    """What a table or a wrapped line says, without its frame."""
    return " ".join(text.replace("\u2502", " ").split())


def test_convert(cli, own_checkpoint, tiny_images, tmp_path):
    out = tmp_path / "bundle"
    done = cli("convert", own_checkpoint, "--data", tiny_images, "--backend", "litert, onnx", "-o", out, *FAST)
    assert done.code == 0, done.err
    assert "edge-moe: error" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    assert sorted(path.name for path in out.iterdir()) == [
        "golden",
        "litert",
        MANIFEST,
        "network.npz",
        "onnx",
        "operating.json",
        "parity.json",
        "parity.md",
    ]
    assert done.out.splitlines()[-1] == f"bundle: {out}  (parity report: {out / 'parity.md'})"
    report = json.loads((out / "parity.json").read_text())
    for name in ("litert/int8", "onnx/int8"):
        for row in report["sets"][name]:
            same = row["against_fp32"]
            cells = [name, row["part"], f"{row['bytes'] / 1024:.0f}"]
            cells += ["1"] if name == "litert/int8" else []
            cells += [f"{same['top1']:.2%}", f"{same['cosine']:.4f}", f"{same['sqnr_db']:.1f}"]
            assert " ".join(cells) in words(done.out)
    for row in report["accuracy"]["rows"]:
        assert f"{row['what']} {row['accuracy']:.2%} {row['low']:.2%} to {row['high']:.2%}" in words(done.out)
    for name, one in Bundle(out).operating_sets.items():
        told = f"{name}: at its default tau of {one.default_tau:g} "
        assert told in done.out
        assert f"- {told}" in (out / "parity.md").read_text()
    assert "UNTRAINED" not in done.out + (out / "parity.md").read_text()
    assert "layers" not in done.out
    assert cli("verify", out, "--quiet").code == 0


@pytest.mark.parametrize(
    ("options", "sets"),
    [
        (["--backend", "onnx"], ["onnx/int8", "onnx/fp32"]),
        (["--backend", "onnx", "--backend", "litert"], ["onnx/int8", "onnx/fp32", "litert/int8", "litert/fp32"]),
        (["--backend", "litert,onnx", "--no-fp32"], ["litert/int8", "onnx/int8"]),
        (
            ["--backend", "litert,onnx", "--recipe", "onnx/int8-all", "--recipe", "litert/int8-dynamic"],
            ["litert/int8-dynamic", "litert/fp32", "onnx/int8-all", "onnx/fp32"],
        ),
    ],
)
def test_backends_and_recipes(cli, own_checkpoint, tiny_images, tmp_path, options, sets):
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", *FAST[:-2], *options)
    done = cli(*command)
    assert done.code == 0, done.err
    assert [f"{one.backend}/{one.recipe.name}" for one in Bundle(tmp_path / "bundle").manifest.sets] == sets


def test_recipes_lists_every_recipe_of_every_backend(cli):
    done = cli("recipes")
    assert (done.code, done.err) == (0, "")
    tables = {}
    for line in done.out.splitlines():
        if line.strip() in names():
            tables[line.strip()] = []
        elif tables:
            tables[list(tables)[-1]].append(line)
    assert list(tables) == list(names())
    for backend in names():
        recipes = book(backend).recipes
        # Cells are folded, so compare them without spaces.
        columns = [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in tables[backend]]
        text = ["".join("".join(cells).split()) for cells in zip(*(c for c in columns if c), strict=True)]
        for name, one in recipes.items():
            assert name in text[0]
            for cell, column in zip((one.int8, one.floats, one.why, one.when), text[1:], strict=True):
                assert "".join(cell.split()) in column
        for row, order in book(backend).orders.items():
            assert f"{row}: {', '.join(order)}" in tables[backend]
    assert "--recipe BACKEND/NAME" in done.out.splitlines()[-1]


def test_where_no_recipe_is_named_the_best_for_a_device_is_found(cli, own_checkpoint, tiny_images, tmp_path):
    out = tmp_path / "bundle"
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", out, *FAST[:-2])
    done = cli(*command)
    assert done.code == 0, done.err
    order = book("litert").order(row_of())
    assert [one.recipe.name for one in Bundle(out).manifest.sets] == [order[0], "fp32"]
    assert f"litert/{order[0]} 1 0.9 to 1.1 met" in words(done.out)
    assert f"litert: the committed order holds: nothing is 5% cheaper than litert/{order[0]} on this host" in done.out
    costs = json.loads((out / "parity.json").read_text())["ranked"]["litert"]["costs"]
    assert costs[f"litert/{order[0]}"] == [0.9, 1.0, 1.1]
    done = cli(*command, "--no-measure", "--force")
    assert (done.code, "0.9 to 1.1" in done.out) == (0, False)
    assert f"litert: the committed order holds for {row_of()}: nothing was measured" in done.out


def test_a_device_that_takes_the_artifacts_of_one_backend(cli, own_checkpoint, tiny_images, tmp_path):
    """That is the backend where none is named; one that is named is made all the same."""
    out = tmp_path / "bundle"
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", out, "--for", "qnn", *FAST[:-2])

    def made(*options):
        done = cli(*command, "--force", *options)
        assert done.code == 0, done.err
        return [str(one.key) for one in Bundle(out).manifest.sets], done.out

    sets, said = made("--no-measure")
    assert sets == ["onnx/int8-stock", "onnx/fp32"]
    assert "onnx: the committed order holds for qnn: nothing was measured" in said
    assert made("--recipe", "int8-a16")[0] == ["onnx/int8-a16", "onnx/fp32"]
    assert made("--recipe", "litert/int8")[0] == ["litert/int8", "litert/fp32"]
    assert made("--set", "litert/int8")[0] == ["litert/int8", "litert/fp32"]
    assert made("--backend", "litert", "--recipe", "int8")[0] == ["litert/int8", "litert/fp32"]


def test_a_chip_without_an_estimate_cannot_rank(cli, own_checkpoint, tiny_images, tmp_path, made_here):
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", "--for", "qnn:SM8650")
    cli(*command).refused(2, "QNN has no estimate for this chip", "--for qnn:QCS9100", "--no-measure")
    assert made_here.calls == []


def test_a_device_that_cannot_rank(cli, own_checkpoint, tiny_images, tmp_path, monkeypatch, made_here):
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", "--for")
    cli(*command, "toaster").refused(2, "unknown device 'toaster'; expected one of host")
    monkeypatch.setattr(targets, "_registered", {})
    targets.register(Counting)
    cli(*command, "counting:2").refused(2, "counting:2 cannot rank recipes: it does not measure", "--no-measure")
    assert made_here.calls == []
    # Its row is in no table, and for a recipe that is named nothing is measured.
    assert cli(*command, "counting:2", *FAST).code == 0


def test_a_recipe_that_cannot_be_made(cli, own_checkpoint, tiny_images, tmp_path, made_here):
    made_here.unmade = {"litert/int8-all": "the quantizer refuses"}
    out = tmp_path / "bundle"
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", out, *FAST[:-2])
    done = cli(*command)
    assert done.code == 0, done.err
    assert "litert/int8-all cannot be made: litert/base: the quantizer refuses" in done.out
    done = cli(*command, "--recipe", "int8,int8-all", "--force")
    done.refused(1, f"{out} was written without litert/int8-all; why stands above the tables", progress=True)
    assert f"{out} was written without litert/int8-all: litert/base: the quantizer refuses; the report" in done.out
    assert [one.recipe.name for one in Bundle(out).manifest.sets] == ["int8", "fp32"]


def test_layers_of_every_part(cli, own_checkpoint, tiny_images, tmp_path, monkeypatch):
    """And, where a kernel is the suspect, that."""
    monkeypatch.setattr(KernelNoise, "is_suspect", True)
    out = tmp_path / "bundle"
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", out, "--backend", "onnx", *FAST)
    done = cli(*command, "--debug-parity")
    assert done.code == 0, done.err
    layers = json.loads((out / "parity.json").read_text())["layers"]
    assert list(layers) == ["onnx/int8/base", "onnx/int8/expert_00", "onnx/int8/expert_01"]
    for name, rows in layers.items():
        assert f"layers of {name}, the noisiest first" in done.out
        assert f"not the layers: without the backend's kernels {name} follows fp32 at" in done.out
        for one in rows:
            ratios = (one[field] for field in ("own_sqnr_db", "input_sqnr_db", "sqnr_db"))
            cells = (one["layer"], *("no noise" if value == 200 else f"{value:.1f}" for value in ratios))
            assert " ".join(cells) in words(done.out)
            assert f"| {' | '.join(cells)} |" in (out / "parity.md").read_text()
    assert f"layers: {out / 'layers.png'}" in done.out.splitlines()
    with Image.open(out / "layers.png") as picture:
        assert picture.size[1] > picture.size[0] / 2  # three panels
        assert len(set(picture.convert("L").reduce(8).tobytes())) > 20


def test_a_bad_layer_is_named_and_kept_in_float(cli, ruined_checkpoint, tiny_images, tmp_path):
    out = tmp_path / "bundle"
    command = ("convert", ruined_checkpoint, "--data", tiny_images, "-o", out, "--calibration-images", 8)
    done = cli(*command, "--recipe", "int8")
    advice = (f"noise are {own.RUINED} (", f"--keep-float {own.RUINED}, ", "--recipe litert/int8-dynamic", "parity.md")
    done.refused(1, "litert/int8/base agrees with fp32 on ", "expected 98.50%", *advice, progress=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.partial"]
    assert (tmp_path / "bundle.partial/layers.png").stat().st_size > 1000
    with pytest.raises(BundleError):
        Bundle(tmp_path / "bundle.partial")

    done = cli(*command, "--recipe", "int8", "--keep-float", own.RUINED)
    assert done.code == 0, done.err
    assert Bundle(out).manifest.sets[0].recipe.settings["keep_float"] == [own.RUINED]
    agreement = [
        row["against_fp32"]["top1"] for row in json.loads((out / "parity.json").read_text())["sets"]["litert/int8"]
    ]
    assert min(agreement) >= 0.985


def test_routing_has_a_bar_of_its_own(cli, ruined_checkpoint, tiny_images, tmp_path, made_here):
    command = (
        "convert",
        ruined_checkpoint,
        "--data",
        tiny_images,
        "-o",
        tmp_path / "bundle",
        *FAST,
        "--backend",
        "onnx",
    )
    done = cli(*command, "--min-routing", 0.97)
    done.refused(1, "onnx/int8 as routed at tau ", "exits or wakes the experts of fp32 on", "97.00%", progress=True)
    # Refused and repeated: nothing is converted again.
    assert cli(*command, "--min-routing", 0.97, "--keep-going").code == 0
    assert [len(call) for call in made_here.calls] == [8, 0]


def test_an_earlier_bundle_is_reused(cli, own_checkpoint, tiny_images, tmp_path, made_here):
    command = ("convert", own_checkpoint, "--data", tiny_images, *FAST)
    assert cli(*command, "-o", tmp_path / "one").code == 0
    assert cli(*command, "-o", tmp_path / "two", "--reuse", tmp_path / "one", "--backend", "litert,onnx").code == 0
    assert {name.split("/")[0] for name in made_here.calls[0]} == {"litert"}
    assert {name.split("/")[0] for name in made_here.calls[1]} == {"onnx"}
    one, two = (Bundle(tmp_path / name).manifest.sets for name in ("one", "two"))
    assert [a.parts["base"].sha256 for a in one] == [a.parts["base"].sha256 for a in two[:2]]
    before = tree(tmp_path)
    done = cli(*command, "-o", tmp_path / "three", "--reuse", tmp_path / "typo")
    done.refused(1, "typo is not a folder; expected a bundle")
    assert tree(tmp_path) == before


def test_an_untrained_network_is_labelled_wherever_it_goes(cli, spoiled, tmp_path):
    edit(spoiled, origin="untrained", training=None)
    out = tmp_path / "bundle"
    # The bar on agreement is for networks that mean what they say.
    done = cli("convert", spoiled, "--data", "noise", "-o", out, *FAST, "--min-agreement", 1, "--min-routing", 1)
    assert done.code == 0, done.err
    assert "UNTRAINED" in done.out
    assert "accuracy" not in done.out
    assert "UNTRAINED" in (out / "parity.md").read_text()
    manifest = Bundle(out).manifest
    assert not manifest.trained
    assert [one.operating_points for one in Bundle(out).operating_sets.values()] == [(), ()]
    assert "UNTRAINED" in cli("inspect", out).out
    bench = cli("bench", out, "--data", "noise", "-o", tmp_path / "report", "--images", 4, "--rounds", 1)
    assert (bench.code, "UNTRAINED" in bench.out) == (0, True)
    assert "UNTRAINED" in (tmp_path / "report/results.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tau", "nan"], ["tau is nan", "from 0"]),
        (["--tau", "1.01"], ["tau is 1.01", "from 0"]),
        (["--tau", "-0.01"], ["tau is -0.01", "from 0"]),
        (["--max-experts", 0], ["max_experts is 0", "from 1 to 2"]),
        (["--max-experts", 3], ["max_experts is 3", "from 1 to 2"]),
        (["--min-agreement", 1.1], ["min_agreement is 1.1", "from 0 to 1"]),
        (["--min-agreement", "nan"], ["min_agreement is nan", "from 0 to 1"]),
        (["--min-routing", -0.1], ["min_routing is -0.1", "from 0 to 1"]),
        (["--jobs", 0], ["jobs is 0", "at least 1"]),
        (["--calibration-images", 0], ["calibration_images is 0", "at least 1"]),
        (["--validation-images", 0], ["validation_images is 0", "at least 1"]),
        (["--recipe", "int4"], ["'int4'", "expected one of fp32, int8"]),
        (["--recipe", "fp32", "--no-fp32"], ["nothing is left", "--no-fp32"]),
        (["--recipe", "onnx/int8"], ["'onnx/int8' is of backend 'onnx'", "expected one of litert", "--backend"]),
        (["--recipe", "int8-heavy"], ["unknown recipe 'int8-heavy' for litert", "edge-moe recipes"]),
        (["--backend", "tpu"], ["unknown backend 'tpu'", "expected one of litert, onnx, executorch"]),
        (["--backend", ""], ["an argument is empty", "expected a name, or no argument"]),
        (["--backend", "onnx,onnx"], ["onnx, onnx", "each at most once"]),
        (["--keep-float", "evn"], ["'evn', which is no module of the network", "first, second, even, last"]),
    ],
)
def test_options_out_of_range(cli, own_checkpoint, tiny_images, tmp_path, options, words):
    cli("convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", *options).refused(2, *words)
    assert tree(tmp_path) == {}


def drop_a_tensor(checkpoint):
    from safetensors.torch import save_file

    from edge_moe.training.checkpoint import read_weights

    state = read_weights(checkpoint / "gate.safetensors")
    save_file({"weight": state["weight"]}, checkpoint / "gate.safetensors")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["is not a folder", "edge-moe train"]),
        (lambda c: (c / "config.json").unlink(), ["has no config.json", "edge-moe train"]),
        (lambda c: (c / "config.json").write_text("{"), ["is not a checkpoint's config", "train or import again"]),
        (lambda c: edit(c, schema_version=99), ["schema version 99", "reads 1", "train or import again"]),
        (lambda c: edit(c, labels=["one"]), ["1 labels for 3 classes", "train or import again"]),
        (lambda c: (c / "expert_01.safetensors").unlink(), ["expert_01.safetensors does not exist", "expected"]),
        (lambda c: os.truncate(c / "base.safetensors", 999), ["base.safetensors is damaged", "expected"]),
        (drop_a_tensor, ["gate.safetensors does not fit", "lacks bias"]),
    ],
    ids=["missing", "empty", "no json", "schema", "labels", "no expert", "truncated", "no bias"],
)
def test_checkpoints_that_are_refused(cli, spoiled, tiny_images, tmp_path, old, spoil, words):
    spoil(spoiled)
    before = tree(tmp_path)
    cli("convert", spoiled, "--data", tiny_images, "-o", old, "--force").refused(1, *words)
    assert tree(tmp_path) == before


def empty_class(data):
    shutil.rmtree(data / "train/down")
    (data / "train/down").mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["does not exist", "expected"]),
        (lambda data: shutil.rmtree(data / "train"), ["has no subfolder 'train'", "expected"]),
        (empty_class, ["train/down has no images", "add some or remove the folder"]),
        (lambda d: (d / "val/down").rename(d / "val/up"), ["'up', which the model does not know", "across, diagonal"]),
        (lambda d: (d / "val/down/00.png").write_bytes(b"x"), ["val/down/00.png is not an image", "leave it out"]),
        (lambda d: [f.write_bytes(b"x") for f in d.glob("train/*/*")], ["is not an image", "leave it out"]),
    ],
    ids=["missing", "no train", "empty class", "unknown class", "no image in val", "no image in train"],
)
def test_data_that_cannot_be_used(cli, own_checkpoint, tiny_images, tmp_path, old, spoil, words, made_here):
    data = shutil.copytree(tiny_images, tmp_path / "data")
    spoil(data)
    before = tree(tmp_path)
    done = cli("convert", own_checkpoint, "--data", data, "-o", old, "--force")
    done.refused(1, *words, progress=True)
    assert tree(tmp_path) == before
    assert made_here.calls == []  # before minutes went into converting


def test_an_existing_target(cli, own_checkpoint, tiny_images, tmp_path, old):
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", old, *FAST)
    before = tree(tmp_path)
    cli(*command).refused(1, f"{old} exists already", "--force")
    assert tree(tmp_path) == before
    assert cli(*command, "--force").code == 0
    assert Bundle(old).operating_sets["litert/int8"].operating_points[0].samples == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.parametrize("place", ["file/bundle", "/proc/bundle"])
def test_a_target_that_cannot_be_written(cli, own_checkpoint, tiny_images, tmp_path, place):
    (tmp_path / "file").write_text("x")
    done = cli("convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / place, *FAST)
    done.refused(1, "cannot write", place, "choose another target", progress=True)
    assert sorted(tree(tmp_path)) == ["file"]


def test_a_full_disk(cli, own_checkpoint, tiny_images, tmp_path, old):
    before = tree(old)
    with small_disk(5_000):
        done = cli("convert", own_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force")
    done.refused(1, "cannot write", "bundle.partial", progress=True)
    assert tree(tmp_path).keys() - {"bundle.partial", "bundle.partial/parts"} == {
        "bundle",
        *(f"bundle/{p}" for p in before),
    }
    assert tree(old) == before


def test_a_full_disk_says_to_free_some_space(cli, own_checkpoint, tiny_images, tmp_path, old, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    before = tree(tmp_path)
    monkeypatch.setattr("os.fsync", full)
    done = cli("convert", own_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force")
    done.refused(1, "No space left on device", "free some space and run again", progress=True)
    assert tree(tmp_path) == before


def test_a_bar_that_is_missed(cli, own_checkpoint, tiny_images, tmp_path, old, made_here):
    made_here.structure = {"litert": (3, 2)}
    before = tree(old)
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", old, *FAST, "--force")
    done = cli(*command)
    problem = (
        "litert/int8/base runs in 3 partitions with 2 nodes outside",
        "expected 1 with no node outside",
        "(and 7 more)",
    )
    done.refused(1, *problem, "no recipe changes that", "--keep-going", "bundle.partial/parity.md", progress=True)
    assert tree(old) == before
    # The report stays, to see why; nothing that loads does.
    left = visible(tmp_path / "bundle.partial")
    assert left == ["parity.json", "parity.md", "parts"]
    with pytest.raises(BundleError):
        Bundle(tmp_path / "bundle.partial")

    done = cli(*command, "--keep-going")
    assert done.code == 0, done.err
    for recipe in ("int8", "fp32"):
        name = f"litert/{recipe}"
        assert f"{name} is shipped all the same: {name}/base runs in 3 partitions" in " ".join(done.out.split())
    assert "3 + 2 nodes" in done.out
    assert (old / "parity.md").read_text().count("**missed:**") == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_one_backend_that_misses_its_bars_does_not_cost_the_others(
    cli, ruined_checkpoint, tiny_images, tmp_path, made_here
):
    out = tmp_path / "bundle"
    command = ("convert", ruined_checkpoint, "--data", tiny_images, "-o", out, "--calibration-images", 8)
    command += ("--backend", "litert,onnx", "--recipe", "litert/fp32", "--recipe", "onnx/int8")
    done = cli(*command)
    accuracy, first = done.out.splitlines()[:2]
    assert accuracy.startswith("fp32 accuracy: ")  # before the work; then, before all else, what failed
    assert first.startswith(f"{out} was written without onnx: onnx/int8/base agrees with fp32 on ")
    assert "expected 98.50%" in first
    assert f"--keep-float {own.RUINED}" in first
    assert first.endswith(f"; the report is {out / 'parity.md'}")
    done.refused(1, f"{out} was written without onnx", "why stands above the tables", "parity.md", progress=True)
    assert done.out.splitlines()[-1] == f"bundle: {out}  (parity report: {out / 'parity.md'})"
    assert [f"{one.backend}/{one.recipe.name}" for one in Bundle(out).manifest.sets] == ["litert/fp32"]
    assert cli("verify", out, "--quiet").code == 0

    # A whole one is not replaced by less.
    whole = cli(*command, "--keep-float", own.RUINED, "--force")
    assert whole.code == 0, whole.err
    before = tree(out)
    less = cli(*command, "--force")
    words = (f"{out} stays as it was", "without onnx", "mend that and repeat the command", "bundle.partial/parity.md")
    less.refused(1, "onnx/int8/base agrees with fp32 on ", *words, progress=True)
    assert tree(out) == before
    calls = len(made_here.calls)
    cli(*command[:-6], "--backend", "litert", "--force").refused(1, "has litert, onnx", "--backend litert,onnx")
    assert (tree(out), len(made_here.calls)) == (before, calls)


def test_experts_that_bring_nothing_are_told(cli, own_checkpoint, tiny_images, tmp_path, monkeypatch):
    from edge_moe.converters import measure

    real = measure.operating_points

    def alike(*arguments):
        return tuple(msgspec.structs.replace(point, accuracy=0.75) for point in real(*arguments))

    monkeypatch.setattr(measure, "operating_points", alike)
    out = tmp_path / "bundle"
    done = cli("convert", own_checkpoint, "--data", tiny_images, "-o", out, *FAST)
    said = [line for line in done.out.splitlines() if "bring nothing" in line]
    assert said == [
        f"litert/{recipe}: on these 12 images the experts bring nothing: the base alone is right on 75.00%, the "
        "mixture (tau 0) on 75.00%; at its default tau of 1 no expert is ever used"
        for recipe in ("int8", "fp32")
    ]
    assert [line for line in cli("inspect", out).out.splitlines() if "bring nothing" in line] == said


def test_noise_is_for_what_init_made(cli, own_checkpoint, tmp_path, made_here):
    done = cli("convert", own_checkpoint, "--data", "noise", "-o", tmp_path / "bundle", *FAST)
    done.refused(2, "the data is 'noise', but the checkpoint is trained", "give --data a folder of images", "./noise")
    assert (tree(tmp_path), made_here.calls) == ({}, [])


def test_what_was_made_anew_is_told(cli, own_checkpoint, tiny_images, tmp_path):
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", *FAST)
    assert "made anew" not in cli(*command).out
    raw = json.loads((tmp_path / "bundle/manifest.json").read_text())
    del raw["network"]
    (tmp_path / "bundle/manifest.json").write_text(json.dumps(raw))
    done = cli(*command, "--force")
    assert "base, gate, expert_00, expert_01: made anew, because it was not kept" in done.out
    assert "made anew" not in cli(*command, "--force").out


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads processes from /proc")
def test_a_killed_conversion_is_taken_up_and_leaves_no_bundle_and_no_process(
    cli, own_checkpoint, tiny_images, tmp_path, old, made_here
):
    """The real converter, in its real processes, killed when the first artifacts are there."""
    before = tree(old)
    partial = tmp_path / "bundle.partial"
    script = Path(sys.executable).with_name("edge-moe")
    command = ("convert", own_checkpoint, "--data", tiny_images, "-o", old, "--backend", "onnx", *FAST, "--force")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # The network is found in the current folder.
    running = subprocess.Popen([script, *map(str, command), "--jobs", "1"], cwd=ROOT, **quiet)
    deadline = time.monotonic() + 120
    while not list(partial.glob("parts/*.onnx")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert len(workers) >= 1
    assert psutil.wait_procs(workers, timeout=30)[1] == []  # an orphan would write into the next run's folder
    there = {path.stem for path in partial.glob("parts/*.onnx")}
    assert tree(old) == before
    with pytest.raises(BundleError, match="has no manifest"):
        Bundle(partial)

    assert cli(*command).code == 0
    sets = Bundle(old).manifest.sets
    taken = {f"onnx/{one.recipe.name}/{part}" for one in sets for part, key in one.made_from.items() if key in there}
    assert len(taken) == len(there) > 0
    every = {f"onnx/{one.recipe.name}/{part}" for one in sets for part in one.parts}
    (made,) = made_here.calls
    assert set(made) == every - taken
    assert len(made) < 8
    assert cli("verify", old, "--quiet").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    assert {path.name for path in old.iterdir()} == {
        "golden",
        "manifest.json",
        "network.npz",
        "onnx",
        "operating.json",
        "parity.json",
        "parity.md",
    }


def test_a_network_that_is_not_here(cli, spoiled, tiny_images, tmp_path):
    raw = json.loads((spoiled / "config.json").read_text())
    edit(spoiled, architecture=raw["architecture"] | {"base": "elsewhere:network"})
    before = tree(tmp_path)
    done = cli("convert", spoiled, "--data", tiny_images, "-o", tmp_path / "bundle", *FAST)
    done.refused(2, "'elsewhere:network': module 'elsewhere' cannot be imported", "run where it lies, or install it")
    assert tree(tmp_path) == before
