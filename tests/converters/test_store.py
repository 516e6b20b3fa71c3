"""Nothing is converted twice, and nothing is taken for what it is not."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from edge_moe import backends
from edge_moe.backends import table
from edge_moe.bundle import MANIFEST, Bundle, sha256
from edge_moe.converters import recipes, store, toolchain
from edge_moe.converters.store import Store, StoredPart, artifact_key
from edge_moe.npz import pack
from tests.test_bundle import flip
from tests.tiny import visible

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


def test_the_code_of_a_backend_that_lives_elsewhere(monkeypatch, tmp_path):
    """Its toolchain and its recipes, with what else is in their folders; not all that lies beside a lone module."""
    made = tmp_path / "elsewhere"
    for package in ("tools", "words"):
        (made / package).mkdir(parents=True)
        (made / package / "__init__.py").touch()
    (made / "tools/toolchain.py").write_text(
        "from edge_moe.converters.onnx.toolchain import OnnxToolchain\n"
        "class Mine(OnnxToolchain):\n    backend = 'mine'\n    __abstractmethods__ = frozenset()\n"
    )
    (made / "words/recipes.py").touch()
    (made / "alone.py").touch()
    monkeypatch.syspath_prepend(made)
    record = backends.record("onnx")
    one = msgspec.structs.replace(record, name="mine", toolchain="tools.toolchain:Mine", recipes="words.recipes")
    monkeypatch.setattr(table, "_RECORDS", dict(table._RECORDS))
    table.register(one)

    def mine():
        store._own_code.cache_clear()
        return key(toolchain=toolchain.get("mine"))

    found, others = [mine()], key()
    for file in ("tools/toolchain.py", "tools/quantizer.py", "words/recipes.py"):
        with (made / file).open("a") as stream:
            stream.write("# another line\n")
        found.append(mine())
    assert len(set(found)) == len(found)
    assert key() == others
    table.register(msgspec.structs.replace(one, recipes="alone"))
    before = mine()
    (made / "beside.py").touch()
    (made / "alone.py").write_text("one = 1")
    assert mine() != before
    before = mine()
    (made / "beside.py").write_text("one = 1")
    assert mine() == before


# --- the folder ---

OUTPUTS = {"logits": np.arange(1, 6, dtype=np.float32)}


def part(name="k", *keys, outputs=OUTPUTS, weights="w", graphs=("g",)):
    return StoredPart(name, weights, keys or (name,), graphs, outputs)


def keys(bundle):
    (artifacts,) = Bundle(bundle).manifest.sets
    return {name: (made_from, bundle / artifacts.parts[name].file) for name, made_from in artifacts.made_from.items()}


def known(store, bundle, factor=1.0):
    """Let the store know every part of the bundle, with the outputs that the bundle has, times `factor`."""
    for name, (made_from, _) in keys(bundle).items():
        store.sift([part(name, made_from, weights=f"w-{name}", outputs={"logits": factor * OUTPUTS["logits"]})])
    return store


def kept_outputs(path):
    """Add to a bundle what torch made of the fixed input."""
    data = pack({f"{name}.logits": OUTPUTS["logits"] for name in keys(path)})
    (path / "network.npz").write_bytes(data)
    raw = json.loads((path / MANIFEST).read_text())
    raw["network"] = {"file": "network.npz", "sha256": sha256(data), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    return path


@pytest.fixture
def bundle(make_bundle):
    return kept_outputs(make_bundle())


def test_what_was_written_is_there(tmp_path):
    one = Store(tmp_path)
    one.sift([part("k", "k", "l")])
    assert not one.has("k", ".bin")
    one.file("k", ".bin").write_bytes(b"artifact")
    assert one.has("k", ".bin")
    assert not one.has("k", ".pte")
    assert not one.has("l", ".bin")
    again = Store(tmp_path)
    again.sift([part("k", "k", "l")])
    assert again.has("k", ".bin")
    assert again.remarks == []


def test_an_earlier_bundle_s_artifacts_are_taken(bundle, tmp_path):
    one = known(Store(tmp_path / "parts", [bundle]), bundle)
    for made_from, file in keys(bundle).values():
        assert one.has(made_from, ".npz")
        assert one.file(made_from, ".npz").read_bytes() == file.read_bytes()
    one.sift([part("new", "0" * 64)])
    assert not one.has("0" * 64, ".npz")
    assert one.remarks == []
    assert Store(tmp_path / "parts").remarks == []


def test_what_is_there_is_not_overwritten(bundle, tmp_path):
    made_from, _ = keys(bundle)["gate"]
    one = known(Store(tmp_path, [bundle]), bundle)
    one.file(made_from, ".npz").write_bytes(b"mine")
    assert one.has(made_from, ".npz")
    assert one.file(made_from, ".npz").read_bytes() == b"mine"


def test_an_altered_artifact_is_not_taken(bundle, tmp_path):
    made_from, file = keys(bundle)["expert_01"]
    flip(file)
    one = known(Store(tmp_path / "parts", [bundle]), bundle)
    assert not one.has(made_from, ".npz")
    assert not one.file(made_from, ".npz").exists()
    assert one.has(keys(bundle)["expert_00"][0], ".npz")


def test_a_bundle_that_cannot_be_read_has_none(bundle, tmp_path):
    found = keys(bundle)
    one = Store(tmp_path / "parts", [bundle, tmp_path / "nowhere"])
    (bundle / MANIFEST).write_text(json.dumps({"schema_version": 1}))
    two = Store(tmp_path / "parts", [bundle])
    for each in (one, two):
        each.sift([part(name, made_from) for name, (made_from, _) in found.items()])
    assert not any(two.has(made_from, ".npz") for made_from, _ in found.values())


# --- of the same network ---


@pytest.mark.parametrize(("factor", "same"), [(1.0, True), (1 + 5e-5, True), (1 + 2e-4, False), (np.nan, False)])
def test_outputs_are_compared_as_numbers(bundle, tmp_path, factor, same):
    """Up to 1e-4, for processors round differently; nothing is taken on trust."""
    one = known(Store(tmp_path / "parts", [bundle]), bundle, factor)
    assert [one.has(made_from, ".npz") for made_from, _ in keys(bundle).values()] == [same] * 5
    words = "base, gate, expert_00, expert_01, expert_02: made anew, because torch gives other outputs than when they"
    assert [line[: len(words)] for line in one.remarks] == ([] if same else [words])


def test_a_bundle_that_does_not_say_is_not_believed(make_bundle, bundle, tmp_path):
    silent = make_bundle("silent")
    one = known(Store(tmp_path / "one", [silent]), silent)
    assert not one.has(keys(silent)["gate"][0], ".npz")
    assert one.remarks == ["gate: made anew, because it was not kept with them what torch made of a fixed input"]
    two = known(Store(tmp_path / "two", [silent, bundle]), silent)  # of the same keys
    assert two.has(keys(silent)["gate"][0], ".npz")
    assert two.remarks == []


def test_altered_outputs_are_not_believed(bundle, tmp_path):
    flip(bundle / "network.npz")
    one = known(Store(tmp_path / "parts", [bundle]), bundle)
    assert not one.has(keys(bundle)["gate"][0], ".npz")


def test_what_another_network_left_is_dropped(tmp_path):
    """Artifacts, what lies beside them, and the graph of the kind; what is of others stays."""
    one = Store(tmp_path)
    one.sift([part("base", "b1", "b2", weights="wb", graphs=("gb",)), part("gate", "g1", weights="wg", graphs=("gg",))])
    names = ("b1.pte", "b1.pte.structure", "b2.pte", "gb.graph", "g1.pte", "gg.graph", "other.pte")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    changed = {"logits": 1.001 * OUTPUTS["logits"]}
    two = Store(tmp_path)
    two.sift(
        [
            part("base", "b1", "b2", weights="wb", graphs=("gb",), outputs=changed),
            part("gate", "g1", weights="wg", graphs=("gg",)),
        ]
    )
    assert set(visible(tmp_path)) == {"wb.npz", "wg.npz", "g1.pte", "gg.graph", "other.pte"}
    assert [line.split(":")[0] for line in two.remarks] == ["base"]
    three = Store(tmp_path)
    three.sift([part("base", "b1", "b2", weights="wb", graphs=("gb",), outputs=changed)])
    assert three.remarks == []


def test_a_graph_is_kept_only_if_every_part_of_its_kind_is_known(tmp_path):
    one = Store(tmp_path)
    one.sift([part("expert_00", "e0", weights="w0")])
    (tmp_path / "g.graph").write_bytes(b"x")
    two = Store(tmp_path)
    two.sift([part("expert_00", "e0", weights="w0")])
    assert (tmp_path / "g.graph").exists()
    two.sift([part("expert_01", "e1", weights="w1")])
    assert not (tmp_path / "g.graph").exists()
    assert two.remarks == []


def test_damaged_outputs_are_no_outputs(tmp_path):
    one = Store(tmp_path)
    one.sift([part("k")])
    one.file("k", ".bin").write_bytes(b"x")
    (tmp_path / "w.npz").write_bytes(b"no zip")
    two = Store(tmp_path)
    two.sift([part("k")])
    assert not two.has("k", ".bin")
    assert "it was not kept" in two.remarks[0]
