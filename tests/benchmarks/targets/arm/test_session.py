"""An emulated core at work on the recorded job: with an emulator that runs parts here, and has a price list."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_moe import backends
from edge_moe.benchmarks.job import read_job, read_rounds
from edge_moe.benchmarks.sound import Wanted, opening_problem, round_problem
from edge_moe.benchmarks.targets.arm.emulator import KINDS, Answer
from edge_moe.benchmarks.targets.arm.session import ArmSession, outputs, price
from edge_moe.benchmarks.wire import SCHEMA_VERSION
from edge_moe.progress import Silent
from tests.fixtures import JOB

PRICE = {"base": 1000, "gate": 10, "expert_00": 200, "expert_01": 300}
FIRST = 5000  # what a first run takes more
CALL = 1  # what an interval takes itself


class Priced:
    """Runs parts on this machine; each interval costs what its parts cost, and how often a part ran is forgotten."""

    def __init__(self):
        self.asked = []

    def run(self, backend, specs, artifacts, files, inputs, runs, *, keep=False, marks=True):
        self.asked.append(SimpleNamespace(backend=backend, runs=runs, keep=keep, marks=marks))
        parts = {name: backends.get(backend).open(file.read_bytes()) for name, file in files.items()}
        seen, counts, found = set(), [], []
        for run in runs:
            rows = []
            for name in run.parts:
                rows.append(PRICE[name] + FIRST * (name not in seen))
                seen.add(name)
            counts += [sum(rows) + CALL] if run.whole else [row + CALL for row in rows]
            if keep:
                found.append(self._outputs(parts, specs, run, inputs))
        for part in parts.values():
            part.close()
        every = np.array(counts, np.int64)[:, np.newaxis] * np.arange(1, len(KINDS) + 1)
        return Answer(every if marks else np.empty((0, len(KINDS)), np.int64), found)

    def _outputs(self, parts, specs, run, inputs):
        given, found = inputs[run.input_index : run.input_index + 1], {}
        for name in run.parts:
            kind = specs[name].kind
            x = given if name == run.parts[0] else found["base"]["embedding" if kind == "gate" else "features"]
            parts[name].invoke(x)
            found[name] = {one.name: parts[name].output(one.name) for one in specs[name].outputs}
        return found


@pytest.fixture(scope="module")
def answered():
    job, emulator = read_job(JOB), Priced()
    session = ArmSession(job, "arm:cortex-a53", "cortex-a53", emulator)
    with session:
        lines = list(session.rounds(0, Silent(), "timing"))
    return SimpleNamespace(job=job, session=session, lines=lines, asked=emulator.asked)


def test_what_it_answers_is_sound(answered):
    opening, plan = answered.session.opening, answered.job.plan
    assert opening_problem(opening, SCHEMA_VERSION) is None
    parts = frozenset(answered.job.bundle.manifest.parts)
    wanted = [Wanted(one.set, len(one.settings), parts) for one in plan.sets]
    assert [round_problem(opening, wanted, line, plan.timed) for line in answered.lines] == [None, None]
    assert [one.name for one in opening.units] == list(KINDS)
    assert not any(one.is_time for one in opening.units)
    assert set(opening.provenance.values()) == {"emulated"}


def test_rounds_are_alike(answered):
    first, second = answered.lines
    assert first == second


def test_parts_are_counted_after_their_first_run(answered):
    for one in answered.lines[0].sets:
        for part, each in PRICE.items():
            for place, kind in enumerate(KINDS, 1):
                assert set(one.parts[part][kind]) == {float((each + CALL) * place)}
    # Every image runs base and gate, and the two experts that it may wake, by the plan's order.
    assert [len(one["instructions"]) for one in answered.lines[0].sets[0].parts.values()] == [4, 4, 4, 4]


def test_images_run_what_they_ran_on_the_host(answered):
    _, recorded = read_rounds(JOB / "rounds.jsonl")
    host = next(iter(recorded))
    for there, here in zip(answered.lines[0].sets, host.sets, strict=True):
        assert [point.ran for point in there.points] == [point.ran for point in here.points]


def test_a_prediction_is_counted_as_a_whole(answered):
    for one in answered.lines[0].sets:
        for point in one.points:
            expected = []
            for ran in point.ran:
                experts = sum(PRICE[f"expert_{k:02d}"] for k in ran or ())
                expected.append(float(PRICE["base"] + (PRICE["gate"] if ran is not None else 0) + experts + CALL))
            assert list(point.costs["instructions"]) == expected


def test_the_same_sequence_is_run_once(answered):
    whole = answered.asked[1].runs[2:]  # after what warms up
    assert len(set(whole)) == len(whole) < 4 * len(answered.job.plan.sets[0].settings)
    assert all(run.whole for run in whole)
    assert [one.keep for one in answered.asked[:2]] == [True, False]


def test_a_later_sitting_counts_the_rounds_that_are_missing():
    emulator = Priced()
    with ArmSession(read_job(JOB), "arm:cortex-a76", "cortex-a76", emulator) as session:
        assert len(list(session.rounds(1, Silent(), "timing"))) == 1
    assert len(emulator.asked) == 4  # two processes a set


def test_outputs_of_a_part_alone():
    job, emulator = read_job(JOB), Priced()
    artifacts, x = job.sets[0], np.concatenate(job.inputs)
    found = outputs(emulator, job.bundle, artifacts, "base", x)
    part = backends.get("litert").open(job.bundle.read(artifacts.parts["base"]))
    for place in range(len(x)):
        part.invoke(x[place : place + 1])
        for name, values in found.items():
            np.testing.assert_array_equal(values[place], part.output(name)[0])
    part.close()
    assert [(one.marks, len(one.runs)) for one in emulator.asked] == [(False, 4)]


def test_parts_of_no_bundle_are_priced_once():
    job, emulator, steps = read_job(JOB), Priced(), []
    files = {
        one.key: {part: job.bundle.path / artifact.file for part, artifact in one.parts.items() if part != "expert_01"}
        for one in job.sets
    }
    progress = SimpleNamespace(start=lambda *_: None, advance=lambda _, note="": steps.append(note))
    inputs = {"base": np.concatenate(job.inputs)}
    unit, found = price(emulator, files, job.bundle.manifest.parts, inputs, progress)
    assert (unit.name, unit.deterministic, steps) == ("instructions", True, ["litert/int8", "litert/fp32"])
    for key in files:
        assert {part: rounds for part, rounds in found[key].items()} == {
            part: [[float(PRICE[part] + CALL)] * 3] for part in ("base", "gate", "expert_00")
        }
    assert len(emulator.asked) == 2  # one process a set
