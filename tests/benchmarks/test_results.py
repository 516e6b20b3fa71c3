"""results.json: strict, versioned, sound in itself, and summed up as numpy would."""

from __future__ import annotations

import hashlib
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_moe.benchmarks import results
from edge_moe.bundle import Bundle
from edge_moe.errors import DataError
from edge_moe.trace import Trace
from tests.benchmarks.made import make

SMALL = {
    "images": 9,
    "timed": 3,
    "rounds": 2,
    "sets": (("litert", "int8"), ("litert", "fp32")),
    "taus": (0.0, 0.5, 1.0),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(msgspec.json.encode(make(**SMALL)))
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": False, "trained": False, "peers": False, "limits": False, "starts": 0},
        {"unit": "instructions", "raw": False},
        {"experts": 1},
        {"experts": 5, "max_experts": (1, 3)},
        {"taus": (0.25,)},
        {"rounds_asked": 7, "remarks": ("the machine was busy",)},
    ],
    ids=lambda options: ",".join(options) or "default",
)
def test_round_trip(tmp_path, options):
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(make(**SMALL | options)))
    assert results.load(tmp_path / "results.json") == make(**SMALL | options)


def test_the_rule_of_older_results_stands(make_bundle):
    """Worked out with json and hashlib: six fields of the preprocessing, defaults too, and none that came later."""
    manifest = Bundle(make_bundle(experts=1, classes=2)).manifest
    preprocessing = {
        "image_size": 4,
        "resize": 4,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "interpolation": "bilinear",
        "layout": "NHWC",
    }
    rule = [["class 0", "class 1"], preprocessing, 1, "bagging", "logit"]
    text = json.dumps(rule, separators=(",", ":"))
    assert results.bundle_info("x", manifest).rule_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_results_without_a_digest_are_read(file):
    raw = json.loads(file.read_text())
    for one in raw["sets"]:
        del one["digest"]
    file.write_text(json.dumps(raw))
    assert {one.digest for one in results.load(file).sets} == {None}


def test_what_is_made_can_be_told_apart():
    assert make(**SMALL) == make(**SMALL) != make(**SMALL, seed=1)
    assert make(**SMALL).complete
    assert not make(**SMALL, rounds_asked=3).complete
    assert make(**SMALL).conditions.remarks == ()
    assert make(**SMALL, remarks=("hot",)).conditions.remarks == ("hot",)


def edit(file, change):
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))


def in_set(*path, value):
    """Set what lies at `path` of the first set."""

    def change(raw):
        place = raw["sets"][0]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f.unlink(), "does not exist; expected a results.json made by 'edge-moe bench'"),
        (lambda f: (f.unlink(), f.mkdir()), "does not exist; expected a results.json"),
        (lambda f: f.write_bytes(f.read_bytes()[:-100]), "is not a results file: .*; measure again"),
        (lambda f: f.write_bytes(b""), "is not a results file: .*; measure again"),
        (lambda f: f.write_text("[]"), "has schema version None; this edge-moe reads 2: measure again"),
        (lambda f: edit(f, lambda r: r.update(schema_version=1)), "has schema version 1; this edge-moe reads 2"),
        (lambda f: edit(f, lambda r: r.update(more=1)), "is not a results file: .*more.*; measure again"),
        (lambda f: edit(f, lambda r: r.pop("sets")), "is not a results file: .*sets.*; measure again"),
        (lambda f: edit(f, lambda r: r.update(unit="hours")), "is not a results file: .*hours"),
        (lambda f: edit(f, in_set("parts", 0, "raw", value=[[-1]])), r"is not a results file: .*raw"),
        (lambda f: edit(f, in_set("trace", "max_phi", 0, value=1.5)), r"is not a results file: .*max_phi"),
    ],
    ids=["missing", "folder", "half written", "empty", "list", "schema", "unknown key", "missing key", "unit",
         "negative cost", "share over 1"],
)  # fmt: skip
def test_files_that_are_no_results(file, spoil, words):
    spoil(file)
    with pytest.raises(DataError, match=words) as caught:
        results.load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r.update(sets=[]), "it holds no measurement"),
        (lambda r: r.update(rounds=0), "it holds no measurement"),
        (lambda r: r["labels"].pop(), "it has 8 labels for 9 images"),
        (lambda r: r.update(groups=[0] * 8), "it has 8 groups for 9 images"),
        (lambda r: r["labels"].__setitem__(0, 10), "a label that is not among its 10 classes"),
        (lambda r: r.update(timed=[]), "timed images are not some of its 9"),
        (lambda r: r["timed"].__setitem__(0, 9), "timed images are not some of its 9"),
        (lambda r: r["timed"].__setitem__(0, r["timed"][1]), "timed images are not some of its 9, each once"),
        (lambda r: r["sets"].append(r["sets"][0]), "it has a set twice"),
        (lambda r: r["sets"][0]["trace"]["max_phi"].pop(), "the trace of litert/int8 has not 9 images"),
        (lambda r: r["sets"][1]["trace"]["gate"].pop(), "the trace of litert/fp32 has not 9 images"),
        (lambda r: r["sets"][0]["trace"]["answers"].pop(), "the trace of litert/int8 has not 9 images"),
        (lambda r: r["sets"][0]["trace"]["gate"][3].pop(), "the trace of litert/int8 has not 4 experts"),
        (lambda r: r["sets"][0]["trace"]["answers"][3].pop(), "the trace of litert/int8 has not 4 experts"),
        (in_set("trace", "answers", 0, 0, value=-1), "an answer that is not among its 10 classes"),
        (lambda r: r["sets"][0]["parts"].pop(), "litert/int8 has not the costs of each of its parts"),
        (lambda r: r["sets"][0]["parts"].append(r["sets"][0]["parts"][0]), "not the costs of each of its parts, once"),
        (in_set("points", value=[]), "has not each of its operating points once"),
        (lambda r: r["sets"][0]["points"].append(r["sets"][0]["points"][0]), "has not each of its operating points"),
        (in_set("points", 0, "point", "max_experts", value=5), "operating points once, with 1 to 4 experts"),
        (in_set("parts", 1, "raw", value=[]), "litert/int8 has a part without a sample"),
        (in_set("parts", 1, "raw", value=[[], []]), "litert/int8 has a part without a sample"),
        (in_set("parts", 1, "raw", value=[[1], [1, 2]]), "another number of samples in every round"),
        (lambda r: r["sets"][0]["points"][1]["raw"].pop(), "litert/int8 has not 2 x 3 samples at tau 0.5"),
        (lambda r: r["sets"][0]["points"][2]["raw"][1].pop(), "litert/int8 has not 2 x 3 samples at tau 1"),
    ],
)
def test_numbers_that_cannot_be(file, spoil, words):
    edit(file, spoil)
    with pytest.raises(DataError, match=f"is not a results file: .*{words}.*; measure again"):
        results.load(file)


