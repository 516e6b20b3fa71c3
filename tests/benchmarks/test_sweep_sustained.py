"""A sweep with predictions without a pause after its rounds: kept, gone on with, stopped, refused."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe import BackendError, UsageError, backends
from edge_moe.benchmarks import results, sweep, targets
from edge_moe.benchmarks.journal import journal
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.request import check
from edge_moe.benchmarks.wire import Setting, Sustained, Window
from tests.benchmarks.core import FAST, Core, CoreSession
from tests.fakes import FakeBackend, write_bundle

MINUTES = 0.5


class Steps:
    """Step -> how many units it has, and how many are done."""

    def __init__(self):
        self.seen = {}

    def start(self, name, total, done=0):
        self.seen[name] = [total, done]

    def advance(self, name, note=""):
        self.seen[name][1] += 1


class LongCore(Core):
    """A core that also runs without a pause: 3 windows of 10 s, each dearer than the one before."""

    sustains = True

    def __init__(self):
        super().__init__()
        self.steps = Steps()
        self.ran, self.stops, self.change = 0, False, lambda found: found

    def open(self, job, progress):
        return LongSession(self, job)


class LongSession(CoreSession):
    def sustained(self, progress, step):
        plan = self.job.plan
        assert plan.sustained_s == 60 * MINUTES
        if self.core.stops:
            raise KeyboardInterrupt
        self.core.ran += 1
        for _ in range(3 * len(plan.sets)):
            progress.advance(step)
        windows = tuple(Window(start_s=10.0 * n, median=5.0 + n, count=7, facts={"heat": n}) for n in range(3))
        return self.core.change(tuple(Sustained(set=o.set, setting=o.sustained, windows=windows) for o in plan.sets))


@pytest.fixture
def core(monkeypatch):
    core = LongCore()
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    monkeypatch.setattr(targets, "get", {"core": core, "short": Core()}.__getitem__)
    return core


def untrained(raw):
    """No remark of noise."""
    raw["trained"] = False


@pytest.fixture
def sitting(core, tmp_path):
    """sitting(minutes, **options) -> the results of a command that is repeated."""
    bundle = write_bundle(tmp_path / "bundle", recipes=("int8", "fp32"), tau=0.3, max_experts=2, edit=untrained)

    def go(minutes=MINUTES, device="core", **more):
        request = check(bundle, "noise", BenchOptions(device=device, sustained_minutes=minutes, **(FAST | more)))
        with journal(tmp_path / "report", request.key()) as kept:
            return sweep.sweep(request, journal=kept, progress=core.steps)

    return go


def test_what_it_answered_stands_in_the_results(sitting, core, tmp_path):
    found = sitting()
    assert (found.complete, found.whole, found.sustained_s, found.conditions.remarks) == (True, True, 30, ())
    assert core.steps.seen["sustained"] == [6, 6]  # windows
    default = Setting(tau=0.3, max_experts=2)
    assert [(one.set, one.setting) for one in found.sustained] == [("fake/int8", default), ("fake/fp32", default)]
    assert [window.median for window in found.sustained[1].windows] == [5.0, 6.0, 7.0]
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(found))
    assert results.load(tmp_path / "results.json") == found


def test_a_repeated_command_does_not_do_it_again(sitting, core):
    first, again = sitting(), sitting()
    assert (core.ran, core.asked) == (1, [0, 1])
    assert again.sustained == first.sustained


def test_what_was_damaged_is_measured_again(sitting, core, tmp_path):
    first = sitting()
    (tmp_path / "report.unfinished/sustained.json").write_text("[]")
    assert sitting().sustained == first.sustained
    assert (core.ran, core.asked) == (2, [0, 1])


def test_ctrl_c_keeps_the_rounds_and_the_same_command_goes_on(sitting, core):
    core.stops = True
    found = sitting()
    assert (found.complete, found.whole, found.rounds, found.sustained) == (True, False, 2, ())
    (remark,) = found.conditions.remarks
    assert remark.startswith("stopped before every set had run for 0.5 min without a pause")
    core.stops = False
    found = sitting()
    assert (found.whole, core.asked, core.ran, found.conditions.remarks) == (True, [0, 1], 1, ())


def test_ctrl_c_in_a_round_comes_to_nothing_after_it(sitting, core):
    core.stop_in = 1
    found = sitting()
    assert (found.complete, found.rounds, found.sustained, core.ran) == (False, 1, (), 0)


def test_where_it_was_not_asked_for(sitting, core):
    found = sitting(0.0)
    assert (found.whole, found.sustained, found.sustained_s, core.ran) == (True, (), 0, 0)
    assert not {"sustained", "sustained_s", "five_runs"} & set(msgspec.to_builtins(found))


def replaced(**changes):
    return lambda found: (msgspec.structs.replace(found[0], **changes), *found[1:])


WINDOW = Window(start_s=0.0, median=1.0, count=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found[:1], "it ran fake/int8 without a pause, not fake/int8, fake/fp32"),
        (lambda found: found[::-1], "it ran fake/fp32, fake/int8 without a pause"),
        (replaced(set="fake/other"), "it ran fake/other, fake/fp32"),
        (replaced(setting=Setting(tau=0.1, max_experts=2)), "fake/int8 ran without a pause at another operating point"),
        (replaced(windows=()), "fake/int8 has not its 30 s without a pause, one window after the other"),
        (replaced(windows=(WINDOW, WINDOW)), "fake/int8 has not its 30 s"),
        (replaced(windows=(msgspec.structs.replace(WINDOW, start_s=30.0),)), "fake/int8 has not its 30 s"),
        (replaced(windows=(msgspec.structs.replace(WINDOW, start_s=-1.0),)), "began or cost less than nothing"),
        (replaced(windows=(msgspec.structs.replace(WINDOW, median=-1.0),)), "began or cost less than nothing"),
    ],
)
def test_what_was_not_asked_is_refused(sitting, core, change, words):
    core.change = change
    with pytest.raises(BackendError, match=f"core answered what was not asked: .*{words}.*; report this"):
        sitting()
    core.change = lambda found: found
    assert sitting().whole
    assert core.asked == [0, 1]  # the rounds were kept


def test_a_target_that_does_not(sitting, core, monkeypatch):
    monkeypatch.setattr(targets, "_registered", {"core": LongCore})
    with pytest.raises(
        UsageError, match="core does not run predictions without a pause; leave --sustained away, or"
    ) as e:
        sitting(device="short")
    assert "host" in str(e.value) and "core" in str(e.value) and "arm" not in str(e.value)
    monkeypatch.setattr(Core, "sustains", True)  # says that it does, and does not
    with pytest.raises(BackendError, match=r"core does not run .* on a device that does, such as host"):
        sitting(device="short")


@pytest.mark.parametrize("minutes", [-1.0, float("nan"), float("inf")])
def test_minutes_that_cannot_be(sitting, minutes):
    with pytest.raises(UsageError, match=r"sustained is .*; expected minutes, more than 0"):
        sitting(minutes)


@pytest.mark.parametrize(("minutes", "seconds"), [(5, 300), (0.5, 30), (0.001, 1), (0, 0)])
def test_minutes_are_whole_seconds(minutes, seconds):
    assert BenchOptions(sustained_minutes=minutes).sustained_s == seconds
