"""A request: what a bundle, options and data select, what is refused, and what goes into the key of a run."""

from __future__ import annotations

import msgspec
import pytest
from PIL import Image

from edge_moe import BackendError, CheckpointError, UsageError, backends
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.request import check
from tests.benchmarks.core import FAST, Core
from tests.fakes import FakeBackend, write_bundle
from tests.tiny import SETS


def test_a_set_that_cannot_run_here_is_left_out_unless_it_is_named(make_bundle, monkeypatch, caplog):
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    path = make_bundle(recipes=("npu", "int8"), edit=lambda raw: raw["sets"][0]["runs_on"].update(npu="hexagon"))
    caplog.set_level("INFO", logger="edge_moe")
    selected = check(path, "noise", BenchOptions()).sets
    assert [str(one.key) for one in selected] == ["fake/int8"]
    line = "fake/npu cannot run here: it needs the NPU hexagon, which is not here"
    assert caplog.messages == [f"{line}; it is left out"]
    for named in ({"sets": ("fake/npu",)}, {"backends": ("fake",)}, {"recipes": ("npu", "int8")}):
        with pytest.raises(BackendError, match=line):
            check(path, "noise", BenchOptions(**named))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SETS),
        ({"backends": ("onnx",)}, SETS[2:]),
        ({"backends": ("onnx", "litert")}, SETS),  # in the bundle's order
        ({"recipes": ("fp32",)}, (SETS[1], SETS[3])),
        ({"recipes": ("onnx/int8",)}, (SETS[2],)),
        ({"recipes": ("onnx/int8", "fp32")}, SETS[1:]),
        ({"backends": ("litert",), "recipes": ("int8",)}, (SETS[0],)),
        ({"backends": ("litert", "onnx"), "recipes": ("litert/int8", "onnx/fp32")}, (SETS[0], SETS[3])),
    ],
)
def test_backends_and_recipes_that_were_asked_for(tiny_bundle, options, expected):
    selected = check(tiny_bundle, "noise", BenchOptions(**options)).sets
    assert [f"{one.backend}/{one.recipe.name}" for one in selected] == list(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backends": ("tpu",)}, "no artifacts for tpu/any recipe; it has litert/int8, litert/fp32"),
        ({"backends": ("litert", "tpu")}, "no artifacts for tpu"),
        ({"sets": ("litert/int8", "onnx/int4")}, "no artifacts for onnx/int4"),
        ({"sets": ("onnx",), "recipes": ("int8",)}, "--set is given with --backend or --recipe"),
        ({"recipes": ("int4",)}, "no artifacts for any backend/int4"),
        ({"recipes": ("int8", "onnx/int4")}, "no artifacts for onnx/int4"),
        ({"recipes": ("executorch/int8",)}, "no artifacts for executorch/int8"),
        ({"backends": ("onnx",), "recipes": ("int4",)}, "no artifacts for onnx/int4"),
        (
            {"backends": ("litert",), "recipes": ("onnx/int8",)},
            "recipe 'onnx/int8' is of backend 'onnx'; expected one of litert, or add --backend",
        ),
        ({"backends": ("litert",), "recipes": ("int8", "onnx/int8")}, "recipe 'onnx/int8' is of backend 'onnx'"),
    ],
)
def test_names_that_the_bundle_does_not_have(tiny_bundle, options, words):
    with pytest.raises(UsageError, match=words):
        check(tiny_bundle, "noise", BenchOptions(**options))


def test_a_checkpoint_of_another_network(tiny_bundle, tiny_checkpoint, own_checkpoint, tmp_path):
    check(tiny_bundle, "noise", BenchOptions(checkpoint=str(tiny_checkpoint)))
    words = r"tests.own:network for 32 pixels .* but the bundle is mobilenet_v3_small .*; give the checkpoint"
    with pytest.raises(CheckpointError, match=words):
        check(tiny_bundle, "noise", BenchOptions(checkpoint=str(own_checkpoint)))
    with pytest.raises(CheckpointError):
        check(tiny_bundle, "noise", BenchOptions(checkpoint=str(tmp_path)))


class Exact(Core):
    """A core whose rounds are all alike."""

    counts_exactly = True


def test_five_runs(make_bundle, monkeypatch):
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    path = make_bundle()
    for given, rounds in ((None, 5), (5, 5), (8, 8)):
        assert check(path, "noise", BenchOptions(five_runs=True, rounds=given)).rounds == rounds
    with pytest.raises(UsageError, match="rounds is 4; expected at least 5 for five runs"):
        check(path, "noise", BenchOptions(five_runs=True, rounds=4))
    monkeypatch.setattr(targets, "get", lambda name: Exact())
    assert check(path, "noise", BenchOptions()).rounds == 1
    with pytest.raises(UsageError, match=r"core counts alike in every round: .*; leave --five-runs away"):
        check(path, "noise", BenchOptions(five_runs=True))


@pytest.mark.parametrize(
    "change",
    [
        {"data": "folder"},
        {"rounds": 3},
        {"taus": (0.5,)},
        {"peers": True},
        {"seed": 1},
        {"five_runs": True, "rounds": 5},
        {"device": "core"},
        {"bundle": {"seed": 1}},
        {"bundle": {"space": "probability"}},
        {"bundle": {"operate": lambda raw: raw["sets"]["fake/int8"].update(default_max_experts=2)}},
    ],
)
def test_whatever_the_figures_depend_on_is_in_the_key(tmp_path, monkeypatch, change):
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    monkeypatch.setattr(targets, "get", lambda name: Core())
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "folder/one.png")

    def key(name, bundle=None, data="noise", **options):
        path = write_bundle(tmp_path / name / "bundle", **(bundle or {}))
        data = data.replace("folder", str(tmp_path / "folder"))
        return msgspec.json.encode(check(path, data, BenchOptions(**(FAST | options))).key())

    assert key("first") == key("second") != key("third", **change)
