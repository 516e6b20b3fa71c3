"""A bundle is strict, stays in its folder, and never hands out an altered byte."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, BundleError, IntegrityError, Runtime, UsageError
from edge_moe.bundle import MANIFEST, Artifact, Manifest, expert_name, part_names, sha256
from tests.fakes import npz


def test_round_trip(make_bundle):
    bundle = Bundle(make_bundle(experts=2, recipes=("int8", "fp32")))
    manifest = bundle.manifest
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest) == manifest
    assert list(manifest.parts) == ["base", "gate", "expert_00", "expert_01"]
    for artifacts in manifest.sets:
        for artifact in artifacts.parts.values():
            assert sha256(bundle.read(artifact)) == artifact.sha256
        assert bundle.golden(artifacts)["00"]["input"].shape == (1, 4, 4, 3)


def test_find(make_bundle):
    manifest = Bundle(make_bundle(recipes=("int8", "fp32"))).manifest
    assert manifest.find().recipe.name == "int8"
    assert manifest.find("fake", "fp32").recipe.name == "fp32"
    with pytest.raises(UsageError, match="no artifacts for litert/any recipe; it has fake/int8, fake/fp32"):
        manifest.find("litert")


def test_expert_names():
    assert [expert_name(k) for k in (0, 7, 12, 100)] == ["expert_00", "expert_07", "expert_12", "expert_100"]


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"is not a folder; expected a bundle"):
        Bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"has no manifest\.json; expected a bundle"):
        Bundle(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{}", "\xff"])
def test_no_manifest(make_bundle, text):
    path = make_bundle()
    (path / MANIFEST).write_bytes(text.encode("latin1"))
    with pytest.raises(BundleError, match=r"(is not a manifest|has schema version None)"):
        Bundle(path)


@pytest.mark.parametrize(
    ("version", "todo"),
    [
        (1, "convert the checkpoint again"),
        (2, "run 'edge-moe upgrade .*bundle', or convert the checkpoint again"),
        (4, "update edge-moe, or convert the checkpoint again"),
    ],
)
def test_another_schema_version_is_named_before_anything_else(make_bundle, version, todo):
    path = make_bundle()
    (path / MANIFEST).write_text(json.dumps({"schema_version": version, "of": "another time"}))
    with pytest.raises(BundleError, match=f"has schema version {version}; this edge-moe reads 3: {todo}"):
        Bundle(path)


def test_a_file_with_the_channels_first(make_bundle):
    def edit(raw):
        raw["sets"][0]["parts"]["base"]["inputs"][0].update(layout="NHWC_in_NCHW", shape=[1, 3, 4, 4])

    assert Bundle(make_bundle(edit=edit)).manifest.sets[0].parts["base"].inputs[0].shape == (1, 3, 4, 4)


def change(*keys, to=None):
    """Return an edit that sets, or where `to` is None removes, manifest[keys[0]][keys[1]]..."""

    def edit(raw):
        for key in keys[:-1]:
            raw = raw[key]
        if to is None:
            del raw[keys[-1]]
        else:
            raw[keys[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("labels"), "missing required field `labels`"),
        (change("colour", to="red"), "unknown field `colour`"),
        (change("preprocessing", "gamma", to=2.2), r"unknown field `gamma` - at `\$.preprocessing`"),
        (change("sets", 0, "parts", "base", "sha256"), "missing required field `sha256`"),
        (change("sets", 0, "parts", "base", "sha256", to="AB"), "matching regex"),
        (change("sets", 0, "parts", "base", "bytes", to=-1), "Expected `int` >= 0"),
        (change("sets", 0, "golden", "samples", 0, "tau", to=1.5), "Expected `float` <= 1.0"),
        (change("sets", 0, "golden", "samples", 0, "max_experts", to=9), "max_experts above the number of experts"),
        (change("sets", 0, "golden", "samples", 0, "max_experts", to=0), "0, which only a plain network has"),
        (change("sets", 0, "golden", "samples", 0, "label", to=5), "a golden label that does not exist"),
        (change("sets", 0, "golden", "samples", 0, "experts", to=[3]), "a golden expert that does not exist"),
        (change("sets", 0, "parts", "gate", "inputs", to=[]), "inputs of gate that are not embedding"),
        (change("sets", 0, "parts", "base", "outputs", 0, "name", to="x"), "are not logits, features, embedding"),
        (change("sets", 0, "parts", "base", "outputs", 0, "dtype", to="int4"), "Invalid enum value 'int4'"),
        (change("sets", 0, "parts", "base", "inputs", 0, "layout", to="NWHC"), "Invalid enum value 'NWHC'"),
        (change("sets", 0, "parts", "base", "inputs", 0, "scale"), "missing required field `scale`"),
        (
            change("sets", 0, "parts", "base", "outputs", 0, "shape", to=[1, 6]),
            r"fake/int8 has logits of base as \[1, 6\], expected \[1, 5\]",
        ),
        (change("sets", 0, "parts", "base", "inputs", 0, "layout", to="NCHW"), r"expected \[1, 3, 4, 4\]"),
        (change("sets", 0, "parts", "gate", "outputs", 0, "dtype", to="int8"), "logits of gate in int8, expected flo"),
        (change("sets", 0, "runs_on"), "missing required field `runs_on`"),
        (change("golden", "vectors"), "missing required field `vectors`"),
        (change("golden", "images", "00", "file", to="../00.png"), "leaves the bundle"),
        (change("sets", 0, "parts", "expert_01"), "should have an artifact for each of base, gate, expert_00"),
        (change("sets", 0, "made_from"), "missing required field `made_from`"),
        (change("sets", 0, "made_from", "gate", to="0"), "matching regex"),
        (change("sets", 0, "made_from", "expert_03", to="0" * 64), "what parts were made from that it does not have"),
        (change("sets", to=[]), "it has no artifacts"),
        (change("labels", to=[]), "it has no labels"),
        (change("experts", to=2), "it has 5 parts; expected 4, of 2 experts"),
        (change("experts", to=10**12), "it has 5 parts; expected 1,000,000,000,002, of 1000000000000 experts"),
        (change("experts", to="3"), "Expected `int`, got `str`"),
        (change("ensemble", to="voting"), "Invalid enum value 'voting'"),
        (change("preprocessing", "resize", to=3), "resized to less than the crop"),
        (change("preprocessing", "std", to=[0.0, 1.0, 1.0]), "a std that is not above 0"),
        *(
            (change("sets", 0, "parts", "gate", "file", to=file), "leaves the bundle")
            for file in ("../gate.npz", "fake/../../gate.npz", "/etc/passwd", "C:/gate.npz", "..\\gate.npz")
        ),
        (change("sets", 0, "golden", "file", "file", to="../golden.npz"), "leaves the bundle"),
    ],
)
def test_strictness(make_bundle, edit, message):
    path = make_bundle(edit=edit)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle(path)
    assert str(path / MANIFEST) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_network_is_a_base_alone(make_bundle):
    manifest = Bundle(make_bundle(experts=0)).manifest
    assert (manifest.experts, list(manifest.parts), list(manifest.sets[0].parts)) == (0, ["base"], ["base"])
    assert (part_names(0), part_names(2)) == (["base"], ["base", "gate", "expert_00", "expert_01"])


@pytest.mark.parametrize(
    ("experts", "edit", "message"),
    [
        (0, change("experts", to=-1), "Expected `int` >= 0"),
        (0, change("experts", to=1), "it has 1 parts; expected 3, of 1 expert;"),
        (3, change("experts", to=0), "it has 5 parts; expected 1, of a plain network;"),
        (
            0,
            change("sets", 0, "golden", "samples", 0, "max_experts", to=1),
            "a max_experts above the number of experts",
        ),
        (3, change("sets", 0, "golden", "samples", 0, "max_experts", to=0), "of 0, which only a plain network has"),
    ],
)
def test_what_neither_a_plain_network_nor_a_mixture_can_be(make_bundle, experts, edit, message):
    with pytest.raises(BundleError, match=message):
        Bundle(make_bundle(experts=experts, edit=edit))


def test_missing_and_truncated_files(make_bundle):
    path = make_bundle()
    file = path / "fake/int8/expert_01.npz"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=rf"should have {len(data)} bytes, but it has {len(data) - 1}"):
        Bundle(path)
    file.unlink()
    with pytest.raises(IntegrityError, match="but it does not exist"):
        Bundle(path)
    file.mkdir()
    with pytest.raises(IntegrityError, match="but it is a folder"):
        Bundle(path)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("part", ["base", "gate", "expert_00"])
def test_an_altered_artifact_never_reaches_the_backend(make_bundle, fake_backend, part):
    path = make_bundle(experts=1)
    file = path / f"fake/int8/{part}.npz"
    flip(file)
    x = np.zeros((1, 4, 4, 3), np.float32)
    with pytest.raises(IntegrityError, match="was altered"):  # noqa: SIM117
        with Runtime(path, backend=fake_backend, tau=0.0) as runtime:
            runtime.predict_tensor(x)
    assert file.read_bytes() not in fake_backend.opened
    assert all(p.closed for p in fake_backend.parts)


def test_a_file_that_is_altered_after_opening_is_noticed(make_bundle, fake_backend):
    path = make_bundle(experts=1)
    with Runtime(path, backend=fake_backend, tau=0.0) as runtime:
        flip(path / "fake/int8/expert_00.npz")
        with pytest.raises(IntegrityError, match="was altered"):
            runtime.predict_tensor(np.zeros((1, 4, 4, 3), np.float32))


@pytest.mark.parametrize("data", [b"no zip", b"PK\x03\x04broken", npz(a=np.array([object()]))])
def test_a_golden_sample_that_is_none(make_bundle, data):
    path = make_bundle()
    file = path / "golden/fake-int8.npz"
    file.write_bytes(data)

    raw = json.loads((path / MANIFEST).read_text())
    raw["sets"][0]["golden"]["file"] |= {"sha256": sha256(data), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    bundle = Bundle(path)
    with pytest.raises(BundleError, match="is no golden sample"):
        bundle.golden(bundle.manifest.sets[0])


def test_unreadable(make_bundle, monkeypatch):
    bundle = Bundle(make_bundle())
    artifact = bundle.manifest.sets[0].parts["base"]
    assert isinstance(artifact, Artifact)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(BundleError, match="cannot be read: Permission denied"):
        bundle.read(artifact)


@pytest.mark.parametrize("path", [None, 3, b"bundle", ["bundle"]])
def test_what_is_no_path(path):
    with pytest.raises(UsageError, match=r"^the bundle is .*; expected the path of its folder$"):
        Bundle(path)


def test_the_manifest_itself_is_no_bundle(make_bundle):
    path = make_bundle()
    with pytest.raises(BundleError, match=rf"manifest\.json is a file of a bundle; expected its folder, {path}$"):
        Bundle(path / "manifest.json")
