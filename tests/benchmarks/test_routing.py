"""Whose decisions a set is costed with, and what a target answers itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError, Bundle, UsageError, backends
from edge_moe.benchmarks import routing, targets
from edge_moe.benchmarks.decide.matching import match
from edge_moe.benchmarks.journal import journal
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.recorded import StoredTrace
from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.request import check
from edge_moe.benchmarks.sweep import sweep
from edge_moe.benchmarks.targets.host import Host
from edge_moe.benchmarks.units import UNITS
from edge_moe.benchmarks.wire import Machine, Round, SetRound
from tests.benchmarks.core import FAST, Core, CoreSession
from tests.fakes import FakeBackend, write_bundle

pytestmark = pytest.mark.usefixtures("hurried")


class Elsewhere(Core):
    """A core that hands out what parts compute; of one expert it computes something else."""

    kind = "elsewhere"
    wrong = False

    def outputs(self, bundle, artifacts, part, inputs):
        found = Host().outputs(bundle, artifacts, part, inputs)
        self.asked.append((part, len(inputs)))
        return {name: -values for name, values in found.items()} if self.wrong and part == "expert_00" else found


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    return write_bundle(tmp_path / "bundle", recipes=("int8", "fp32"), seed=2)


@pytest.fixture
def elsewhere(monkeypatch):
    target = Elsewhere()
    monkeypatch.setattr(targets, "get", lambda name: target)
    return target


def measured(bundle, **options):
    return sweep(check(bundle, "noise", BenchOptions(**FAST | {"validation_images": 40} | options)))


def test_each_set_decides_for_itself_unless_one_is_named(bundle):
    own = measured(bundle)
    assert [one.routing.set for one in own.recorded] == ["fake/int8", "fake/fp32"]
    assert {one.routing.where for one in own.recorded} == {"host"}
    other = measured(bundle, routing="fake/fp32", sets=("fake/int8",))
    (one,) = other.recorded
    assert (one.set, one.routing.set) == ("fake/int8", "fake/fp32")
    assert one.trace == own.recorded[1].trace
    assert one.digest == own.recorded[0].digest  # what is costed is the set itself


def test_a_set_that_decides_must_be_there_and_run_here(bundle, tmp_path):
    with pytest.raises(UsageError, match="no artifacts for fake/int4"):
        check(bundle, "noise", BenchOptions(routing="fake/int4"))
    other = write_bundle(
        tmp_path / "npu", recipes=("int8", "npu"), edit=lambda raw: raw["sets"][1]["runs_on"].update(npu="hexagon")
    )
    with pytest.raises(BackendError, match="fake/npu cannot run here"):
        check(other, "noise", BenchOptions(routing="fake/npu"))


def test_a_set_that_cannot_run_here_is_costed_elsewhere_with_the_routing_of_another(tmp_path, bundle, elsewhere):
    other = write_bundle(
        tmp_path / "npu", recipes=("int8", "npu"), edit=lambda raw: raw["sets"][1]["runs_on"].update(npu="hexagon")
    )
    (one,) = measured(other, sets=("fake/npu",), routing="fake/int8").recorded
    assert (one.set, one.routing.set) == ("fake/npu", "fake/int8")


@pytest.mark.parametrize("wrong", [False, True])
def test_what_a_target_answers_itself_is_held_against_the_trace(bundle, elsewhere, wrong):
    elsewhere.wrong = wrong
    found = measured(bundle, checked_images=25, taus=(0.05,), sets=("fake/int8",))
    (one,) = found.sets
    assert len(one.recorded.there.images) == 25
    assert {count for part, count in (each for each in elsewhere.asked if isinstance(each, tuple))} == {25}
    answers, routed = one.agreement_there
    if wrong:
        at = one.decisions.rows(np.array(one.recorded.there.images)).at(one.default_tau, one.default_max_experts)
        changed = at.active[:, 0]
        assert changed.any()
        assert (answers < 1, routed) == (True, 1)
    else:
        assert (answers, routed) == (1, 1)


def test_nothing_is_asked_of_a_target_that_is_not_to_be_checked(bundle, elsewhere):
    assert {one.there for one in measured(bundle, checked_images=0).recorded} == {None}
    assert not any(isinstance(each, tuple) for each in elsewhere.asked)


def test_what_a_target_answered_is_kept(bundle, elsewhere, tmp_path):
    request = check(bundle, "noise", BenchOptions(**FAST | {"validation_images": 12, "sets": ("fake/int8",)}))
    for _ in range(2):
        with journal(tmp_path / "report", request.key()) as kept:
            sweep(request, journal=kept)
            assert kept.get("there-fake-int8", StoredTrace) is not None
    assert sum(isinstance(each, tuple) for each in elsewhere.asked) == 5  # each part once


def test_which_images_are_drawn():
    assert routing.drawn(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    first, again, other = (routing.drawn(100, 10, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(set(first))


def test_an_answer_that_was_not_asked_for_is_refused(bundle, elsewhere):
    class Odd(CoreSession):
        def rounds(self, first, progress, step):
            yield Round(sets=(SetRound(parts={"base": {"cycles": (1.0,)}}),))

    elsewhere.open = lambda job, progress: Odd(elsewhere, job)
    with pytest.raises(BackendError, match="core answered what was not asked: a round has 1 sets, not 2; report"):
        measured(bundle)


def test_another_set_s_answers_are_not_told_as_its_own(bundle, tmp_path):
    found = measured(bundle, routing="fake/fp32")
    int8, fp32 = found.sets
    assert (int8.decided_by, fp32.decided_by) == ("fake/fp32", None)
    report = collect([found])
    assert "fake/int8, with the answers of fake/fp32, answers in" in report.finding
    first, _ = report.sections["points"].tables
    assert first.title == "fake/int8, with the answers of fake/fp32"
    assert report.sections.get("agreement") is None or report.sections["agreement"].tables == []
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(found))
    doubts = match(Bundle(bundle), tmp_path / "results.json").doubts
    assert any("the answers of fake/int8 are those of fake/fp32" in doubt for doubt in doubts)


def answering(lines, changes=()):
    """A session that says these rounds, whatever is asked."""

    class Odd(CoreSession):
        def __init__(self, core, job):
            super().__init__(core, job)
            self.opening = msgspec.structs.replace(self.opening, **dict(changes))

        def rounds(self, first, progress, step):
            for number in range(first, lines):
                self.core.asked.append(number)
                costs = {part: {"cycles": (float(number),)} for part in self.job.bundle.manifest.parts}
                yield Round(sets=(SetRound(parts=costs),) * len(self.job.sets))

    return lambda core: lambda job, progress: Odd(core, job)


def test_more_rounds_than_were_asked_for_are_not_taken(bundle, elsewhere):
    elsewhere.open = answering(7)(elsewhere)
    found = measured(bundle, checked_images=0)
    assert (found.rounds, found.complete) == (2, True)


def test_fewer_rounds_are_no_ctrl_c(bundle, elsewhere, tmp_path):
    elsewhere.open = answering(1)(elsewhere)
    request = check(bundle, "noise", BenchOptions(**FAST | {"validation_images": 12, "checked_images": 0}))
    words = "core stopped answering after 1 of 2 rounds; repeat the command to go on"
    with journal(tmp_path / "report", request.key()) as kept, pytest.raises(BackendError, match=words):
        sweep(request, journal=kept)
    elsewhere.open = answering(2)(elsewhere)
    with journal(tmp_path / "report", request.key()) as kept:
        assert sweep(request, journal=kept).complete
    assert elsewhere.asked == [0, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load": 3.0, "remarks": ("busy",), "facts": {"skin": 40}}, ""),  # another moment of the same
        ({"units": (UNITS["instructions"], UNITS["cycles"])}, "answers in another way"),
        ({"versions": {"fake/int8": "other 2"}}, "answers in another way"),
        ({"machine": Machine(name="another core")}, "and now another core answers; repeat the command there"),
    ],
)
def test_rounds_of_another_opening_are_not_gone_on_with(bundle, elsewhere, tmp_path, changes, words):
    """Nor are they lost."""
    request = check(bundle, "noise", BenchOptions(**FAST | {"validation_images": 12, "checked_images": 0}))
    elsewhere.open = answering(1)(elsewhere)
    with journal(tmp_path / "report", request.key()) as kept, pytest.raises(BackendError):
        sweep(request, journal=kept)
    elsewhere.open = answering(2, changes.items())(elsewhere)
    with journal(tmp_path / "report", request.key()) as kept:
        if words:
            with pytest.raises(BackendError, match=rf"report\.unfinished holds rounds of .*{words}"):
                sweep(request, journal=kept)
            assert kept.get("round-0000", Round) is not None
        else:
            assert sweep(request, journal=kept).complete
            assert elsewhere.asked == [0, 1]


def test_a_round_that_is_none_is_not_kept(bundle, elsewhere, tmp_path):
    request = check(bundle, "noise", BenchOptions(**FAST | {"validation_images": 12, "checked_images": 0}))

    class Odd(CoreSession):
        def rounds(self, first, progress, step):
            yield Round(sets=())

    elsewhere.open = lambda job, progress: Odd(elsewhere, job)
    with journal(tmp_path / "report", request.key()) as kept:
        with pytest.raises(BackendError, match="answered what was not asked: a round has 0 sets, not 2; report this"):
            sweep(request, journal=kept)
        assert kept.get("round-0000", Round) is None


def test_an_opening_that_cannot_be_is_refused_before_a_round(bundle, elsewhere):
    request = check(bundle, "noise", BenchOptions(**FAST | {"validation_images": 12, "checked_images": 0}))

    class Odd(CoreSession):
        def __init__(self, core, job):
            super().__init__(core, job)
            self.opening = msgspec.structs.replace(self.opening, units=self.opening.units * 2)

    elsewhere.open = lambda job, progress: Odd(elsewhere, job)
    with pytest.raises(BackendError, match="answered what was not asked: it has a unit twice; report this"):
        sweep(request)
    assert elsewhere.asked == []
