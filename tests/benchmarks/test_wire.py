"""What crosses: the schema that every runner reads is that of the records, and the recorded job is one."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from edge_moe import Runtime
from edge_moe.benchmarks import wire
from edge_moe.benchmarks.job import PLAN, ROUNDS, read_job, read_rounds
from edge_moe.benchmarks.sound import Wanted, round_problem
from edge_moe.benchmarks.wire import Machine, Opening, Round
from edge_moe.preprocess import prepare
from edge_moe.records import to_json
from tests.fixtures import JOB, SCHEMA


def test_the_schema_beside_the_docs_is_the_records():
    assert to_json(wire.schema()) == SCHEMA.read_bytes(), "write it anew: python -m tests.fixtures"


def resolved(schema, defs):
    return defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def agrees(value, schema, defs):
    """What of JSON schema these records need, written out: types, required and no other fields, items, bounds."""
    schema = resolved(schema, defs)
    if "anyOf" in schema:
        return any(agrees(value, one, defs) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "null": type(None)}
    kinds["boolean"] = bool
    if schema.get("type") and not isinstance(value, kinds[schema["type"]]):
        return False
    if isinstance(value, dict):
        named = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        known = all(name in value for name in schema.get("required", ()))
        return known and all(
            agrees(one, named[name], defs) if name in named else (more and (more is True or agrees(one, more, defs)))
            for name, one in value.items()
        )
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(
            agrees(one, schema.get("items") or {}, defs) for one in value
        )
    return not isinstance(value, int | float) or value >= schema.get("minimum", value)


def test_the_recorded_job_is_of_the_schema():
    schema = json.loads(SCHEMA.read_text())
    plan, opening, line, _ = schema["files"].values()
    first, *others = (JOB / ROUNDS).read_text().splitlines()
    told = [(json.loads((JOB / PLAN).read_text()), plan), (json.loads(first), opening)]
    told += [(json.loads(one), line) for one in others]
    assert len(told) == 4
    for value, kind in told:
        assert agrees(value, kind, schema["$defs"])
        assert not agrees(value | {"more": 1}, kind, schema["$defs"])
    assert not agrees(told[2][0], opening, schema["$defs"])


def test_an_answer_without_a_pause_is_of_the_schema():
    schema = json.loads(SCHEMA.read_text())
    *_, kind = schema["files"].values()
    window = {"start_s": 0.0, "median": 0.5, "count": 3}
    one = {"set": "litert/int8", "setting": {"tau": 0.5, "max_experts": 1}, "windows": [window]}
    whole = [one, one | {"windows": [window | {"facts": {"clock, MHz": 1800}}] * 2}]
    assert agrees(whole, kind, schema["$defs"])
    assert msgspec.to_builtins(msgspec.convert(whole, tuple[wire.Sustained, ...]), builtin_types=()) == tuple(
        one | {"windows": tuple(one["windows"])} for one in whole
    )
    for wrong in ({"windows": []}, {"more": 1}, {"windows": [window | {"count": 0}]}, {"windows": [{"start_s": 0.0}]}):
        assert not agrees([one | wrong], kind, schema["$defs"])
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert([one | wrong], tuple[wire.Sustained, ...])


def test_what_is_not_asked_for_is_not_in_a_plan():
    """A runner that knows nothing of it reads the plan as before; and a plan from before it is still one."""
    before = json.loads((JOB / PLAN).read_text())
    read = msgspec.convert(before, wire.Plan)
    assert (read.sustained_s, {one.sustained for one in read.sets}) == (0, {None})
    assert not {"sustained", "sustained_s"} & {*(written := json.loads(msgspec.json.encode(read))), *written["sets"][0]}


def test_the_recorded_rounds_are_the_answer_to_the_recorded_job():
    job = read_job(JOB)
    opening, rounds = read_rounds(JOB / ROUNDS)
    rounds = list(rounds)
    sets = [Wanted(one.set, len(one.settings), frozenset(job.bundle.manifest.parts)) for one in job.plan.sets]
    assert len(rounds) == job.plan.rounds == 2
    assert [round_problem(opening, sets, one, job.plan.timed) for one in rounds] == [None, None]
    for place, planned in enumerate(job.plan.sets):
        with Runtime(job.bundle, backend="litert", recipe=job.sets[place].recipe.name) as runtime:
            for number, setting in enumerate(planned.settings):
                runtime.tau, runtime.max_experts = setting.tau, setting.max_experts
                answers = [runtime.predict_tensor(x) for x in job.inputs]
                ran = tuple(one.experts if one.gate_ran else None for one in answers)
                assert [one.sets[place].points[number].ran for one in rounds] == [ran, ran]
    kinds = {type(ran) if ran is None else len(ran) for one in rounds[0].sets[0].points for ran in one.ran}
    assert kinds == {type(None), 0, 1, 2}  # every way in which an image can be answered


def test_the_recorded_inputs_are_made_of_the_recorded_images():
    job = read_job(JOB)
    for x, image in zip(job.inputs, job.images, strict=True):
        np.testing.assert_array_equal(x, prepare(image, job.bundle.manifest.preprocessing))


@pytest.mark.parametrize(
    ("machine", "title"),
    [
        (Machine(name="A chip", processor="A chip (neon)"), "A chip (neon)"),
        (Machine(name="a phone", processor="A chip"), "a phone, A chip"),
        (Machine(name="a phone"), "a phone"),
    ],
)
def test_a_machine_is_called_by_what_is_known(machine, title):
    assert machine.title == title


def test_what_is_not_known_is_left_away():
    opening = Opening(schema_version=3, target="t", units=(), machine=Machine(name="m"), versions={})
    text = msgspec.json.encode(opening)
    assert text == b'{"schema_version":3,"target":"t","units":[],"machine":{"name":"m"},"versions":{}}'
    assert msgspec.json.encode(Round(sets=())) == b'{"sets":[]}'
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        msgspec.json.decode(text, type=Opening)
