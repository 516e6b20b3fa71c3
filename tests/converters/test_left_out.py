"""One backend of several fails: what is published, what stays, and what is said."""

from __future__ import annotations

import json

import pytest

from edge_moe import Bundle, ConversionError, OutputError, Runtime
from edge_moe.converters import measure, recipes
from edge_moe.converters.convert import ConversionOptions, convert
from edge_moe.converters.ranking import Committed, row_of
from edge_moe.converters.workers import FailedBackends
from edge_moe.errors import LeftOutError
from edge_moe.verify import verify
from tests import own
from tests.converters.quick import BOTH, FAST, STRICT, all_of, names
from tests.tiny import tree, visible


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
    assert caught.value.report.shipped == ["litert/fp32"]
    stored = json.loads((make.path / "parity.json").read_text())
    assert list(stored["left_out"]) == ["onnx"]
    assert "**onnx was left out of the bundle:** onnx/int8/base agrees" in (make.path / "parity.md").read_text()
    assert not [path for path in tree(make.path) if path.startswith("onnx")]
    assert not {"onnx", "onnxruntime"} & Bundle(make.path).manifest.tools.keys()
    # What onnx has so far is there for the next try, which makes nothing but what changed.
    assert visible(make.partial) == ["parts"]
    manifest = make(ruined_checkpoint, force=True, keep_float=(own.RUINED,), **wanted)
    assert names(manifest) == ["litert/fp32", "onnx/int8", "onnx/fp32"]
    assert made_here.calls[1:] == [all_of("onnx/int8")]
    assert make.report.left_out == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_a_set_that_misses_a_bar_is_left_out_beside_one_that_does_not(make, made_here, ruined_checkpoint):
    """The bad layer is int8 in onnx/int8; in onnx/int8-weights its activations are not."""
    wanted = {"backends": ("onnx",), "recipes": ("int8", "int8-weights"), **STRICT}
    with pytest.raises(LeftOutError, match=r"was written without onnx/int8: onnx/int8/base agrees with fp32 on "):
        make(ruined_checkpoint, **wanted)
    assert names(Bundle(make.path).manifest) == ["onnx/int8-weights", "onnx/fp32"]
    stored = json.loads((make.path / "parity.json").read_text())
    assert (list(stored["left_out"]), stored["shipped"]) == (["onnx/int8"], ["onnx/int8-weights", "onnx/fp32"])
    assert "**onnx/int8 was left out of the bundle:**" in (make.path / "parity.md").read_text()
    assert all(check.passed for check in verify(make.path))
    manifest = make(ruined_checkpoint, force=True, keep_going=True, **wanted)
    assert names(manifest) == ["onnx/int8", "onnx/int8-weights", "onnx/fp32"]
    assert made_here.calls[1] == []


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_backend_that_cannot_be_converted_counts_alike(make, broken, keep_going):
    broken("onnx")
    with pytest.raises(LeftOutError, match=r"without onnx: onnx/base: torch.onnx cannot convert this part; the report"):
        make(keep_going=keep_going, **BOTH)
    assert names(Bundle(make.path).manifest) == ["litert/int8", "litert/fp32"]
    assert not make.partial.exists()


def test_an_artifact_that_does_not_open_counts_alike(make, monkeypatch):
    real = measure.run_artifacts

    def refuse(key, *arguments):
        if key.backend == "litert":
            raise ConversionError("litert/int8/base: LiteRT refuses the artifact")
        return real(key, *arguments)

    monkeypatch.setattr(measure, "run_artifacts", refuse)
    with pytest.raises(LeftOutError, match="without litert: litert/int8/base: LiteRT refuses the artifact"):
        make(**BOTH)
    assert names(Bundle(make.path).manifest) == ["onnx/int8", "onnx/fp32"]  # the default is another backend's
    with Runtime(make.path) as model:
        assert model.artifacts.backend == "onnx"


def test_if_nothing_passes_nothing_is_published(make, made_here, broken, tmp_path):
    made_here.structure = {"litert": (3, 2)}
    broken("onnx")
    with pytest.raises(ConversionError, match=r"onnx/base: torch.onnx cannot .*litert/.* 3 partitions .*parity\.md"):
        make(**BOTH)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.partial"]
    assert visible(make.partial) == ["parity.json", "parity.md", "parts"]