def test_typical_by_hand():
    # Medians over rounds: 2 of (1, 9, 2), and 4 of (4, 3, 5). Then the mean over images.
    assert results.typical(((1.0, 4.0), (9.0, 3.0), (2.0, 5.0))) == 3.0
    assert results.typical(((7.0,),)) == 7.0


@pytest.mark.parametrize("raw", [(4.0, 1.0, 3.0, 2.0), ((4.0, 1.0), (3.0, 2.0)), ((4.0,), (1.0, 3.0, 2.0))])
def test_summary_by_hand(raw):
    found = results.summary(raw)
    assert (found.median, found.mean) == (2.5, 2.5)
    # Between sorted samples 1, 2, 3, 4 at ranks 0.3 and 2.7.
    assert (found.p10, found.p90) == (pytest.approx(1.3), pytest.approx(3.7))


def test_a_part_costs_what_is_typical():
    part = results.PartCosts(part="base", macs=1, raw=((1.0, 4.0), (9.0, 3.0), (2.0, 5.0)))
    assert part.cost == 3.0


def test_the_macs_of_a_product():
    assert results.Limit(dtype="int8", library="x", shape=(2, 3, 4), raw=(1.0,)).macs == 24


fractions = st.floats(0, 1, width=32)


@given(hnp.arrays(np.float32, (4, 3), elements=fractions), hnp.arrays(np.int32, (4, 4), elements=st.integers(0, 999)))
def test_a_stored_trace_is_exact(values, answers):
    trace = Trace(values[:, 0], values, answers)
    stored = results.StoredTrace.of(trace)
    again = msgspec.json.decode(msgspec.json.encode(stored), type=results.StoredTrace).restored()
    for before, after in zip(vars(trace).values(), vars(again).values(), strict=True):
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()


def test_a_stored_trace_is_short():
    stored = results.StoredTrace.of(Trace(np.float32([0.1]), np.float32([[0.1]]), np.int32([[1, 2]])))
    assert msgspec.json.encode(stored) == b'{"max_phi":[0.1],"gate":[[0.1]],"answers":[[1,2]]}'


def test_a_folder_stands_for_the_results_in_it(file):
    assert results.load(file.parent) == results.load(file)


def test_files_from_before_there_were_groups(file):
    """New fields have defaults: what was measured earlier is still read."""

    def older(r):
        del r["groups"]
        for one in r["sets"]:
            del one["default_tau"], one["default_max_experts"]

    edit(file, older)
    found = results.load(file)
    assert found.groups is None
    assert {one.default_tau for one in found.sets} == {None}
