"""Whatever decides an answer is in the digest; what does not, is not."""

from __future__ import annotations

import hashlib
import json

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, BundleError, EdgeMoeError, Runtime, UsageError
from edge_moe.bundle import MANIFEST, Preprocessing
from edge_moe.digest import answers_digest, check_digest, stated
from tests.fakes import FakeBackend, agree, npz
from tests.test_bundle import change


def digests(path):
    manifest = Bundle(path).manifest
    return [answers_digest(manifest, one) for one in manifest.sets]


def test_by_hand(make_bundle):
    """Against json and hashlib: sorted keys, no spaces, defaults left away."""
    path = make_bundle(experts=1, classes=2)
    raw = json.loads((path / MANIFEST).read_text())

    def tensors(rows):
        return [{"name": one["name"], "shape": one["shape"]} for one in rows]

    files = raw["sets"][0]["parts"]
    expected = {
        "labels": ["class 0", "class 1"],
        "preprocessing": {"image_size": 4, "resize": 4, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "experts": 1,
        "ensemble": "bagging",
        "space": "logit",
        "backend": "fake",
        "parts": {
            name: {
                "kind": part["kind"],
                "inputs": tensors(part["inputs"]),
                "outputs": tensors(part["outputs"]),
                "sha256": files[name]["sha256"],
                "file": {"inputs": files[name]["inputs"], "outputs": files[name]["outputs"]},
            }
            for name, part in raw["parts"].items()
        },
    }
    text = json.dumps(expected, sort_keys=True, separators=(",", ":"))
    assert digests(path) == [hashlib.sha256(text.encode()).hexdigest()]


def rename(raw):
    """Call the gate's input otherwise, in the part and in its file."""
    for one in (raw, *raw["sets"]):
        one["parts"]["gate"]["inputs"][0]["name"] = "other"


def both(*edits):
    """What has to change together, so that the manifest stays sound."""
    return lambda raw: [edit(raw) for edit in edits]


@pytest.mark.parametrize(
    "edit",
    [
        change("labels", to=[f"class {y}" for y in (1, 0, 2, 3, 4)]),
        change("preprocessing", "mean", to=[0.5, 0.5, 0.25]),
        change("preprocessing", "resize", to=5),
        change("preprocessing", "interpolation", to="nearest"),
        change("ensemble", to="expert"),
        change("space", to="probability"),
        rename,
        both(
            change("parts", "base", "outputs", 1, "shape", to=[1, 2, 2, 4]),
            change("sets", 0, "parts", "base", "outputs", 1, "shape", to=[1, 2, 2, 4]),
        ),
        both(
            change("sets", 0, "parts", "base", "outputs", 1, "layout", to="NCHW"),
            change("sets", 0, "parts", "base", "outputs", 1, "shape", to=[1, 3, 2, 2]),
        ),
        change("sets", 0, "parts", "base", "outputs", 1, "tensor", to="another"),
        change("sets", 0, "parts", "base", "inputs", 0, "scale", to=0.5),
    ],
)
def test_what_decides_an_answer_is_in_it(make_bundle, edit):
    assert digests(make_bundle("other", edit=edit)) != digests(make_bundle())


@pytest.mark.parametrize(
    "edit",
    [
        change("sets", 0, "recipe", "settings", to={"any": 1}),
        change("sets", 0, "golden", "tolerance", to=1.0),
        change("sets", 0, "runs_on", "processor", to=["avx2"]),
        change("tools", to={"torch": "9"}),
        change("parts", "gate", "macs", to=1),
    ],
)
def test_what_does_not_is_not(make_bundle, edit):
    assert digests(make_bundle("other", edit=edit)) == digests(make_bundle())


def test_other_weights_and_each_set_its_own(make_bundle):
    path = make_bundle(recipes=("int8", "fp32"), edit=lambda raw: raw["sets"][1].update(backend="other"))
    one, two = digests(path)
    assert one != two  # the same bytes, run by another backend
    assert digests(make_bundle("other", seed=1))[0] != one


def test_a_field_that_comes_later_changes_nothing():
    """A record of tomorrow, whose new field has its default, states what today's states."""

    class Tomorrow(Preprocessing, frozen=True, kw_only=True):
        gamma: float = 1.0

    given = {"image_size": 4, "resize": 4, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    assert stated(Tomorrow(**given)) == stated(Preprocessing(**given)) == given
    assert stated(Tomorrow(**given, gamma=2.2)) == given | {"gamma": 2.2}
    assert stated(Tomorrow(**given), ("layout",)) == given | {"layout": "NHWC"}


def test_a_runtime_refuses_another(make_bundle, fake_backend):
    path = make_bundle()
    (digest,) = digests(path)
    with Runtime(path, backend=fake_backend, expect_digest=digest.upper()) as model:
        assert model.digest == digest
    other = make_bundle("other", edit=change("labels", to=[f"class {y}" for y in (1, 0, 2, 3, 4)]))
    fake_backend.opened.clear()
    with pytest.raises(BundleError) as caught:
        Runtime(other, backend=fake_backend, expect_digest=digest)
    assert digest in str(caught.value)
    assert digests(other)[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert fake_backend.opened == []


def test_no_digest_at_all(make_bundle):
    manifest = Bundle(make_bundle()).manifest
    with pytest.raises(BundleError, match="expected abc: its labels"):
        check_digest(manifest, manifest.sets[0], "abc")
    with pytest.raises(UsageError, match="expect_digest is 7; expected a string"):
        check_digest(manifest, manifest.sets[0], 7)


# --- one flipped bit ---

BIT_FLIPS = 2500


def answers(path):
    """Label, experts, probability and scores of an image and of tensors, tau and max_experts given."""
    draw = np.random.default_rng(7)
    image = draw.integers(0, 256, (9, 7, 3), np.uint8)
    found = []
    with Runtime(path, backend=FakeBackend(), tau=0.01, max_experts=2) as model:
        shape = model.manifest.parts["base"].inputs[0].shape
        for one in (
            model.predict(image),
            *(model.predict_tensor(draw.standard_normal(shape).astype(np.float32)) for _ in range(3)),
        ):
            found.append((one.label, one.index, one.experts, one.probability, one.scores.tolist()))
    return found


def test_every_flipped_bit_is_refused_or_seen_or_means_nothing(make_bundle):
    """A seeded sample over the whole manifest, and every bit of the labels and of the preprocessing."""
    path = make_bundle(experts=2, classes=3)
    data = (path / MANIFEST).read_bytes()
    right, digest = answers(path), digests(path)[0]
    chosen = set(np.random.default_rng(0).choice(8 * len(data), BIT_FLIPS, replace=False).tolist())
    start, end = data.index(b'"labels"'), data.index(b'"experts"')
    chosen |= set(range(8 * start, 8 * end))
    fates = {"refused": 0, "seen": 0, "nothing": 0}
    for bit in sorted(chosen):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (path / MANIFEST).write_bytes(flipped)
        agree(path)  # else the defaults' file would give every change away
        try:
            found = digests(path)[0]
            if found != digest:
                fates["seen"] += 1
                continue
            given = answers(path)
        except EdgeMoeError:
            fates["refused"] += 1
            continue
        fates["nothing"] += 1
        assert given == right, bytes(flipped)[max(0, bit // 8 - 40) : bit // 8 + 40]
    assert min(fates.values()) > 100, fates


def test_the_digest_survives_what_a_person_does_to_the_layout(make_bundle):
    path = make_bundle()
    before = digests(path)
    raw = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(dict(reversed(raw.items()))), indent=4))
    assert digests(path) == before


# --- the width of the logits ---


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("labels", to=list("abcdef")), r"base gives logits \[1, 5\], but there are 6 labels"),
        (change("parts", "base", "outputs", 0, "shape", to=[1, 4]), r"base gives logits \[1, 4\], but there are 5 lab"),
        (change("parts", "base", "outputs", 0, "shape", to=[5]), r"base gives logits \[5\], but there are 5 labels"),
        (change("parts", "expert_01", "outputs", 0, "name", to="scores"), "expert_01 gives no logits, but there are 5"),
        (change("parts", "gate", "outputs", 0, "shape", to=[1, 4]), r"gate gives logits \[1, 4\], but there are 3 exp"),
    ],
)
def test_labels_are_held_against_the_logits(make_bundle, edit, message):
    with pytest.raises(BundleError, match=message):
        Bundle(make_bundle(edit=edit))