def test_if_all_miss_bars_the_first_is_told_and_the_others_are_counted(make, ruined_checkpoint, tmp_path):
    with pytest.raises(ConversionError) as caught:
        make(ruined_checkpoint, recipes=("int8",), **BOTH, **STRICT)
    assert not isinstance(caught.value, LeftOutError)
    stored = (make.partial / "parity.json").read_text()
    problems = [one["problem"] for found in json.loads(stored)["missed_bars"].values() for one in found]
    assert str(caught.value).startswith(f"{problems[0]} (and {len(problems) - 1} more); ")
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
    assert visible(make.partial) == ["parity.json", "parity.md", "parts"]
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

    monkeypatch.setattr("edge_moe.converters.make.Maker.rank_layers", refuse)
    with pytest.raises(LeftOutError, match="without onnx: onnx/int8/base agrees"):
        make(ruined_checkpoint, recipes=("litert/fp32", "onnx/int8"), **BOTH, **STRICT)


# --- one recipe of several ---


def test_a_recipe_that_was_asked_for_and_cannot_be_made_is_left_out(make, made_here):
    made_here.unmade = {"litert/int8-all": "ai-edge-quantizer cannot apply recipe 'int8-all': no"}
    with pytest.raises(LeftOutError) as caught:
        make(recipes=("int8-all", "int8"))
    reason = "ai-edge-quantizer cannot apply recipe 'int8-all': no"
    assert str(caught.value).startswith(f"{make.path} was written without litert/int8-all: litert/base: {reason}; the ")
    assert names(Bundle(make.path).manifest) == ["litert/int8", "litert/fp32"]
    assert all(check.passed for check in verify(make.path))
    page = (make.path / "parity.md").read_text()
    assert f"**litert/int8-all was left out of the bundle:** litert/base: {reason}" in page
    assert "cannot be made:" not in page  # once is enough
    assert list(caught.value.report.sets) == ["litert/fp32", "litert/int8"]


def test_one_that_nobody_asked_for_is_named_and_that_is_all(make, made_here):
    first, second = recipes.book("litert").order(row_of())[:2]
    made_here.unmade = {f"litert/{first}": "no"}
    manifest = make(recipes=())
    assert names(manifest) == [f"litert/{second}", "litert/fp32"]
    assert (make.report.left_out, list(make.report.unmade)) == ({}, [f"litert/{first}"])
    assert f"**litert/{first} cannot be made:** litert/base: no" in (make.path / "parity.md").read_text()


def test_an_artifact_that_does_not_run_costs_no_other_recipe(make, monkeypatch):
    real = measure.run_artifacts

    def refuse(key, *arguments):
        if key.recipe == "int8-all":
            raise ConversionError(f"{key}/base: LiteRT refuses the artifact")
        return real(key, *arguments)

    monkeypatch.setattr(measure, "run_artifacts", refuse)
    with pytest.raises(LeftOutError, match="without litert/int8-all: litert/int8-all/base: LiteRT refuses"):
        make(recipes=("int8-all", "int8"))
    assert names(Bundle(make.path).manifest) == ["litert/int8", "litert/fp32"]


def test_if_none_can_be_made_the_backend_fails(make, made_here):
    made_here.unmade = {"litert/int8": "no", "onnx/int8": "never"}
    with pytest.raises(ConversionError, match=r"^litert/base: no$"):
        make()
    with pytest.raises(ConversionError, match=r"^litert/base: no; onnx/base: never$"):
        make(**BOTH)
    made_here.unmade = {"litert/int8": "no"}
    with pytest.raises(LeftOutError, match="was written without litert: litert/base: no; the report is"):
        make(**BOTH)
    assert names(Bundle(make.path).manifest) == ["onnx/int8", "onnx/fp32"]


def test_candidates_are_those_of_the_row(made_here, own_checkpoint, tiny_images, tmp_path):
    """An NPU has others than a processor: that one of these could be made is no help, and nobody tried."""
    made_here.unmade = {f"onnx/{name}": "no" for name in recipes.book("onnx").orders["qnn"]}
    options, out = ConversionOptions(**(FAST | {"backends": ("onnx",), "recipes": ()})), tmp_path / "bundle"
    with pytest.raises(ConversionError, match=r"^onnx/base: no$"):
        convert(own_checkpoint, str(tiny_images), out, options, ranker=Committed("qnn"))
    made_here.unmade = {"onnx/int8-a16": "no"}
    report = convert(own_checkpoint, str(tiny_images), out, options, ranker=Committed("qnn"))
    assert report.shipped == ["onnx/int8-stock", "onnx/fp32"]
