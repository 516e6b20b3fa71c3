"""A session on the recorded job, with a tool that has a price list: what it tells with an estimate, and without."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.sound import Wanted, opening_problem, round_problem
from edge_moe.benchmarks.targets.qnn.session import WARNING, QnnSession
from edge_moe.benchmarks.targets.qnn.tool import Estimate, Range
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Opening, Round
from edge_moe.progress import Silent
from edge_moe.records import file_sha256
from tests.fixtures import JOB

US = {"base": 200, "gate": 2, "expert_00": 80, "expert_01": 80}


class Priced:
    """Writes what a compilation leaves, and has a price for each part, or none."""

    def __init__(self, *, estimates=True, left_out=0):
        self.estimates, self.left_out, self.asked = estimates, left_out, []

    def compile(self, artifact, what, context=None):
        assert artifact.is_file()
        self.asked.append(what)
        context.write_text("a graph")
        context.with_name(f"{context.stem}_qnn.bin").write_bytes(b"\0" * US[context.stem])
        us = US[context.stem]
        cycles = Range(us * 1500, us * 1400, us * 1600)
        return Estimate(Range(us, us - 1, us + 2), cycles, self.left_out) if self.estimates else None


def answered(tmp_path, soc, **tool):
    job, made = read_job(JOB), Priced(**tool)
    with QnnSession(job, f"qnn:{soc}", soc, made, tmp_path, Silent()) as session:
        lines = list(session.rounds(0, Silent(), "timing"))
    return SimpleNamespace(job=job, opening=session.opening, lines=lines, asked=made.asked)


@pytest.mark.parametrize("soc", ["QCS9100", "SM8650"])
def test_what_it_answers_is_sound(tmp_path, soc):
    found = answered(tmp_path, soc, estimates=soc == "QCS9100")
    plan = found.job.plan
    assert opening_problem(found.opening, SCHEMA_VERSION) is None
    parts = frozenset(found.job.bundle.manifest.parts)
    wanted = [Wanted(one.set, len(one.settings), parts) for one in plan.sets]
    assert len(found.lines) == plan.rounds
    assert {round_problem(found.opening, wanted, line, plan.timed) for line in found.lines} == {None}
    for one, kind in ((found.opening, Opening), (found.lines[0], Round)):
        assert msgspec.json.decode(msgspec.json.encode(one), type=kind) == one
    assert len(found.asked) == len(parts) * len(plan.sets)  # compiled once


def test_an_estimate_stands_between_its_bounds_and_beside_the_warning(tmp_path):
    found = answered(tmp_path, "QCS9100")
    (line, *_), opening = found.lines, found.opening
    assert line.sets[0].parts["base"] == {"ms": (0.2,), "cycles": (300_000.0,)}
    assert line.sets[0].bounds["base"] == {"ms": (0.199, 0.202), "cycles": (280_000.0, 320_000.0)}
    assert line.sets[0].points == ()
    assert opening.provenance == {"ms": "estimated", "cycles": "estimated"}
    assert opening.remarks == (WARNING,)
    for words in ("QCS9075", "w8a16", "0.963 ms", "three times", "0.309 ms", "the call is not in it"):
        assert words in WARNING


def test_a_phone_has_no_latency(tmp_path):
    found = answered(tmp_path, "SM8650", estimates=False)
    (line, *_), opening = found.lines, found.opening
    assert not any(unit.is_time for unit in opening.units)
    assert (opening.provenance, line.sets[0].bounds) == ({}, {})
    assert line.sets[0].parts["base"] == {"context_bytes": (200.0,)}
    assert "latency on SM8650: n/a, needs the device" in opening.remarks[0]
    assert "n/a, needs the device" in opening.how


def test_context_binaries_are_kept_and_known_by_their_digests(tmp_path):
    found = answered(tmp_path, "SM8650", estimates=False)
    for parts in found.opening.compiled.values():
        for part, made in parts.items():
            file = tmp_path / made.file
            assert (file.name, file.parts[-3]) == (f"{part}_qnn.bin", "SM8650")
            assert (file.stat().st_size, file_sha256(file)) == (made.bytes, made.sha256)
            assert file.with_name(f"{part}.onnx").is_file()
    assert str(tmp_path) not in msgspec.json.encode(found.opening).decode()  # where they lie is nobody's business


def test_an_estimate_that_lacks_operations_says_so(tmp_path):
    found = answered(tmp_path, "QCS9100", left_out=2)
    assert "is too low: it has no cost for 8 of its operations" in found.opening.remarks[1]


def test_a_chip_that_should_have_an_estimate(tmp_path):
    with pytest.raises(BackendError, match=r"QNN gave no estimate of base of litert/\S+ for QCS9100; report this"):
        answered(tmp_path, "QCS9100", estimates=False)
