"""`--device adb:SERIAL` on a real adbd whose shell runs an emulated Arm core: a sweep, and everything that goes wrong.

Whatever happens, nothing is left on the phone, and it is set as it was. Its times are an emulator's: nobody reads them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError, UsageError
from edge_moe.benchmarks import sustained, targets
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.results import load
from edge_moe.benchmarks.targets.adb import Adb, contact, files, session, steady
from edge_moe.benchmarks.targets.host import Host
from edge_moe.bundle import Bundle
from edge_moe.comparing import relative_error
from edge_moe.progress import Silent
from tests.fixtures import JOB
from tests.phone.conftest import client, device, phone  # noqa: F401  (fixtures)
from tests.phone.fake_server import NO_PERMISSIONS, FakeServer
from tests.phone.phone import Phone

pytestmark = pytest.mark.devices

MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edge_moe.cli import main; main()"
BUNDLE, SET = JOB / "bundle", "litert/int8"
SWEEP = (
    *("--data", "noise", "--set", SET, "--images", "2", "--validation-images", "4", "--checked-images", "2"),
    *("--tau", "0.3", "--max-experts", "1"),
)


@pytest.fixture(scope="module", autouse=True)
def set_up():
    targets.get("adb").set_up().install(Silent())


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """No contact of another test; and no golden samples, which take a while, but in the tests that are about them."""
    monkeypatch.setattr(Adb, "_contacts", {})
    monkeypatch.setattr(steady, "_LOOK_S", 0.1)
    monkeypatch.setattr(steady, "_COOLING_S", 2.0)


@pytest.fixture
def near(phone, monkeypatch):  # noqa: F811
    """The phone, which adb finds."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", phone.host)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
    return phone


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(Adb, "_check_golden", lambda self, job: None)


@pytest.fixture
def job():
    """One set, one operating point, two images, three rounds."""
    found = read_job(JOB)
    (one, _) = found.plan.sets
    one = msgspec.structs.replace(one, settings=one.settings[:1], order=one.order[:2])
    plan = msgspec.structs.replace(found.plan, sets=(one,), images=found.plan.images[:2], rounds=3, cold_starts=1)
    made = replace(found, plan=plan)
    made.__dict__["inputs"] = found.inputs[:2]
    return made


def edge_moe(*arguments, **options):
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, **options)


def is_as_before(phone):  # noqa: F811
    """Wait until it is: the phone cleans up by itself."""
    deadline = time.monotonic() + 10
    while list(phone.tmp.glob("edge-moe*")) or phone.quiet(0.1) or phone.get("fixed_performance") != "0":
        assert time.monotonic() < deadline, (list(phone.tmp.rglob("*")), phone.processes(), phone.commands()[-3:])


def measured(job, first=0):
    with Adb().open(job, Silent()) as opened:
        return opened.opening, list(opened.rounds(first, Silent(), "timing"))


# --- all is well ---


