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

from edge_moe.benchmarks import results, samples
from edge_moe.benchmarks.measured import PartCosts
from edge_moe.benchmarks.recorded import StoredTrace, bundle_info
from edge_moe.benchmarks.wire import Limit
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
    assert bundle_info("x", manifest).rule_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_what_is_made_can_be_told_apart():
    assert make(**SMALL) == make(**SMALL) != make(**SMALL, seed=1)
    assert make(**SMALL).complete
    assert not make(**SMALL, rounds_asked=3).complete
    assert make(**SMALL).conditions.remarks == ()
    assert make(**SMALL, remarks=("hot",)).conditions.remarks == ("hot",)


def edit(file, change):
    raw = json.loads(file.read_text())
    change(raw)
    for one in raw["sets"] if isinstance(raw, dict) and isinstance(raw.get("sets"), list) else ():
        if one.get("there") is not None:  # a trace is wanted: that of all images
            one["there"]["trace"] = one["trace"]
    file.write_text(json.dumps(raw))


def in_set(*path, value):
    """Set what lies at `path` of the first set."""

    def change(raw):
        place = raw["sets"][0]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def in_round(*path, value, number=0):
    """Set what lies at `path` of the first set in a round."""

    def change(raw):
        place = raw["rounds"][number]["sets"][0]
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
        (lambda f: f.write_text("[]"), "has schema version None; this edge-moe reads 3: measure again"),
        (lambda f: edit(f, lambda r: r.update(schema_version=2)), "version 2; this edge-moe reads 3: measure again"),
        (lambda f: edit(f, lambda r: r.update(more=1)), "is not a results file: .*more.*; measure again"),
        (lambda f: edit(f, lambda r: r.pop("sets")), "is not a results file: .*sets.*; measure again"),
        (lambda f: edit(f, lambda r: r["opening"].update(units=[])), "is not a results file: .*units"),
        (lambda f: edit(f, in_round("parts", "base", "ms", value=[-1])), r"is not a results file: .*parts"),
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