@pytest.mark.parametrize(
    ("part", "inputs", "width", "words"),
    [
        ("base", 48, 6, "base.npz gives 6 logits, but the manifest has 5 labels; convert the checkpoint again"),
        ("base", 48, 4, "base.npz gives 4 logits, but the manifest has 5 labels"),
        ("base", 48, 1, "base.npz gives 1 logits, but the manifest has 5 labels"),
        ("gate", 6, 2, "gate.npz gives 2 logits, but the manifest has 3 experts"),
        ("gate", 6, 4, "gate.npz gives 4 logits, but the manifest has 3 experts"),
        ("expert_00", 12, 1, "expert_00.npz gives 1 logits, but the manifest has 5 labels"),
    ],
)
def test_an_artifact_with_logits_of_another_width(make_bundle, fake_backend, part, inputs, width, words):
    path = make_bundle()
    with np.load(path / f"fake/int8/{part}.npz") as stored:
        weights = dict(stored)
    data = npz(**weights | {"logits": np.ones((inputs, width), np.float32)})
    (path / f"fake/int8/{part}.npz").write_bytes(data)
    raw = json.loads((path / MANIFEST).read_text())
    raw["sets"][0]["parts"][part] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    agree(path)
    with Runtime(path, backend=fake_backend, tau=0.0, max_experts=3) as model, pytest.raises(BundleError, match=words):
        model.predict_tensor(np.zeros((1, 4, 4, 3), np.float32))
