"""A bundle of the release before becomes one of today, by the same artifacts; a stopped upgrade leaves a bundle.

tests/data/schema2.zip is what that release made of a checkpoint of `tests.own`, of each backend the int8 set.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, BundleError, IntegrityError, MissingExtraError, OutputError, Runtime, UsageError, binding
from edge_moe import upgrade as module
from edge_moe.bundle import MANIFEST, OPERATING
from edge_moe.lock import acquire
from edge_moe.upgrade import upgrade
from edge_moe.verify import verify
from tests.test_bundle import flip
from tests.tiny import DATA, tree

SETS = ["litert/int8", "onnx/int8", "executorch/int8"]


@pytest.fixture
def old(tmp_path):
    with zipfile.ZipFile(DATA / "schema2.zip") as packed:
        packed.extractall(tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upgraded") / "bundle"
    with zipfile.ZipFile(DATA / "schema2.zip") as packed:
        packed.extractall(folder)
    before = json.loads((folder / MANIFEST).read_text())
    assert upgrade(folder).changed
    return folder, before


def test_opening_it_names_the_command(old):
    with pytest.raises(BundleError, match=r"schema version 2; this edge-moe reads 3: run 'edge-moe upgrade .*old'"):
        Bundle(old)


def test_everything_that_the_old_one_said_is_there(upgraded):
    folder, before = upgraded
    bundle = Bundle(folder)
    manifest = bundle.manifest
    assert [str(one.key) for one in manifest.sets] == SETS
    for one, was in zip(manifest.sets, before["sets"], strict=True):
        for name, part in one.parts.items():
            assert (part.file, part.sha256, part.bytes) == tuple(was["parts"][name].values())
        assert one.made_from == was["made_from"]
        now = bundle.operating(one)
        assert (now.default_tau, now.default_max_experts) == (was["default_tau"], was["default_max_experts"])
        assert [point.accuracy for point in now.operating_points] == [p["accuracy"] for p in was["operating_points"]]
        assert (one.golden.samples[0].label, one.golden.tolerance) == (
            was["golden"]["label"],
            was["golden"]["tolerance"],
        )
    assert not list(folder.rglob("golden.npz"))  # its tensors are in golden/ now
    assert sorted(file.name for file in (folder / "golden").iterdir()) == sorted(
        ["inputs.npz", "vectors.json", *(f"{name.replace('/', '-')}.npz" for name in SETS)]
    )


def test_the_tensors_are_those_of_the_files(upgraded):
    bundle = Bundle(upgraded[0])
    found = {}
    for one in bundle.manifest.sets:
        base = one.parts["base"]
        found[one.backend] = [(t.name, t.tensor, t.shape, t.layout) for t in (*base.inputs, *base.outputs)]
        assert {t.dtype for t in (*base.inputs, *base.outputs)} == {"float32"}
        assert {(t.scale, t.zero_point) for t in (*base.inputs, *base.outputs)} == {(None, None)}
    image, features = (1, 32, 32, 3), (1, 8, 8, 80)
    assert found == {
        "litert": [
            ("image", "serving_default_args_0", image, "NHWC"),  # what that release called it
            ("embedding", "serving_default_embedding_output", (1, 80), None),
            ("features", "serving_default_features_output", features, "NHWC"),
            ("logits", "serving_default_logits_output", (1, 3), None),
        ],
        "onnx": [
            ("image", "image", image, "NHWC"),
            ("logits", "logits", (1, 3), None),
            ("features", "features", features, "NHWC"),
            ("embedding", "embedding", (1, 80), None),
        ],
        "executorch": [
            ("image", None, (1, 3, 32, 32), "NHWC_in_NCHW"),
            ("logits", None, (1, 3), None),
            ("features", None, (1, 80, 8, 8), "NHWC_in_NCHW"),
            ("embedding", None, (1, 80), None),
        ],
    }


def test_it_verifies_and_says_that_it_has_no_images(upgraded):
    checks = verify(upgraded[0])
    assert [one.detail for one in checks if not one.passed] == []
    (skipped,) = [one for one in checks if one.skipped]
    assert (skipped.set, skipped.what) == ("bundle", "preprocessing")
    assert "upgraded from schema 2, which had no images" in skipped.detail


def test_it_answers_as_its_golden_sample_did(upgraded):
    bundle = Bundle(upgraded[0])
    for one in bundle.manifest.sets:
        tensors = bundle.golden(one)["00"]
        with Runtime(bundle, backend=one.backend, tau=0.0, max_experts=2) as model:
            answer = model.predict_tensor(tensors["input"])
        assert answer.index == one.golden.samples[0].label
        np.testing.assert_allclose(answer.scores, tensors["scores.whole"], rtol=0.02)


def test_to_another_folder(old, tmp_path):
    before = tree(old)
    found = upgrade(old, tmp_path / "new")
    assert (found.path, found.changed) == (tmp_path / "new", True)
    assert tree(old) == before
    assert len(Bundle(tmp_path / "new").manifest.sets) == 3
    assert not (tmp_path / "new.partial").exists()
    with pytest.raises(OutputError, match="exists already"):
        upgrade(old, tmp_path / "new")


def test_in_place_nothing_beside_it_is_in_the_way(old, tmp_path, monkeypatch):
    (tmp_path / "old.partial").mkdir()
    (tmp_path / "old.partial/thesis.txt").write_text("years of work")
    monkeypatch.chdir(old)
    lock = acquire(old, "edge-moe convert")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"is being made by 'edge-moe convert' .*; wait until that is done$"):
        upgrade(Path())
    assert tree(tmp_path) == before
    lock.release()
    assert upgrade(Path()).changed
    assert Bundle(old).manifest.schema_version == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "old.partial"]
    assert (tmp_path / "old.partial/thesis.txt").read_text() == "years of work"


def test_a_second_time_there_is_nothing_to_do(upgraded, tmp_path):
    folder, _ = upgraded
    before = tree(folder)
    found = upgrade(folder)
    assert (found.changed, tree(folder)) == (False, before)
    assert found.remark.endswith("has schema version 3, which is today's")
    with pytest.raises(UsageError, match=r"nothing to write to .*new: copy it"):
        upgrade(folder, tmp_path / "new")


@pytest.mark.parametrize("data", [b"", b'{"schema_version": 2, ', b"\xef\xbb\xbf{}"])
def test_a_manifest_that_is_no_json(old, data):
    (old / MANIFEST).write_bytes(data)
    with pytest.raises(BundleError, match=r"manifest\.json is not a manifest"):
        upgrade(old)


def test_a_pipe_is_not_waited_for(old):
    (old / MANIFEST).unlink()
    os.mkfifo(old / MANIFEST)
    with pytest.raises(BundleError, match="manifest"):
        upgrade(old)


def test_a_checkpoint(own_checkpoint):
    before = tree(own_checkpoint)
    found = upgrade(own_checkpoint)
    assert (found.changed, tree(own_checkpoint)) == (False, before)
    assert found.remark.endswith("is a checkpoint; those of schema 1 are read as they are")


@pytest.mark.parametrize("last", ["golden/litert-int8.npz", OPERATING, MANIFEST])
def test_stopped_at_any_file_it_is_the_old_bundle(old, monkeypatch, last):
    """And the next upgrade takes it from there."""
    real, before = module.write_file, (old / MANIFEST).read_bytes()

    def stop(file, data):
        if str(file).endswith(last):
            raise KeyboardInterrupt
        real(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_file", stop)
        with pytest.raises(KeyboardInterrupt):
            upgrade(old)
    assert (old / MANIFEST).read_bytes() == before
    assert len(list(old.rglob("golden.npz"))) == 3
    assert upgrade(old).changed
    assert all(one.passed for one in verify(old))


def test_a_damaged_artifact_is_not_upgraded(old):
    flip(old / "onnx/int8/gate.onnx")
    before = tree(old)
    with pytest.raises(IntegrityError, match=r"gate\.onnx was altered"):
        upgrade(old)
    assert tree(old) == before


def test_without_the_library_of_a_backend(old, monkeypatch, tmp_path):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    before = tree(old)
    with pytest.raises(MissingExtraError, match=r"needs onnxruntime.*edge-moe\[onnx\]"):
        upgrade(old, tmp_path / "new")
    assert tree(old) == before
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.partial").exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda raw: raw.update(schema_version=1), "has schema version 1; expected 2: convert the checkpoint again"),
        (lambda raw: raw.pop("labels"), "missing required field `labels`"),
        (lambda raw: raw["sets"][0]["parts"]["gate"].update(file="../gate"), "leaves the bundle"),
        (lambda raw: raw["sets"][0]["parts"].pop("gate"), "should have an artifact for each of base, gate"),
    ],
)
def test_a_manifest_that_is_none(old, edit, words):
    raw = json.loads((old / MANIFEST).read_text())
    edit(raw)
    (old / MANIFEST).write_text(json.dumps(raw))
    before = tree(old)
    with pytest.raises(BundleError, match=words) as caught:
        upgrade(old)
    assert "\n" not in str(caught.value)
    assert tree(old) == before


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"has no manifest\.json; expected a bundle"):
        upgrade(tmp_path)


def test_what_an_artifact_says_is_checked_before_anything_is_replaced(old, monkeypatch):
    """A tensor with a scale that is no number."""
    real = binding.bind

    def bind(part, spec):
        inputs, outputs = real(part, spec)
        return type(real(part, spec))(inputs, (msgspec.structs.replace(outputs[0], scale="much"), *outputs[1:]))

    monkeypatch.setattr(binding, "bind", bind)
    before = tree(old)
    with pytest.raises(BundleError, match=r"is not a manifest: Expected `float \| null`, got `str`.*convert") as caught:
        upgrade(old)
    assert "\n" not in str(caught.value)
    assert tree(old) == before
