"""operating.json belongs to its artifacts: one that is missing, damaged or of others is refused, with what to do."""

from __future__ import annotations

import json

import pytest

from edge_moe import Bundle, BundleError
from edge_moe.bundle import MANIFEST, OPERATING, SetOperating
from edge_moe.sets import SetKey
from tests.test_bundle import change

POINT = {"tau": 0.5, "max_experts": 1, "samples": 3, "exit_rate": 0.5, "mean_macs": -1.0} | dict.fromkeys(
    ("accuracy", "accuracy_low", "accuracy_high")
)


def test_of_each_set(make_bundle):
    bundle = Bundle(make_bundle(recipes=("int8", "fp32"), tau=0.25))
    found = bundle.operating_sets
    assert list(found) == ["fake/int8", "fake/fp32"]
    one = bundle.operating(bundle.manifest.sets[1])
    assert one == bundle.operating(SetKey("fake", "fp32")) == found["fake/fp32"]
    assert isinstance(one, SetOperating)
    assert (one.default_tau, one.default_max_experts, one.certificate) == (0.25, 1, None)


def test_missing(make_bundle):
    path = make_bundle()
    (path / OPERATING).unlink()
    with pytest.raises(BundleError, match=r"has no operating\.json, which holds .*; copy or convert the bundle again"):
        Bundle(path)


def another(raw):
    raw["sets"]["fake/other"] = raw["sets"].pop("fake/int8")


@pytest.mark.parametrize(
    ("operate", "words"),
    [
        (change("schema_version", to=9), "has schema version 9; this edge-moe reads 1"),
        (change("schema_version"), "has schema version None"),
        (change("sets", "fake/int8", "default_tau", to=1.5), "is damaged: Expected `float` <= 1.0"),
        (change("sets", "fake/int8", "default_tau"), "is damaged: Object missing required field `default_tau`"),
        (change("sets", "fake/int8", "colour", to=1), "is damaged: Object contains unknown field `colour`"),
        (
            change("sets", "fake/int8", "default_max_experts", to=4),
            "the default max_experts 4, but there are 3 experts",
        ),
        (
            change("sets", "fake/int8", "default_max_experts", to=0),
            "the default max_experts 0, but there are 3 experts",
        ),
        (change("sets", "fake/int8", "certificate", to={"rule": "changed"}), "missing required field `tau`"),
        (
            change("sets", "fake/int8", "digest", to="0" * 64),
            "was made for another fake/int8: it names the digest 0000",
        ),
        (change("sets", "fake/int8", "operating_points", to=[POINT]), "is damaged: Expected `float` >= 0.0"),
        (another, "is of the sets fake/other, but the manifest has fake/int8"),
    ],
)
def test_damaged_or_of_another(make_bundle, operate, words):
    path = make_bundle(operate=operate)
    with pytest.raises(BundleError, match=words) as caught:
        Bundle(path)
    assert str(path / OPERATING) in str(caught.value)
    assert "convert the bundle again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_plain_network(make_bundle):
    path = make_bundle(experts=0)
    assert Bundle(path).operating_sets["fake/int8"].default_max_experts == 0
    with pytest.raises(BundleError, match="the default max_experts 1, but there are 0 experts"):
        Bundle(make_bundle("one", experts=0, operate=change("sets", "fake/int8", "default_max_experts", to=1)))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_no_json(make_bundle, text):
    path = make_bundle()
    (path / OPERATING).write_bytes(text)
    with pytest.raises(BundleError, match=r"operating\.json (is damaged|has schema version None)"):
        Bundle(path)


def test_figures_of_other_labels_are_refused(make_bundle):
    """Whatever decides answers changes behind its back: the manifest alone is sound, the two together are not."""
    path = make_bundle()
    raw = json.loads((path / MANIFEST).read_text())
    raw["labels"].reverse()
    (path / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(BundleError, match=r"put back the operating\.json that belongs to the artifacts"):
        Bundle(path)


def test_two_sets_of_a_name(make_bundle):
    path = make_bundle(recipes=("int8", "fp32"), edit=lambda raw: raw["sets"][1]["recipe"].update(name="int8"))
    with pytest.raises(BundleError, match="two of its sets have the same name"):
        Bundle(path)
