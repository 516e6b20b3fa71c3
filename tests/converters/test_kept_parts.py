"""Nothing is converted twice, and nothing is kept that is not the same."""

from __future__ import annotations

import importlib
import json
import shutil
import sys

import msgspec
import numpy as np
import pytest
import torch

from edge_moe import Bundle, BundleError, ConversionError, Runtime
from edge_moe.checkpoint import read_config, write_config
from edge_moe.converters.same_network import fixed_image
from edge_moe.converters.toolchain import Structure
from edge_moe.nn import Architecture
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, new_mixture, save_checkpoint
from edge_moe.verify import verify
from tests.converters.quick import BOTH, PARTS, all_of, names
from tests.test_bundle import flip
from tests.tiny import CLASSES, EXPERTS, tree, visible

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


def test_how_it_is_split_is_seen_again_of_what_was_kept(make, made_here, monkeypatch):
    """Of a conversion that was stopped, and of an earlier bundle; nothing has to be calibrated for that."""
    made_here.stop_before = "litert/int8/expert_01"
    with pytest.raises(KeyboardInterrupt):
        make()
    made_here.stop_before, made_here.structure = None, {"litert": (3, 2)}
    with pytest.raises(ConversionError, match=r"/base runs in 3 partitions with 2 nodes outside.*\(and 7 more\)"):
        make()
    assert made_here.calls[1] == ["litert/int8/expert_01"]
    monkeypatch.setattr("edge_moe.converters.measure.calibration_samples", None)
    made_here.structure = {"litert": (1, 0)}
    make()
    assert {one.structure for rows in make.report.sets.values() for one in rows} == {Structure(1, 0)}
    made_here.structure = {"litert": (2, 0)}
    with pytest.raises(ConversionError, match="base runs in 2 partitions"):
        make(force=True)
    assert made_here.calls[2:] == [[], []]


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
    config = read_config(swapped)
    digests = config.parts | {"expert_00": config.parts["expert_01"], "expert_01": config.parts["expert_00"]}
    write_config(swapped, msgspec.structs.replace(config, parts=digests))
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
    assert [(one.role, one.experts) for one in manifest.sets[0].golden.samples][1:] == [("expert_00", (0,))]
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
    assert make.report.made_anew == []
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
    (line,) = make.report.made_anew
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
    """Artifacts in the partial folder, and what torch made of the fixed input."""
    made_here.stop_before = "onnx/int8/expert_00"
    with pytest.raises(KeyboardInterrupt):
        make(edited("ReLU"), **BOTH)
    assert {".tflite", ".npz"} <= {path.suffix for path in (make.partial / "parts").iterdir()}
    made_here.stop_before = None
    made_here.made, made_here.graphs = {}, {}
    make(edited("Hardswish"), **BOTH)
    assert set(made_here.calls[1]) == set(all_of("litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8"))
    assert "made anew, because torch gives other outputs" in make.report.made_anew[0]


def test_a_bundle_that_does_not_say_what_torch_made(make, made_here):
    make()
    raw = json.loads((make.path / "manifest.json").read_text())
    del raw["network"]
    (make.path / "manifest.json").write_text(json.dumps(raw))
    assert Bundle(make.path).network() is None
    make(force=True)
    assert made_here.calls[1:] == [all_of(*LITERT)]
    words = "made anew, because it was not kept with them what torch made of a fixed input"
    assert make.report.made_anew == [f"{', '.join(PARTS)}: {words}"]


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
    assert visible(make.partial) == ["parts"]
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