def ran_on(**more):
    """The first set ran without a pause."""
    one = {"set": "litert/int8", "setting": {"tau": 0.07, "max_experts": 1}}
    one["windows"] = [{"start_s": 0.0, "median": 0.5, "count": 9}]
    return lambda raw: raw.update(sustained=[one], **more)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r.update(sets=[]), "it holds no measurement"),
        (lambda r: r.update(rounds=[]), "it holds no measurement"),
        (lambda r: r["labels"].pop(), "it has 8 labels for 9 images"),
        (lambda r: r.update(groups=[0] * 8), "it has 8 groups for 9 images"),
        (lambda r: r["labels"].__setitem__(0, 10), "a label that is not among its 10 classes"),
        (lambda r: r.update(timed=[]), "timed images are not some of its 9"),
        (lambda r: r["timed"].__setitem__(0, 9), "timed images are not some of its 9"),
        (lambda r: r["timed"].__setitem__(0, r["timed"][1]), "timed images are not some of its 9, each once"),
        (lambda r: r["sets"].append(r["sets"][0]), "it has a set twice"),
        (lambda r: r["rounds"][1]["sets"].pop(), "a round has 1 sets, not 2"),
        (lambda r: r["sets"][0]["trace"]["max_phi"].pop(), "the trace of litert/int8 has not 9 images"),
        (lambda r: r["sets"][1]["trace"]["gate"].pop(), "the trace of litert/fp32 has not 9 images"),
        (lambda r: r["sets"][0]["trace"]["answers"].pop(), "the trace of litert/int8 has not 9 images"),
        (lambda r: r["sets"][0]["trace"]["gate"][3].pop(), "the trace of litert/int8 has not 4 experts"),
        (lambda r: r["sets"][0]["trace"]["answers"][3].pop(), "the trace of litert/int8 has not 4 experts"),
        (in_set("trace", "answers", 0, 0, value=-1), "an answer that is not among its 10 classes"),
        (in_set("trace", "single", 0, 0, value=10), "an answer that is not among its 10 classes"),
        (lambda r: r["sets"][0]["macs"].pop("gate"), "litert/int8 has not the MACs of each of its parts, once"),
        (
            lambda r: r["rounds"][1]["sets"][0]["parts"].pop("gate"),
            "litert/int8 has not the costs of each of its parts",
        ),
        (in_set("settings", value=[]), "has not each of its operating points once"),
        (
            lambda r: r["sets"][0]["settings"].append(r["sets"][0]["settings"][0]),
            "has not each of its operating points",
        ),
        (in_set("settings", 0, "max_experts", value=5), "operating points once, with 1 to 4 experts"),
        (in_round("parts", "gate", "ms", value=[]), "litert/int8 has a part without a sample in ms"),
        (in_round("parts", "gate", value={"cycles": [1]}), "litert/int8 has a part without a sample in ms"),
        (in_round("parts", "gate", "ms", value=[1]), "another number of samples in every round"),
        (lambda r: r["rounds"][1]["sets"][0]["points"].pop(), "litert/int8 has 2 operating points in a round, not 3"),
        (in_round("points", 2, "costs", "ms", value=[1]), "litert/int8 has not 3 samples in a round at .* point 3"),
        (in_round("points", 1, "ran", value=[None]), "litert/int8 has not 3 samples in a round at .* point 2"),
        (lambda r: r["rounds"][0]["peers"].pop(), "not the peers and the matrix products of its opening"),
        (lambda r: r["rounds"][0]["peers"][0]["ms"].pop(), "base only of litert/int8 has not 3 samples in a round"),
        (lambda r: r["rounds"][0]["limits_ms"].__setitem__(0, []), "a matrix product without a sample"),
        (lambda r: r["rounds"][0]["steps"]["preprocessing"]["ms"].pop(), "a step beside the parts has not 3 samples"),
        (lambda r: r["rounds"][0]["steps"].update(preprocessing={"us": [1, 2, 3]}), "a step beside the parts has not"),
        (lambda r: r["rounds"][0].update(steps={}), "number of samples in every round, or not the same things"),
        (lambda r: r["rounds"][0]["peers"].__setitem__(0, None), "or not the same things"),
        (in_round("points", value=[]), "or not the same things"),
        (in_round("waking", "base", "ms", value=[]), "has waking or bounds of what is no part, or without a sample"),
        (in_round("waking", "base", "ms", value=[1, 2]), "another number of samples in every round"),
        (in_round("waking", "heart", value={"ms": [1]}), "has waking or bounds of what is no part"),
        (in_round("bounds", value={"base": {"ms": [2, 1]}}), "bounds in the wrong order"),
        (in_round("points", 0, "ran", 0, value=[4]), "ran an expert that is not among its 4"),
        (ran_on(), "it ran litert/int8 without a pause, not anything"),
        (ran_on(sustained_s=30), "it ran litert/int8 without a pause, not litert/int8, litert/fp32"),
        (lambda r: r["opening"].update(schema_version=2), "its opening is of schema 2, not 3"),
        (lambda r: r["opening"].update(units=r["opening"]["units"] * 2), "it has a unit twice"),
        (in_set("there", value={"images": [9], "trace": None}), "checked on images that are not among its 9"),
        (in_set("there", value={"images": [1, 2], "trace": None}), "the trace of litert/int8 has not 2 images"),
    ],
)
def test_numbers_that_cannot_be(file, spoil, words):
    edit(file, spoil)
    with pytest.raises(DataError, match=f"is not a results file: .*{words}.*; measure again"):
        results.load(file)


def test_typical_by_hand():
    # Medians over rounds: 2 of (1, 9, 2), and 4 of (4, 3, 5). Then the mean over images.
    assert samples.typical(((1.0, 4.0), (9.0, 3.0), (2.0, 5.0))) == 3.0
    assert samples.typical(((7.0,),)) == 7.0


@pytest.mark.parametrize("raw", [(4.0, 1.0, 3.0, 2.0), ((4.0, 1.0), (3.0, 2.0)), ((4.0,), (1.0, 3.0, 2.0))])
def test_summary_by_hand(raw):
    found = samples.summary(raw)
    assert (found.median, found.mean) == (2.5, 2.5)
    # Between sorted samples 1, 2, 3, 4 at ranks 0.3, 2.7 and 2.97.
    assert (found.p10, found.p90, found.p99) == (pytest.approx(1.3), pytest.approx(3.7), pytest.approx(3.97))


def test_a_part_costs_what_is_typical():
    part = PartCosts(part="base", macs=1, raw=((1.0, 4.0), (9.0, 3.0), (2.0, 5.0)))
    assert part.cost == 3.0


