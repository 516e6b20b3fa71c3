"""`--device app:SERIAL` on a real adbd, where the app is :core on a JVM: a sweep, and everything that goes wrong.

What is started by `am` is a process of its own, whose files adb's shell reaches. Its times are nobody's.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError, Runtime
from edge_moe.benchmarks.job import image_names, write_job
from edge_moe.benchmarks.results import load
from edge_moe.benchmarks.sound import Wanted, opening_problem, round_problem, shape
from edge_moe.benchmarks.targets.adb import contact, files
from edge_moe.benchmarks.targets.app import App, session, talk
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Plan, PlannedSet, Setting
from edge_moe.bundle import Bundle
from edge_moe.preprocess import prepare
from edge_moe.progress import Silent
from tests.phone import jvm
from tests.phone.phone import Phone

pytestmark = pytest.mark.devices

MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from edge_moe.benchmarks.targets.app import talk; talk.BEAT_S, talk.SILENCE_S = 0.5, 3.0\n"
    "from edge_moe.cli import main; main()"
)
SET = "onnx/int8"
SETTINGS = (Setting(tau=0.0, max_experts=1), Setting(tau=0.3, max_experts=2))
SWEEP = (
    *("--set", SET, "--images", "2", "--validation-images", "4", "--tau", "0.3", "--max-experts", "1"),
    *("--device", "app"),
)
SILENCE_S = 4.0  # of the app


@pytest.fixture(scope="module")
def program():
    jvm.compiled()
    return jvm.program("app", silence_ms=int(1000 * SILENCE_S), beat_ms=300)


@pytest.fixture
def near(tmp_path, program, monkeypatch):
    """A phone with the app, which adb finds; everybody is in more of a hurry than usual."""
    monkeypatch.setattr(contact, "BEAT_S", 0.5)
    monkeypatch.setattr(talk, "BEAT_S", 0.5)
    monkeypatch.setattr(talk, "SILENCE_S", 3.0)
    with phone_with(program, tmp_path, monkeypatch) as phone:
        yield phone


@contextlib.contextmanager
def phone_with(app, tmp_path, monkeypatch):
    folder = tmp_path / "the-phone"
    folder.mkdir()
    with Phone(folder, app=app) as phone:
        monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", phone.host)
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
        yield phone


@pytest.fixture(scope="module")
def job(own_bundle, tiny_images, tmp_path_factory):
    """One set, two operating points, three images, three rounds, and a second without a pause."""
    bundle = Bundle(own_bundle)
    sources = sorted((tiny_images / "val").rglob("*.png"))[:3]
    order = ((*range(bundle.manifest.experts),),) * len(sources)
    planned = PlannedSet(set=SET, settings=SETTINGS, order=order, sustained=SETTINGS[1])
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        bundle="bundle",
        sets=(planned,),
        inputs="inputs.npy",
        images=image_names(sources),
        threads=1,
        rounds=3,
        cold_starts=1,
        seed=5,
        sustained_s=1,
    )
    inputs = [prepare(one, bundle.manifest.preprocessing) for one in sources]
    return write_job(tmp_path_factory.mktemp("job"), bundle, plan, inputs, sources)


def without_end(job):
    """The job with more rounds than anybody waits for."""
    plan = msgspec.structs.replace(job.plan, rounds=100_000)
    return type(job)(job.folder, plan, job.bundle)


@pytest.fixture
def bench(own_bundle, tiny_images, tmp_path):
    """bench(*more) -> the running command, whose report is in tmp_path / "report"."""

    def start(*more):
        command = ("bench", own_bundle, "--data", tiny_images, *SWEEP, "-o", tmp_path / "report", *more)
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def kept(tmp_path, process, rounds):
    """Wait until so many rounds are kept here."""
    end = time.monotonic() + 120
    while len(list((tmp_path / "report.unfinished").glob("round-*.json"))) < rounds:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)


def is_as_before(phone, wait_s=20.0):
    """Wait until nothing is left but the app."""
    end = time.monotonic() + wait_s

    def left():
        sweeps = list(phone.sweeps.iterdir()) if phone.sweeps.is_dir() else []
        return [*phone.tmp.glob("edge-moe*"), *sweeps, *phone.processes()]

    while found := left() or phone.get("fixed_performance") != "0":
        assert time.monotonic() < end, (found, phone.commands()[-5:])
        time.sleep(0.1)


def opened(job):
    return App().open(job, Silent())


# --- all is well ---


def test_a_sweep(near, bench, tmp_path):
    process = bench("--rounds", "2", "--sustained", "0.1")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    results = load(tmp_path / "report")
    opening, (one,) = results.opening, results.sets
    assert (opening.target, opening.machine.name, opening.machine.system) == ("app", "Acme Phone 1", "Android 14")
    assert "in the app" in opening.how and "exit rule in Kotlin is timed" in opening.how
    assert opening.machine.facts["SoC"] == "Acme SoC1" and opening.machine.facts["fixed performance mode"] == "on"
    assert opening.versions[SET].startswith("onnxruntime")
    assert all(part.raw and part.waking for part in one.parts) and one.points
    assert near.serial not in (tmp_path / "report/results.json").read_text()
    assert len(results.lines[0].steps["preprocessing"]["ms"]) == 2
    seen = results.lines[0].seen.facts
    assert seen["thermal status"] == "0 (none)" and seen["thermal status, before"] == "0 (none)"
    assert seen["highest clock allowed, MHz"] == 2400 and seen["in front"] is True
    (window,) = results.sustained[0].windows
    assert window.count > 0 and window.facts["in front"] is True
    is_as_before(near)
    assert near.get("fixed_performance") == "0"


def test_rounds_are_what_the_harness_takes_and_run_what_runs_in_python(near, job):
    wanted = [Wanted(SET, len(SETTINGS), frozenset(job.bundle.manifest.parts))]
    with opened(job) as one:
        assert opening_problem(one.opening, SCHEMA_VERSION) is None
        lines = list(one.rounds(0, Silent(), "timing"))
        (sustained,) = one.sustained(Silent(), "sustained")
    assert len(lines) == 3 and len({shape(line) for line in lines}) == 1
    assert all(round_problem(one.opening, wanted, line, job.plan.timed) is None for line in lines)
    assert (sustained.set, sustained.setting, len(sustained.windows)) == (SET, SETTINGS[1], 1)
    (artifacts,) = job.sets
    with Runtime(job.bundle, backend=artifacts.backend, recipe=artifacts.recipe.name) as runtime:
        for number, setting in enumerate(SETTINGS):
            runtime.tau, runtime.max_experts = setting.tau, setting.max_experts
            answers = [runtime.predict_tensor(np.ascontiguousarray(x)) for x in job.inputs]
            ran = tuple(answer.experts if answer.gate_ran else None for answer in answers)
            assert {line.sets[0].points[number].ran for line in lines} == {ran}
    is_as_before(near)


def test_a_later_round_is_that_of_an_earlier_sitting(near, job):
    with opened(job) as one:
        (line,) = one.rounds(2, Silent(), "timing")
        assert line.sets[0].points
        asked = json.loads(next(near.sweeps.glob("*/ask.json")).read_text())
    assert (asked["round"], asked["line"], asked["what"]) == (2, 2, "round")


def test_a_phone_that_is_asked_for_says_what_it_is(near):
    (one,) = App(near.serial).available()
    assert (one.what, one.usable, one.detail) == (f"app:{near.serial}", True, "Acme Phone 1, Acme SoC1")
    before = App().fingerprint()
    (near.tmp.parents[2] / "state/base.apk").write_text("another build")
    assert App().fingerprint() != before
    near.set(app=False)
    (one,) = App(near.serial).available()
    assert not one.usable and "is not installed there" in one.detail and "adb install" in one.detail


# --- it ends before its end ---


def test_stopped_by_the_person_here(near, bench, tmp_path):
    process = bench("--rounds", "100000")
    kept(tmp_path, process, 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert load(tmp_path / "report").rounds >= 2
    is_as_before(near)


def test_the_app_is_killed_and_the_same_command_goes_on(near, bench, tmp_path):
    process = bench("--rounds", "400")
    kept(tmp_path, process, 2)
    near.signal_app(signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    last = said.strip().splitlines()[-1]
    assert process.returncode == 1 and "the app on app is gone" in last and "repeat the command to go on" in last, said
    is_as_before(near)
    before = len(list((tmp_path / "report.unfinished").glob("round-*.json")))
    process = bench("--rounds", "400")
    kept(tmp_path, process, before + 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    results = load(tmp_path / "report")
    assert results.sittings == 2 and results.rounds >= before + 2
    is_as_before(near)


def test_an_app_that_hangs_is_given_up_and_ended(near, job):
    with opened(without_end(job)) as one:
        rounds = one.rounds(0, Silent(), "timing")
        next(rounds)
        near.signal_app(signal.SIGSTOP)
        with pytest.raises(BackendError, match="is gone: nothing was heard of it for 3 seconds"):
            list(rounds)
    is_as_before(near)
    with opened(job) as one:  # a new process
        next(one.rounds(0, Silent(), "timing"))


def test_the_computer_is_killed(near, bench, tmp_path, job):
    process = bench("--rounds", "100000")
    kept(tmp_path, process, 1)
    process.kill()
    process.communicate()
    is_as_before(near)
    with opened(job) as one:
        next(one.rounds(0, Silent(), "timing"))


def test_the_cable_is_pulled_and_the_app_cleans_up_alone(near, job):
    one = opened(without_end(job))
    rounds = one.rounds(0, Silent(), "timing")
    next(rounds)
    there = next(near.sweeps.iterdir()).name
    (near.tmp / "edge-moe/restore").write_text("cmd power set-fixed-performance-mode-enabled false\n")
    near.drop()
    time.sleep(SILENCE_S / 2)
    assert [found.name for found in near.sweeps.iterdir()] == [there]  # it has patience
    is_as_before(near)
    with pytest.raises(BackendError, match="was lost"):
        list(rounds)
    with pytest.raises(BackendError, match="was lost"):
        one.__exit__(None, None, None)
    near.plug()
    with opened(job) as again:
        next(again.rounds(0, Silent(), "timing"))
    is_as_before(near)


def test_the_cable_is_pulled_while_the_job_is_sent(near, job):
    near.drop_when(push=3000)
    with pytest.raises(BackendError, match="was lost"):
        opened(job)
    assert near.was_dropped()
    is_as_before(near)


# --- two at once ---


def test_another_sweep_of_the_app_is_not_disturbed_and_waited_for_no_longer_than_it_may_live(near, job, monkeypatch):
    monkeypatch.setattr(talk, "_BUSY_S", 1.0)
    with near.client() as client:
        device = client.device(near.serial)
        start = f"{talk._START} by-hand"
        device.shell(start)
        other, first = near.sweeps / "by-hand", None
        end = time.monotonic() + 30
        while first is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                first = json.loads((other / "state.json").read_text())
        assert (first["state"], first["lines"]) == ("waiting", 0)
        device.shell(start)  # the same again: nothing happens
        beat = 0
        with pytest.raises(BackendError, match="cannot be measured on now: the sweep by-hand runs in the app"):
            for _ in range(10):
                beat += 1
                (other / "ask.json").write_text(f'{{"beat":{beat},"line":0,"what":"round","round":0}}')
                opened(job)
        assert json.loads((other / "state.json").read_text())["state"] == "waiting"
    monkeypatch.setattr(talk, "_BUSY_S", 30.0)
    with opened(job) as one:  # whoever asked for the other is gone
        next(one.rounds(0, Silent(), "timing"))
    is_as_before(near)


def test_one_computer_at_a_time(near, job, monkeypatch):
    monkeypatch.setattr(contact, "_WAIT_S", 1.0)
    with opened(job), pytest.raises(BackendError, match="something is measured on app already"):
        opened(job)
    is_as_before(near)


# --- it cannot be used ---


def test_no_app(near, job):
    near.set(app=False)
    with pytest.raises(
        BackendError, match=r"org.edgemoe.demo is not installed there; build it .*: adb install"
    ) as error:
        App().check(job.sets, 1)
    assert "\n" not in str(error.value)


def test_an_app_of_another_version(tmp_path, monkeypatch, job):
    state = '{"schema_version":2,"mood":"good"}'
    script = f"while read id; do mkdir -p $0/sweeps/$id; cd $0/sweeps/$id; echo '{state}' > x; mv x state.json; done"
    with phone_with(["sh", "-c", script], tmp_path, monkeypatch) as phone:
        with pytest.raises(BackendError, match="answers by version 2, and this edge-moe asks by 1: build and install"):
            opened(job)
        is_as_before(phone)


def test_an_app_that_adb_may_not_start(near, job):
    near.set(app_may_start=False)
    with pytest.raises(BackendError, match=r"does not start a sweep of the demo app: java\.lang\.SecurityException"):
        opened(job)
    is_as_before(near)


def test_files_that_adb_may_not_read(near, job):
    near.sweeps.mkdir()
    near.sweeps.chmod(0)  # which holds for the shell, and not for the app
    with pytest.raises(BackendError, match=r"does not let adb read the app's folder .*Permission denied.*--device adb"):
        opened(job)
    near.sweeps.chmod(0o755)


def test_an_app_that_never_answers(near, job, monkeypatch):
    with opened(job) as one:
        next(one.rounds(0, Silent(), "timing"))
    monkeypatch.setattr(talk, "_START_S", 1.0)
    near.signal_app(signal.SIGSTOP)
    with pytest.raises(BackendError, match=r"does not answer: 1 seconds after its start .*unlock the phone"):
        opened(job)
    near.signal_app(signal.SIGCONT)
    is_as_before(near)


def test_a_set_that_the_app_does_not_run(near, job):
    planned = msgspec.structs.replace(job.plan.sets[0], set="litert/int8")
    plan = msgspec.structs.replace(job.plan, sets=(planned,))
    other = write_job(
        job.folder.with_name("other"), job.bundle, plan, job.inputs, [one.resolve() for one in job.images]
    )
    with pytest.raises(BackendError, match="the app on app failed: litert/int8 cannot run here: it needs the backend"):
        opened(other)
    is_as_before(near)


def test_a_full_disk_when_the_job_is_sent(near, job, monkeypatch):
    near.fill(1 << 20, "sdcard")
    with pytest.raises(BackendError, match=r"app is full: .* are free, and .* are needed; make room"):
        opened(job)
    monkeypatch.setattr(files, "_SPARE", -(1 << 40))
    near.fill(96 << 10, "sdcard")
    with pytest.raises(BackendError, match=r"app is full: .* KiB are free"):
        opened(job)
    is_as_before(near)


def test_a_disk_that_fills_while_rounds_are_written(near, job):
    with opened(without_end(job)) as one:
        rounds = one.rounds(0, Silent(), "timing")
        found = [next(rounds)]
        near.fill(4096, "sdcard")
        with pytest.raises(BackendError, match=r"failed: .* cannot be .*: No space left on device; make room"):
            found.extend(rounds)
        assert found
    near.fill(1 << 30, "sdcard")
    is_as_before(near)


def test_an_app_behind_another(near, job, monkeypatch):
    near.set(in_front=False)
    with opened(job) as one, pytest.raises(BackendError, match="was not in front while it was measured, 3 rounds in a"):
        next(one.rounds(0, Silent(), "timing"))
    is_as_before(near)
    assert session._MOST_HIDDEN == 3
