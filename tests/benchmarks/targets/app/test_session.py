"""The app at work, without one: what it is asked, in which order, and what becomes of what it answers."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import msgspec
import pytest

from edge_moe import BackendError
from edge_moe.benchmarks import sustained
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.targets.adb import steady, watch
from edge_moe.benchmarks.targets.adb.phone import Done
from edge_moe.benchmarks.targets.adb.state import Cpu, Identity, State
from edge_moe.benchmarks.targets.app import session, talk
from edge_moe.benchmarks.targets.app.session import HOW, AppSession
from edge_moe.benchmarks.wire import Setting, Sustained, Window
from edge_moe.progress import Silent
from tests.benchmarks.targets.app.fake import OPENING, FakeApp, FakePhone
from tests.fixtures import JOB

ROUND = {"sets": [{"parts": {"base": {"ms": [1.0]}}}], "seen": {"facts": {"in front": True}}}
WINDOWS = [{"start_s": 0.0, "median": 1.0, "count": 5}, {"start_s": 1.0, "median": 2.0, "count": 5}]


def now(**changes):
    return State(0, {}, 80, True, {4: Cpu(1024.0, 2400000, 2400000, "x")}, None, "Awake")._replace(**changes)


class Lock:
    """Stands for Contact."""

    def __init__(self):
        self.undo, self.closed = [], False

    def put_back(self, command):
        self.undo.append(command)

    def close(self):
        self.closed = True


@pytest.fixture
def states(monkeypatch):
    """What the phone says of itself, in turns; the last for ever."""
    told = [now()]
    for module in (session, steady, watch):
        monkeypatch.setattr(module, "state", lambda phone: told.pop(0) if len(told) > 1 else told[0])
    monkeypatch.setattr(steady, "_LOOK_S", 0.001)
    monkeypatch.setattr(talk, "_LOOK_S", (0.002, 0.01))
    monkeypatch.setattr(talk, "BEAT_S", 0.02)
    monkeypatch.setattr(talk, "SILENCE_S", 0.5)
    monkeypatch.setattr(talk, "_START_S", 0.5)
    monkeypatch.setattr(talk, "_LATE_S", (0.0, 0.01, 0.01))
    return told


@pytest.fixture
def phone(tmp_path, states, monkeypatch):
    """A phone, where an app answers as it should."""
    phone = FakePhone(tmp_path)
    phone.app = FakeApp(answered)
    phone.started = phone.app.start
    for module in (talk, watch):
        monkeypatch.setattr(module, "Phone", lambda name, serial: phone)
    yield phone
    phone.lost = ""
    for thread in phone.app.threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not list(tmp_path.rglob("sweeps/*"))


def answered(ask):
    if ask["line"] == 1:
        return OPENING
    setting = {"tau": 0.5, "max_experts": 1}
    return ROUND if ask["what"] == "round" else [{"set": "onnx/int8", "setting": setting, "windows": WINDOWS}]


def answering(*lines):
    """An app that opens the job, and then gives these lines; the last for ever."""
    left = list(lines)
    return FakeApp(lambda ask: OPENING if ask["line"] == 1 else left.pop(0) if len(left) > 1 else left[0])


def opened(phone, lock=None, **plan):
    job = read_job(JOB)
    job = replace(job, plan=msgspec.structs.replace(job.plan, **plan))
    identity = Identity({"ro.product.model": "P"}, "Features : asimddp", None, "6")
    return AppSession(job, phone, lock or Lock(), identity, Silent())


def use(phone, app):
    phone.app, phone.started = app, app.start


def test_the_job_is_sent_and_rounds_are_asked_for_by_their_numbers(phone):
    lock = Lock()
    with opened(phone, lock, rounds=3, peers=True) as one:
        assert (one.opening.target, one.opening.machine.name, one.opening.how) == ("app", "P", HOW)
        assert one.opening.versions == {"onnx/int8": "onnxruntime 1"}
        assert one.opening.facts["heap, MiB"] == 256 and one.opening.facts["thermal status, before"] == "0 (none)"
        (folder,) = phone.sdcard.rglob("sweeps/*")
        assert not json.loads((folder / "plan.json").read_text()).get("peers", False)
        sent = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
        assert {"inputs.npy", "images/0000.png", "bundle/manifest.json", "bundle/litert/int8/base.tflite"} <= sent
        lines = list(one.rounds(1, Silent(), "timing"))
    assert len(lines) == 2 and lines[0].seen.facts["thermal status"] == "0 (none)"
    assert [tuple(ask.values()) for ask in phone.app.asked] == [(1, "round", 0), (2, "round", 1), (3, "round", 2)]
    assert lock.undo[0].startswith("rm -rf /sdcard/Android/data/org.edgemoe.demo/files/sweeps/") and lock.closed
    assert lock.undo[1] == "cmd power set-fixed-performance-mode-enabled false"
    assert phone.app.beats == sorted(phone.app.beats)


def test_the_app_hears_that_somebody_is_there_and_what_is_wanted_stays(phone):
    with opened(phone, rounds=9) as one:
        next(one.rounds(5, Silent(), "timing"))
        heard, end = len(phone.app.beats), time.monotonic() + 10
        while len(phone.app.beats) < heard + 4 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(phone.app.beats) >= heard + 4
        (ask,) = phone.sdcard.rglob("ask.json")
        assert json.loads(ask.read_text()) | {"beat": 0} == {"beat": 0, "line": 2, "what": "round", "round": 5}
    assert len(phone.app.asked) == 2 and phone.app.beats == sorted(set(phone.app.beats))


def test_a_round_that_was_held_back_is_asked_for_again(phone, states):
    with opened(phone, rounds=2) as one:
        states[:] = [now(), now(thermal=1), now(thermal=1), now()]
        lines = list(one.rounds(0, Silent(), "timing"))
    assert [line.seen.facts["rounds discarded before"] for line in lines] == [1, 0]
    assert [(ask["line"], ask["round"]) for ask in phone.app.asked[1:]] == [(2, 0), (3, 0), (4, 1)]


def test_a_round_behind_another_app_is_asked_for_again_and_not_for_ever(phone):
    behind = ROUND | {"seen": {"facts": {"in front": False}}}
    use(phone, answering(behind, behind, ROUND))
    with opened(phone, rounds=1) as one:
        (line,) = one.rounds(0, Silent(), "timing")
    assert line.seen.facts["in front"] is True and len(phone.app.asked) == 4
    use(phone, answering(behind))
    with (
        opened(phone) as one,
        pytest.raises(BackendError, match=r"was not in front .*leave it open with the screen on"),
    ):
        next(one.rounds(0, Silent(), "timing"))


def test_without_a_pause_the_phone_is_looked_at_meanwhile(phone, states, monkeypatch):
    monkeypatch.setattr(sustained, "WINDOW_S", 1.0)
    with opened(phone, sustained_s=2) as one:
        (found,) = one.sustained(Silent(), "sustained")
    assert [window.median for window in found.windows] == [1.0, 2.0]
    assert phone.app.asked[-1] == {"line": 2, "what": "sustained", "round": 0}


def test_facts_of_a_window_are_those_of_its_end(phone, states):
    seen = watch.Watch(phone, (0,), Silent(), "x")
    seen.seen = [(10.0, {"at": 10}), (20.0, {"at": 20}), (30.0, {"at": 30}), (40.0, {"at": 40})]
    windows = tuple(Window(start_s=start, median=1.0, count=1) for start in (0, 10))
    one = Sustained(set="a/b", setting=Setting(tau=0.5, max_experts=1), windows=windows)
    assert [w.facts["at"] for w in session._watched(one, 0, 20, seen).windows] == [10, 20]
    assert [w.facts["at"] for w in session._watched(one, 20, 20, seen).windows] == [30, 40]


@pytest.mark.parametrize(
    ("kind", "problem", "words"),
    [
        ("storage", "rounds cannot be kept: No space left; make room", "failed: rounds cannot be kept: No space left"),
        ("backend", "litert/int8 cannot run here", "failed: litert/int8 cannot run here; then repeat the command"),
        ("stopped", "it was stopped on the phone", "failed: it was stopped on the phone; then repeat"),
    ],
)
def test_what_the_app_says_is_wrong(phone, kind, problem, words):
    use(phone, answering(ROUND, {"kind": kind, "problem": problem}))
    with opened(phone) as one:
        rounds = one.rounds(0, Silent(), "timing")
        assert next(rounds).sets  # what is there stays
        with pytest.raises(BackendError, match=f"the app on app {words}") as error:
            next(rounds)
    assert "\n" not in str(error.value)
    assert any('"what":"end"' in command for command in phone.commands)  # it need not wait for us


def test_an_app_that_says_nothing_any_more_is_ended(phone):
    use(phone, answering(ROUND, None))
    with opened(phone) as one:
        rounds = one.rounds(0, Silent(), "timing")
        next(rounds)
        with pytest.raises(BackendError, match=r"the app on app is gone: nothing was heard of it .*repeat the command"):
            next(rounds)
    assert "am force-stop org.edgemoe.demo" in phone.commands


def test_an_app_whose_folder_is_gone(phone):
    with opened(phone) as one:
        phone.answers["cat"] = Done(1, "", "cat: state.json: No such file or directory\n")
        with pytest.raises(BackendError, match=r"gone: its folder cannot be read any more \(cat: state.json: No such"):
            next(one.rounds(0, Silent(), "timing"))


def test_a_line_that_adb_sees_late_and_one_that_is_not_there(phone, monkeypatch):
    pull, late = phone.pull, [b"", b'{"half']
    monkeypatch.setattr(phone, "pull", lambda there: late.pop(0) if late else pull(there))
    with opened(phone) as one:
        assert next(one.rounds(0, Silent(), "timing")).sets
        assert not late
        monkeypatch.setattr(phone, "pull", lambda there: b"a\nb")
        with pytest.raises(BackendError, match="says that 3 lines are there, and 1 can be read; report this"):
            next(one.rounds(1, Silent(), "timing"))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"schema_version": 2}, "answers by version 2, and this edge-moe asks by 1: build and install"),
        ({"schema_version": 1, "state": "flying"}, "said what is no state of a sweep: Invalid enum value 'flying'"),
        ({"state": "failed", "kind": "storage", "problem": "no room"}, "failed: no room"),
    ],
)
def test_an_app_of_another_version(phone, first, words):
    phone.app.first = first
    with pytest.raises(BackendError, match=words):
        opened(phone)


def test_an_app_of_another_format(phone):
    use(phone, FakeApp(lambda ask: OPENING | {"schema_version": 4}))
    with pytest.raises(BackendError, match="answers by schema 4, and this edge-moe reads 3: build and install the app"):
        opened(phone)
    use(phone, answering({"sets": [{"parts": 3}]}))
    with opened(phone) as one, pytest.raises(BackendError, match="said what is no round: Expected `object`"):
        next(one.rounds(0, Silent(), "timing"))
    use(phone, FakeApp(lambda ask: "{" if ask["line"] == 1 else ROUND))
    with pytest.raises(BackendError, match="said what is no opening"):
        opened(phone)


def test_an_app_that_is_busy_is_waited_for(phone, monkeypatch):
    monkeypatch.setattr(talk, "_BUSY_S", 60.0)
    busy, free = FakeApp(answered), FakeApp(answered)
    busy.first = {"state": "failed", "kind": "busy", "problem": "the sweep x runs in the app; wait until it is done"}
    apps = [busy, busy, free]
    phone.started = lambda job: apps.pop(0).start(job)
    with opened(phone, rounds=1) as one:
        assert len(list(one.rounds(0, Silent(), "timing"))) == 1
    assert not apps
    apps = [busy]
    monkeypatch.setattr(talk, "_BUSY_S", 0.0)
    with pytest.raises(BackendError, match="app cannot be measured on now: the sweep x runs in the app; wait until"):
        opened(phone)


@pytest.mark.parametrize(
    ("command", "done", "words"),
    [
        (
            "am start",
            Done(1, "Starting: Intent\nError type 3\nError: Activity class {x} does not exist.\n", ""),
            "exist",
        ),
        (
            "am start",
            Done(0, "Error: Activity class {x} does not exist.\n", ""),
            "start a sweep of the demo app: Error",
        ),
        ("am start", Done(255, "", "java.lang.SecurityException: Permission Denial\n"), "SecurityException"),
        ("cat", Done(1, "", "cat: x: Permission denied\n"), "does not let adb read the app's folder"),
        ("cat", Done(1, "", "cat: x: No such file or directory\n"), "does not answer: 0 seconds after its start"),
    ],
)
def test_an_app_that_cannot_be_started(phone, command, done, words):
    phone.answers[command] = done
    with pytest.raises(BackendError, match=words) as error:
        opened(phone)
    assert "\n" not in str(error.value)


def test_a_phone_that_is_lost_is_what_is_told(phone):
    lock = Lock()
    one = opened(phone, lock)
    phone.lost = "app was lost: was the cable pulled?"
    with pytest.raises(BackendError, match="was the cable pulled"):
        next(one.rounds(0, Silent(), "timing"))
    with pytest.raises(BackendError, match="was the cable pulled"):
        one.__exit__(None, None, None)
    assert lock.closed
    one.__exit__(None, None, None)  # again: nothing more
    for folder in phone.sdcard.rglob("sweeps/*"):  # the app goes by itself after a while
        shutil.rmtree(folder)


def test_a_remark_where_the_phone_cannot_be_held_at_one_speed(phone):
    phone.answers["cmd power"] = Done(255, "", "Failed to set FIXED_PERFORMANCE mode\n")
    with opened(phone) as one:
        assert any("was not held at one speed" in remark for remark in one.opening.remarks)
        assert one.opening.machine.facts["fixed performance mode"] == "off"