def test_the_macs_of_a_product():
    assert Limit(dtype="int8", library="x", shape=(2, 3, 4)).macs == 24


fractions = st.floats(0, 1, width=32)


@given(hnp.arrays(np.float32, (4, 3), elements=fractions), hnp.arrays(np.int32, (4, 7), elements=st.integers(0, 999)))
def test_a_stored_trace_is_exact(values, answers):
    trace = Trace(values[:, 0], values, answers[:, :4], answers[:, 4:], *values.T)
    stored = StoredTrace.of(trace)
    again = msgspec.json.decode(msgspec.json.encode(stored), type=StoredTrace).restored()
    for before, after in zip(vars(trace).values(), vars(again).values(), strict=True):
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()


def test_a_stored_trace_is_short():
    tenth = np.float32([0.1])
    stored = StoredTrace.of(Trace(tenth, np.float32([[0.1]]), np.int32([[1, 2]]), np.int32([[3]]), *[tenth] * 3))
    assert msgspec.json.encode(stored) == (
        b'{"max_phi":[0.1],"gate":[[0.1]],"answers":[[1,2]],"single":[[3]],"second_phi":[0.1],"entropy":[0.1],'
        b'"log_sum_exp":[0.1]}'
    )


def test_a_folder_stands_for_the_results_in_it(file):
    assert results.load(file.parent) == results.load(file)


def test_what_rounds_are_summed_up_to_by_hand():
    """Of two rounds and one set: what is computed on load, from the very lines."""
    found = make(**SMALL, seed=3)
    for place, one in enumerate(found.sets):
        rounds = [line.sets[place] for line in found.lines]
        for part in one.parts:
            rows = np.array([each.parts[part.part]["ms"] for each in rounds])
            assert part.cost == pytest.approx(np.median(rows, axis=0).mean())
            assert part.waking == tuple(each.waking[part.part]["ms"] for each in rounds)
        for number, point in enumerate(one.points):
            rows = np.array([each.points[number].costs["ms"] for each in rounds])
            assert point.mean == pytest.approx(np.median(rows, axis=0).mean())
            assert point.routed_alike == 1
            at = found.recorded[place].trace.restored().at(point.point.tau, point.point.max_experts)
            assert point.point.accuracy == (at.predictions == np.array(found.labels)).mean()
        assert one.cold_start_ms == tuple(each.cold_start_ms for each in rounds)
    assert [peer.raw and len(peer.raw) for peer in found.peers][-1] is None
    assert found.step("preprocessing") == tuple(line.steps["preprocessing"]["ms"] for line in found.lines)
    assert found.step("nothing") == ()


def test_what_ran_otherwise_than_the_trace_says_is_counted(file):
    edit(file, in_round("points", 0, "ran", 1, value=None))  # at tau 0 an expert always runs
    points = results.load(file).sets[0].points
    assert [point.routed_alike for point in points] == [pytest.approx(5 / 6), 1, 1]


def test_another_unit_and_facts_that_nobody_knows(file):
    def strange(raw):
        raw["opening"]["units"] = [{"name": "sparks", "words": "sparks", "deterministic": True}]
        raw["opening"]["facts"] = {"lamp": "on", "glow": 0.5}
        raw["opening"]["machine"] = {"name": "a lamp", "facts": {"bulbs": 3}}
        raw["opening"]["provenance"] = {"sparks": "estimated"}
        for line in raw["rounds"]:
            line |= {"steps": {}, "limits_ms": [], "peers": [], "seen": {"facts": {"flicker": None}}}
            for one in line["sets"]:
                one["parts"] = {part: {"sparks": costs["ms"]} for part, costs in one["parts"].items()}
                one |= {"points": [], "waking": {}, "bounds": {"base": {"sparks": [0.1, 9]}}}
        raw["opening"] |= {"peers": [], "limits": []}

    edit(file, strange)
    found = results.load(file)
    assert (found.unit.name, found.unit.deterministic, found.provenance()) == ("sparks", True, "estimated")
    assert (found.opening.facts, found.machine.facts) == ({"lamp": "on", "glow": 0.5}, {"bulbs": 3})
    assert found.lines[0].seen.facts == {"flicker": None}
    assert found.sets[0].parts[0].bounds == (0.1, 9)
    assert found.sets[0].points[0].raw is None
    again = msgspec.json.decode(msgspec.json.encode(found), type=results.Results)
    assert again == found