def test_a_sweep(near, tmp_path):
    """With the golden samples, a part that is asked, a cold start; and the files of another backend go over, too."""
    done = edge_moe("bench", BUNDLE, "--device", "adb", *SWEEP, "--rounds", "2", "-o", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    results = load(tmp_path / "report")
    opening, (one,) = results.opening, results.sets
    assert (opening.target, opening.machine.name, opening.machine.system) == ("adb", "Acme Phone 1", "Android 14")
    assert "not Android's" in opening.how and "asimddp" in opening.machine.processor
    assert opening.machine.facts["SoC"] == "Acme SoC1" and opening.machine.facts["fixed performance mode"] == "on"
    assert (opening.cpus, near.get("taskset")) == ((4, 5, 6, 7), "f0")  # the big cores
    assert one.agreement_there == (1.0, 1.0)
    assert all(point.routed_alike == 1.0 for point in one.points)
    assert all(part.raw and part.waking for part in one.parts) and one.cold_start_ms and one.peak_rss_bytes
    assert near.serial not in (tmp_path / "report/results.json").read_text()
    seen = results.lines[0].seen.facts
    assert seen["thermal status"] == "0 (none)" and seen["highest clock allowed, MHz"] == 2400
    assert seen["battery, degrees Celsius"] == 28.5
    is_as_before(near)


def test_what_parts_compute_there_and_what_they_cost(near):
    bundle, host = Bundle(BUNDLE), Host()
    (artifacts, *_) = bundle.manifest.sets
    x = np.concatenate(read_job(JOB).inputs)
    adb = Adb()
    found, expected = (one.outputs(bundle, artifacts, "base", x) for one in (adb, host))
    assert {name: relative_error(found[name], expected[name]) < 0.01 for name in expected} == dict.fromkeys(
        expected, True
    )
    files = {artifacts.key: {name: bundle.path / one.file for name, one in artifacts.parts.items()}}
    prices = adb.price(files, bundle.manifest.parts, {"base": x}, 1, Silent())
    assert {part: len(rows[0]) for part, rows in prices.samples[artifacts.key].items()} == dict.fromkeys(
        files[artifacts.key], 4
    )
    is_as_before(near)


def test_without_a_pause(near, job, quick, monkeypatch):
    monkeypatch.setattr(sustained, "WINDOW_S", 1.0)
    (planned,) = job.plan.sets
    planned = msgspec.structs.replace(planned, sustained=planned.settings[0])
    near.set(thermal=2)  # it neither waits nor discards
    with Adb().open(
        replace(job, plan=msgspec.structs.replace(job.plan, sets=(planned,), sustained_s=3)), Silent()
    ) as one:
        (found,) = one.sustained(Silent(), "sustained")
    assert [window.start_s for window in found.windows] == [0.0, 1.0, 2.0]
    assert all(window.median > 0 and window.count > 0 for window in found.windows)
    assert found.windows[0].facts["thermal status"] == "2 (moderate)"


def test_energy_where_it_can_be_read(near, job, quick):
    near.set(powered=False)
    near.write("sys/class/power_supply/battery/current_now", -400000)
    near.write("sys/class/power_supply/battery/voltage_now", 4000000)
    opening, (line, *_) = measured(job)
    assert [unit.name for unit in opening.units] == ["ms", "millijoules"]
    assert opening.provenance == {"millijoules": "estimated"}
    base = line.sets[0].parts["base"]
    np.testing.assert_allclose(base["millijoules"], np.array(base["ms"]) * 1.6, rtol=1e-3, atol=2e-4)


def test_nothing_reads_on_when_a_run_with_energy_is_cut(near, job, quick):
    near.set(powered=False)
    near.write("sys/class/power_supply/battery/current_now", -400000)
    near.write("sys/class/power_supply/battery/voltage_now", 4000000)
    with losing(job) as opened:
        near.drop_when(command="current_now", after_s=0.3)
        lost(lambda: list(opened.rounds(0, Silent(), "timing")))
        is_as_before(near)


def test_no_energy_where_the_voltage_cannot_be_read(near, job, quick):
    near.set(powered=False)
    near.write("sys/class/power_supply/battery/current_now", -400000)
    near.deny("sys/class/power_supply/battery/voltage_now")
    assert [unit.name for unit in measured(job)[0].units] == ["ms"]


def test_no_energy_from_a_charged_phone(near, job, quick):
    near.write("sys/class/power_supply/battery/current_now", -400000)
    near.write("sys/class/power_supply/battery/voltage_now", 4000000)
    assert [unit.name for unit in measured(job)[0].units] == ["ms"]


# --- warm ---


def test_a_warm_phone_is_waited_for(near, job, quick):
    near.set(thermal=1)
    with (
        Adb().open(job, Silent()) as opened,
        pytest.raises(BackendError, match=r"stays warm: thermal status 1 \(light\)"),
    ):
        next(opened.rounds(0, Silent(), "timing"))
    is_as_before(near)


@pytest.mark.parametrize("what", ["thermal", "clock"])
def test_a_round_in_which_it_was_held_back_is_discarded(near, job, quick, what, monkeypatch):
    whole, times = session.AdbSession._round, []

    def round(self, number):
        found = whole(self, number)
        times.append(number)
        if len(times) == 2:
            near.set(thermal=0)  # cool again, at the old clock
            near.write("sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq", 2400000)
        if len(times) == 1 and what == "clock":
            near.write("sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq", 800000)
        if len(times) == 1 and what == "thermal":
            near.set(thermal=1)
        return found

    def cool(self, progress):
        if what == "thermal":
            near.set(thermal=0)
        return steady.state(self._phone)

    monkeypatch.setattr(session.AdbSession, "_round", round)
    monkeypatch.setattr(steady.Steady, "_cool", cool)
    _, lines = measured(job)
    discarded = [line.seen.facts["rounds discarded before"] for line in lines]
    assert discarded == ([2, 0, 0] if what == "clock" else [1, 0, 0])
    assert times == [0] * (discarded[0] + 1) + [1, 2]


def test_one_that_never_keeps_its_speed(near, job, quick, monkeypatch):
    monkeypatch.setattr(steady, "_MOST_DISCARDED", 2)
    whole, clocks = session.AdbSession._round, iter([800000, 1600000])

    def round(self, number):
        near.write("sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq", next(clocks))
        return whole(self, number)

    monkeypatch.setattr(session.AdbSession, "_round", round)
    with (
        Adb().open(job, Silent()) as opened,
        pytest.raises(BackendError, match="does not keep its speed: 2 rounds in a row"),
    ):
        next(opened.rounds(0, Silent(), "timing"))
    is_as_before(near)


def test_an_old_android_and_one_that_forbids(near, job, quick):
    near.set(thermal_service=False, permission=False)
    opening, lines = measured(job)
    assert any("tells no thermal status" in remark for remark in opening.remarks)
    assert any("was not held at one speed" in remark and "SecurityException" in remark for remark in opening.remarks)
    assert len(lines) == 3
    is_as_before(near)


# --- the cable ---


def lost(what, words="was lost"):
    with pytest.raises(BackendError, match=words) as error:
        what()
    assert "\n" not in str(error.value)


@contextmanager
def losing(job):
    """A session whose phone is gone when it is to be closed."""
    opened = Adb().open(job, Silent())
    yield opened
    with pytest.raises(BackendError, match="was lost before it was cleaned up; it cleans up by itself"):
        opened.__exit__(None, None, None)


def test_pulled_in_the_middle_of_a_push(near, job, quick):
    near.drop_when(push=1 << 20)
    lost(lambda: Adb().open(job, Silent()))
    assert near.was_dropped()
    is_as_before(near)


def test_pulled_in_the_middle_of_a_run_and_gone_on_with(near, tmp_path):
    command = ("bench", BUNDLE, "--device", "adb", *SWEEP, "--rounds", "30", "-o", tmp_path / "report")
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    journal, end = tmp_path / "report.unfinished", time.monotonic() + 120
    while not (journal / "round-0001.json").is_file():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    near.drop_when(command="exec taskset", after_s=0.2)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in said) == (1, False), said
    assert "was lost" in said.strip().splitlines()[-1] and "repeat the command to go on" in said
    is_as_before(near)  # by itself: nobody is there
    near.plug()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while len(list(journal.glob("round-*.json"))) < 5:
        assert process.poll() is None and time.monotonic() < end + 120
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    results = load(tmp_path / "report")
    assert results.sittings == 2 and 5 <= results.rounds < 30
    is_as_before(near)


