"""A bundle that computes what it should passes; anything else is named where it arises."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from edge_moe import Bundle, BundleError, IntegrityError, UsageError
from edge_moe.bundle import MANIFEST, sha256
from edge_moe.sets import SetKey
from edge_moe.verify import relative_error, verify
from tests.fakes import agree, npz
from tests.test_bundle import change, flip

ANSWER = "answer, sample"  # of the role that the fake bundle's sample has


def failures(checks):
    return [(c.what, c.detail) for c in checks if not c.passed]


def replace(path, file, data, *keys):
    """Put other bytes into a bundle, with a manifest that agrees."""
    (path / file).write_bytes(data)
    raw = json.loads((path / MANIFEST).read_text())
    artifact = raw["sets"][0]
    for key in keys:
        artifact = artifact[key]
    artifact |= {"sha256": sha256(data), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    agree(path)


def stored(path, file):
    with np.load(path / file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("tau", [0.0, 0.2, 1.0])
def test_all_pass(make_bundle, fake_backend, tau):
    checks = verify(make_bundle(tau=tau, recipes=("int8", "fp32")), backend=fake_backend)
    assert failures(checks) == []
    assert {c.set for c in checks} == {"bundle", "fake/int8", "fake/fp32"}
    assert [c.what for c in checks if c.set == "bundle"] == [
        "golden/inputs.npz",
        "golden/00.png",
        "golden/vectors.json",
    ]
    assert [c.what for c in checks if c.set == "fake/int8"] == [
        *(f"fake/int8/{p}.npz" for p in ("base", "gate", "expert_00", "expert_01", "expert_02")),
        "golden/fake-int8.npz",
        *("base.logits", "base.features", "base.embedding", "gate.logits"),
        *("expert_00.logits", "expert_01.logits", "expert_02.logits", ANSWER),
    ]
    assert all(p.closed for p in fake_backend.parts)


def test_one_recipe(make_bundle, fake_backend):
    path = make_bundle(recipes=("int8", "fp32"))
    assert {c.set for c in verify(path, backend=fake_backend, recipe="fp32")} == {"bundle", "fake/fp32"}
    with pytest.raises(UsageError, match="no artifacts for fake/int4"):
        verify(path, backend=fake_backend, recipe="int4")


def test_sets_by_name(make_bundle, fake_backend):
    path = make_bundle(recipes=("int8", "fp32"))
    found = verify(path, backend=fake_backend, sets=[SetKey("fake", "fp32")])
    assert {c.set for c in found} == {"bundle", "fake/fp32"}
    with pytest.raises(UsageError, match="no artifacts for fake/nonsense; it has fake/int8, fake/fp32"):
        verify(path, backend=fake_backend, sets=[SetKey("fake", "fp32"), SetKey("fake", "nonsense")])
    with pytest.raises(UsageError, match="no artifacts for fake/int8; it has fake/fp32"):
        verify(path, backend=fake_backend, recipe="fp32", sets=[SetKey("fake", "int8")])


def test_the_worst_of_several_samples_is_told(make_bundle, fake_backend):
    path = make_bundle(tau=1.0)
    golden = stored(path, "golden/fake-int8.npz")
    inputs = stored(path, "golden/inputs.npz")
    for which, factor in (("01", 1 + 9e-6), ("02", 1 + 4e-6)):  # both within the tolerance of 1e-5
        golden |= {name.replace("00/", f"{which}/"): one for name, one in golden.items() if name.startswith("00/")}
        golden[f"{which}/gate.logits"] = (golden["00/gate.logits"] * factor).astype(np.float32)
        inputs[which] = inputs["00"]
    replace(path, "golden/fake-int8.npz", npz(**golden), "golden", "file")
    (path / "golden/inputs.npz").write_bytes(npz(**inputs))
    raw = json.loads((path / MANIFEST).read_text())
    data = npz(**inputs)
    raw["golden"]["tensors"] |= {"sha256": sha256(data), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    (gate,) = [c for c in verify(path, backend=fake_backend) if c.what == "gate.logits"]
    assert gate.passed
    assert 8.5e-6 < float(gate.detail.split()[2].rstrip(",")) < 9.5e-6


def test_altered_part(make_bundle, fake_backend):
    path = make_bundle(tau=0.0)
    flip(path / "fake/int8/base.npz")
    failed = dict(failures(verify(path, backend=fake_backend)))
    assert list(failed) == ["fake/int8/base.npz", ANSWER]
    assert all("was altered" in detail for detail in failed.values())
    assert (path / "fake/int8/base.npz").read_bytes() not in fake_backend.opened


def test_altered_golden_sample(make_bundle, fake_backend):
    path = make_bundle()
    flip(path / "golden/fake-int8.npz")
    checks = verify(path, backend=fake_backend)
    assert [what for what, _ in failures(checks)] == ["golden/fake-int8.npz"]
    assert fake_backend.opened == []


def test_a_part_that_computes_something_else(make_bundle, fake_backend):
    path = make_bundle()
    weights = stored(path, "fake/int8/gate.npz")
    replace(path, "fake/int8/gate.npz", npz(logits=weights["logits"] * 1.001), "parts", "gate")
    (first, *_) = failures(verify(path, backend=fake_backend))
    assert first == ("gate.logits", "relative error 1.0e-03, tolerance 1.0e-05")


def test_a_part_with_a_tolerance_of_its_own(make_bundle, fake_backend):
    """It may be further off, and the answer with it; the others may not."""
    path = make_bundle(tau=0.0)
    for part in ("base", "gate"):
        weights = stored(path, f"fake/int8/{part}.npz")
        replace(path, f"fake/int8/{part}.npz", npz(**weights | {"logits": weights["logits"] * 1.001}), "parts", part)
    assert {what for what, _ in failures(verify(path, backend=fake_backend))} == {
        "base.logits",
        "gate.logits",
        ANSWER,
    }
    raw = json.loads((path / MANIFEST).read_text())
    raw["sets"][0]["golden"]["part_tolerances"] = {"base": 0.01}
    (path / MANIFEST).write_text(json.dumps(raw))
    assert failures(verify(path, backend=fake_backend)) == [
        ("gate.logits", "relative error 1.0e-03, tolerance 1.0e-05"),
    ]


def test_a_part_that_gives_nan(make_bundle, fake_backend):
    path = make_bundle()
    weights = stored(path, "fake/int8/expert_01.npz")
    replace(path, "fake/int8/expert_01.npz", npz(logits=weights["logits"] * np.nan), "parts", "expert_01")
    assert failures(verify(path, backend=fake_backend))[0][0] == "expert_01.logits"


def test_a_part_of_another_shape(make_bundle, fake_backend):
    path = make_bundle(tau=1.0)
    weights = stored(path, "fake/int8/expert_00.npz")
    replace(path, "fake/int8/expert_00.npz", npz(logits=weights["logits"][:, :4]), "parts", "expert_00")
    assert failures(verify(path, backend=fake_backend)) == [("expert_00.logits", "shape [1, 4], expected [1, 5]")]


def test_a_part_that_the_backend_refuses(make_bundle, fake_backend):
    path = make_bundle(tau=1.0)
    replace(path, "fake/int8/gate.npz", b"not an npz", "parts", "gate")
    assert [what for what, _ in failures(verify(path, backend=fake_backend))] == ["gate", ANSWER]


def test_another_decision(make_bundle, fake_backend):
    path = make_bundle(tau=0.0)
    raw = json.loads((path / MANIFEST).read_text())
    raw["sets"][0]["golden"]["samples"][0] |= {"exited": True, "experts": []}
    (path / MANIFEST).write_text(json.dumps(raw))
    ((what, detail),) = failures(verify(path, backend=fake_backend))
    assert what == ANSWER
    assert "at tau 0, max_experts 1: expected 'class" in detail
    assert "by early exit, found 'class" in detail


def test_a_golden_sample_that_lacks_something(make_bundle, fake_backend):
    path = make_bundle()
    golden = stored(path, "golden/fake-int8.npz")
    del golden["00/base.features"], golden["00/scores.sample"]
    replace(path, "golden/fake-int8.npz", npz(**golden), "golden", "file")
    failed = failures(verify(path, backend=fake_backend))
    assert [what for what, _ in failed] == ["base", "expert_00", "expert_01", "expert_02", ANSWER]
    assert failed[0][1] == "the golden sample 00 has no base.features; convert again"


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError):
        verify(tmp_path)


def test_relative_error():
    assert relative_error(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert np.isnan(relative_error(np.array([np.nan]), np.ones(1)))


def test_the_file_by_which_the_network_is_known_again(make_bundle, fake_backend):
    """Nothing runs it, but an altered byte is an altered byte."""
    path = make_bundle()
    data = npz(**{"base.logits": np.ones(5, np.float32)})
    (path / "network.npz").write_bytes(data)
    raw = json.loads((path / MANIFEST).read_text())
    raw["network"] = {"file": "network.npz", "sha256": sha256(data), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    assert all(one.passed for one in verify(path, backend=fake_backend))
    assert Bundle(path).network()["base.logits"].tolist() == [1] * 5
    flip(path / "network.npz")
    assert [one.what for one in verify(path, backend=fake_backend) if not one.passed] == ["network.npz"]
    (path / "network.npz").unlink()
    with pytest.raises(IntegrityError, match=r"network\.npz should have"):
        Bundle(path)


def test_a_plain_network(make_bundle, fake_backend):
    path = make_bundle(experts=0)
    checks = verify(path, backend=fake_backend)
    assert failures(checks) == []
    assert [c.what for c in checks] == [
        "golden/inputs.npz",
        "golden/00.png",
        "golden/vectors.json",
        "fake/int8/base.npz",
        "golden/fake-int8.npz",
        "base.logits",
        ANSWER,
    ]
    assert "by the base, which is alone at tau" in checks[-1].detail
    replace(path, "fake/int8/base.npz", npz(logits=-stored(path, "fake/int8/base.npz")["logits"]), "parts", "base")
    assert [what for what, _ in failures(verify(path, backend=fake_backend))] == ["base.logits", ANSWER]


# --- what the sets share ---


def test_an_altered_image(make_bundle, fake_backend):
    path = make_bundle()
    flip(path / "golden/00.png")
    ((what, detail),) = failures(verify(path, backend=fake_backend))
    assert (what, "was altered" in detail) == ("golden/00.png", True)


def test_altered_inputs(make_bundle, fake_backend):
    """Neither the image nor the set can be checked without them."""
    path = make_bundle()
    flip(path / "golden/inputs.npz")
    failed = failures(verify(path, backend=fake_backend))
    assert [what for what, _ in failed] == ["golden/inputs.npz", "golden/fake-int8.npz"]


@pytest.mark.parametrize(
    "edit",
    [
        change("preprocessing", "mean", to=[0.5, 0.5, 0.51]),
        change("preprocessing", "std", to=[0.25, 0.25, 0.2501]),
        change("preprocessing", "resize", to=5),
    ],
)
def test_preprocessing_that_gives_another_tensor(make_bundle, fake_backend, edit):
    ((what, detail),) = failures(verify(make_bundle(edit=edit), backend=fake_backend))
    assert what == "golden/00.png"
    assert detail.startswith("preprocessing: relative error ")
    assert detail.endswith("tolerance 1.0e-06")


def test_one_pixel_of_another_image(make_bundle, fake_backend):
    path = make_bundle()
    with Image.open(path / "golden/00.png") as image:
        image.putpixel((1, 2), tuple(one ^ 1 for one in image.getpixel((1, 2))))
        written = io.BytesIO()
        image.save(written, "png")
    data = written.getvalue()
    (path / "golden/00.png").write_bytes(data)
    raw = json.loads((path / MANIFEST).read_text())
    raw["golden"]["images"]["00"] |= {"sha256": sha256(data), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(raw))
    assert [what for what, _ in failures(verify(path, backend=fake_backend))] == ["golden/00.png"]


def test_an_image_that_is_none(make_bundle, fake_backend):
    path = make_bundle()
    (path / "golden/00.png").write_bytes(b"no image")
    raw = json.loads((path / MANIFEST).read_text())
    raw["golden"]["images"]["00"] |= {"sha256": sha256(b"no image"), "bytes": 8}
    (path / MANIFEST).write_text(json.dumps(raw))
    ((what, detail),) = failures(verify(path, backend=fake_backend))
    assert (what, detail.startswith("the golden image cannot be read: ")) == ("golden/00.png", True)


def test_it_is_said_whether_a_sample_tells_base_from_mixture(make_bundle, fake_backend):
    def of(unlike):
        path = make_bundle(
            str(unlike),
            tau=0.0,
            edit=lambda raw: raw["sets"][0]["golden"]["samples"][0].update(unlike_base=unlike),
        )
        (found,) = [one.detail for one in verify(path, backend=fake_backend) if one.what == ANSWER]
        return found.rpartition("; ")[2]

    assert of(None) == "the base alone answers alike, so that this does not tell the two apart"
    assert of("probabilities") == "the base alone would give other probabilities"
    assert of("label").startswith("the base alone would say 'class ")


def test_a_role_without_an_image_is_a_line(make_bundle, fake_backend):
    path = make_bundle(edit=lambda raw: raw["sets"][0]["golden"].update(missing=["expert_02"]))
    (skipped,) = [one for one in verify(path, backend=fake_backend) if one.skipped]
    assert (skipped.what, skipped.passed) == ("answer, expert_02", True)


@pytest.mark.parametrize(("own", "passes"), [(None, False), (5e-4, False), (2e-3, True)])
def test_a_device_that_rounds_elsewhere_has_a_tolerance_of_its_own(make_bundle, fake_backend, own, passes):
    path, asked = make_bundle(), []
    weights = stored(path, "fake/int8/gate.npz")
    replace(path, "fake/int8/gate.npz", npz(logits=weights["logits"] * 1.001), "parts", "gate")

    def tolerance(artifacts, part):
        asked.append((str(artifacts.key), part))
        return own if part == "gate" else None

    checks = verify(path, backend=fake_backend, tolerance=tolerance)
    (gate,) = [one for one in checks if one.what == "gate.logits"]
    assert (gate.passed, failures(checks) == []) == (passes, passes)
    allowed = "tolerance 1.0e-05" if own is None else f"the device's own tolerance {own:.1e}"
    assert gate.detail == f"relative error 1.0e-03, {allowed}"
    assert all("the device's own" not in one.detail for one in checks if one.what.startswith("base."))
    assert {part for _, part in asked} >= {"base", "gate", "expert_00"}


def test_less_than_the_bundle_allows_is_never_asked_for(make_bundle, fake_backend):
    checks = verify(make_bundle(), backend=fake_backend, tolerance=lambda artifacts, part: 0.0)
    assert failures(checks) == []
    assert all("the device's own" not in one.detail for one in checks)


def test_which_answer_is_no_matter_of_tolerance(make_bundle, fake_backend):
    path = make_bundle(tau=0.0)
    weights = stored(path, "fake/int8/base.npz")
    replace(path, "fake/int8/base.npz", npz(**(weights | {"logits": weights["logits"][:, ::-1]})), "parts", "base")
    failed = failures(verify(path, backend=fake_backend, tolerance=lambda artifacts, part: 100.0))
    assert [what for what, _ in failed] == [ANSWER]
    assert "expected" in failed[0][1]
