"""Nothing is converted twice, and nothing is taken for what it is not."""

from __future__ import annotations

import json

import msgspec
import pytest

from edge_moe.bundle import MANIFEST, Bundle
from edge_moe.converters import recipes, store, toolchain
from edge_moe.converters.store import Store, artifact_key
from tests.test_bundle import flip

GIVEN = {
    "toolchain": toolchain.get("onnx"),
    "recipe": recipes.get("onnx", "int8"),
    "part": "expert",
    "weights": "w" * 64,
    "inputs": "i" * 64,
    "calibration_images": 8,
}


def key(**changes):
    return artifact_key(**(GIVEN | changes))


def test_a_key_is_a_digest_and_the_same_for_the_same():
    assert key() == key()
    assert len(key()) == 64
    assert set(key()) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"toolchain": toolchain.get("litert"), "recipe": recipes.get("litert", "int8")},
        {"recipe": recipes.get("onnx", "int8-all")},
        {"recipe": msgspec.structs.replace(GIVEN["recipe"], name="mine")},
        {"recipe": msgspec.structs.replace(GIVEN["recipe"], integer_from_macs_per_activation=36.0)},
        {"recipe": msgspec.structs.replace(GIVEN["recipe"], keep_float=("features.9",))},
        {"recipe": msgspec.structs.replace(GIVEN["recipe"], opset=21)},
        {"part": "base"},
        {"weights": "x" * 64},
        {"inputs": "x" * 64},
        {"calibration_images": 9},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_whatever_decides_the_bytes_changes_the_key(changes):
    assert key(**changes) != key()


@pytest.mark.parametrize("words", [{"why": "because"}, {"when": "never"}, {"int8": "some"}, {"floats": "others"}])
def test_words_do_not(words):
    assert key(recipe=msgspec.structs.replace(GIVEN["recipe"], **words)) == key()


@pytest.mark.parametrize(
    ("backend", "name", "calibrated"),
    [
        ("onnx", "fp32", False),
        ("onnx", "int8", True),
        ("litert", "fp32", False),
        ("litert", "int8", True),
        ("litert", "int8-dynamic", False),
        ("executorch", "int8-dynamic", False),
    ],
)
def test_images_count_only_where_ranges_come_from_them(backend, name, calibrated):
    given = {"toolchain": toolchain.get(backend), "recipe": recipes.get(backend, name)}
    assert (key(**given) != key(**given, inputs="x" * 64)) is calibrated
    assert (key(**given) != key(**given, calibration_images=9)) is calibrated


@pytest.mark.parametrize("tool", ["edge-moe", "torch", "onnx", "onnxscript", "onnxruntime", "ai-edge-quantizer"])
def test_versions_of_the_tools(monkeypatch, tool):
    before, real = key(), store.importlib.metadata.version
    monkeypatch.setattr(store.importlib.metadata, "version", lambda name: "9.9" if name == tool else real(name))
    assert (key() != before) is (tool != "ai-edge-quantizer")  # which has no part in an .onnx


def test_the_code_that_converts(monkeypatch, tmp_path):
    before = key()
    file = tmp_path / "store.py"
    monkeypatch.setattr(store, "__file__", str(file))
    found = {before}
    for text in ("one = 1", "one = 2"):
        file.write_text(text)
        store._own_code.cache_clear()
        found.add(key())
    store._own_code.cache_clear()
    assert len(found) == 3


# --- the folder ---


def keys(bundle):
    (artifacts,) = Bundle(bundle).manifest.sets
    return {part: (made_from, bundle / artifacts.parts[part].file) for part, made_from in artifacts.made_from.items()}


def test_what_was_written_is_there(tmp_path):
    one = Store(tmp_path)
    assert not one.has("k", ".npz")
    one.file("k", ".npz").write_bytes(b"artifact")
    assert one.has("k", ".npz")
    assert not one.has("k", ".pte")
    assert not one.has("l", ".npz")


def test_an_earlier_bundle_s_artifacts_are_taken(make_bundle, tmp_path):
    bundle = make_bundle()
    one = Store(tmp_path / "parts", [bundle])
    for made_from, file in keys(bundle).values():
        assert one.has(made_from, ".npz")
        assert one.file(made_from, ".npz").read_bytes() == file.read_bytes()
    assert not one.has("0" * 64, ".npz")
    assert sorted(one.file("x", "").parent.iterdir()) == sorted(one.file(k, ".npz") for k, _ in keys(bundle).values())


def test_what_is_there_is_not_overwritten(make_bundle, tmp_path):
    bundle = make_bundle()
    made_from, _ = keys(bundle)["gate"]
    one = Store(tmp_path, [bundle])
    one.file(made_from, ".npz").write_bytes(b"mine")
    assert one.has(made_from, ".npz")
    assert one.file(made_from, ".npz").read_bytes() == b"mine"


def test_an_altered_artifact_is_not_taken(make_bundle, tmp_path):
    altered = make_bundle()
    made_from, file = keys(altered)["expert_01"]
    flip(file)
    one = Store(tmp_path / "parts", [altered])
    assert not one.has(made_from, ".npz")
    assert not one.file(made_from, ".npz").exists()
    assert one.has(keys(altered)["expert_00"][0], ".npz")


def test_a_bundle_that_cannot_be_read_has_none(make_bundle, tmp_path):
    truncated = make_bundle("truncated")
    found = keys(truncated)
    (truncated / MANIFEST).write_text(json.dumps({"schema_version": 1}))
    one = Store(tmp_path / "parts", [truncated, tmp_path / "nowhere"])
    assert not any(one.has(made_from, ".npz") for made_from, _ in found.values())