def test_pulled_in_the_middle_of_a_pull(near, job, quick):
    near.drop_when(pull=100)
    lost(lambda: measured(job))
    assert near.was_dropped()
    is_as_before(near)


def test_gone_from_usb(near, job, quick):
    with losing(job) as opened:
        near.drop(listed=False)
        lost(lambda: list(opened.rounds(0, Silent(), "timing")), "not connected any more, was the cable pulled")
        is_as_before(near)


def test_out_of_reach_of_the_radio(near, job, quick, monkeypatch):
    """Nothing passes, and nothing ends: the keeper hears nothing."""
    monkeypatch.setattr(contact, "SILENCE_S", 2.0)
    monkeypatch.setattr(contact, "BEAT_S", 0.5)
    opened = Adb().open(job, Silent())
    assert near.get("fixed_performance") == "1" and list(near.tmp.iterdir())
    time.sleep(3)
    assert near.get("fixed_performance") == "1"  # as long as it hears from us
    near.freeze()
    is_as_before(near)
    with pytest.raises(BackendError, match="was lost"):  # nobody waits for ever
        list(opened.rounds(0, Silent(), "timing"))
    near.thaw()
    with contextlib.suppress(BackendError):
        opened.__exit__(None, None, None)


def test_killed_in_the_middle(near, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "bench", BUNDLE, "--device", "adb", *SWEEP, "-o", tmp_path / "report"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not list(near.tmp.glob("edge-moe/running")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    is_as_before(near)


def test_the_server_is_killed(near, job, quick):
    with losing(job) as opened:
        near.kill_server()
        lost(lambda: list(opened.rounds(0, Silent(), "timing")), "adb's server is gone")
        is_as_before(near)


def test_what_a_phone_without_power_left_goes_at_the_next_contact(near, job, quick):
    there = near.tmp / "edge-moe"
    there.mkdir()
    (there / "restore").write_text("cmd power set-fixed-performance-mode-enabled false\n")
    (there / "keeper").write_text("999999\n")
    near.set(fixed_performance=True)
    measured(job)
    is_as_before(near)


def test_one_at_a_time(near, job, quick, monkeypatch):
    monkeypatch.setattr(contact, "_WAIT_S", 1.0)
    with Adb().open(job, Silent()):
        monkeypatch.setattr(Adb, "_contacts", {})
        with pytest.raises(BackendError, match="something is measured on adb already"):
            Adb().open(job, Silent())
    is_as_before(near)


# --- it cannot be used ---


def test_a_full_disk(near, job, quick):
    near.fill(1 << 20)
    with pytest.raises(BackendError, match=r"adb is full: .* are free, and .* are needed; make room"):
        Adb().open(job, Silent())
    is_as_before(near)


def test_a_disk_that_fills_meanwhile(near, job, quick, monkeypatch):
    monkeypatch.setattr(files, "_SPARE", -(1 << 40))
    near.fill(3 << 20)
    with pytest.raises(BackendError, match=r"adb is full: .* KiB are free, and a file has"):
        Adb().open(job, Silent())
    is_as_before(near)


def test_another_processor(tmp_path, monkeypatch, job):
    with Phone(tmp_path, abi="x86_64") as phone:  # noqa: F811
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
        with pytest.raises(BackendError, match="it runs programs for x86_64; expected arm64-v8a"):
            Adb().check(job.sets, 1)


def test_two_phones(near, job):
    near.connect("127.0.0.2:5555")
    with pytest.raises(UsageError, match=r"adb is one of several: name it, adb:127.0.0.1:5555 or adb:127.0.0.2:5555"):
        Adb().check(job.sets, 1)
    Adb("127.0.0.2:5555").check(job.sets, 1)
    done = edge_moe("verify", BUNDLE, "--device", "adb", env={**os.environ})
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"X1": "unauthorized"}, "it does not trust this computer yet: unlock it, and confirm"),
        ({"X1": "offline"}, "it is offline: pull the cable and plug it in again"),
        ({"X1": NO_PERMISSIONS}, "this computer may not use its USB port"),
        ({}, "no phone is connected; switch on 'USB debugging'"),
    ],
)
def test_one_that_is_not_ready(monkeypatch, there, words, job):
    with FakeServer(there) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        with pytest.raises(BackendError, match=words):
            Adb().check(job.sets, 1)


def test_a_phone_that_is_asked_for_says_what_it_is(near):
    (one, *others) = Adb(near.serial).available()
    assert (one.what, one.usable, one.detail) == (f"adb:{near.serial}", True, "Acme Phone 1, Acme SoC1")
    assert [other.what for other in others] == ["adb, litert", "adb, onnx", "adb, executorch"]
    near.forget()
    (one,) = Adb(near.serial).available()
    assert not one.usable and "does not trust this computer" in one.detail


def test_one_of_another_name(near, job):
    with pytest.raises(BackendError, match=r"adb:X9 is not connected \(connected: 127.0.0.1:5555\)"):
        Adb("X9").check(job.sets, 1)


def test_one_whose_owner_does_not_trust_us_any_more(near, job, quick):
    with losing(job) as opened:
        near.forget()
        lost(lambda: list(opened.rounds(0, Silent(), "timing")), "was lost: it does not trust this computer yet")
    near.confirm()
    is_as_before(near)
