"""What else ran while it was measured: by hand on made-up clocks, and once for real."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

from edge_moe.benchmarks import conditions, machine
from edge_moe.benchmarks.conditions import Seen, Watch, judge

Cpu = namedtuple("Cpu", "user nice system idle iowait irq softirq steal guest guest_nice", defaults=(0.0,) * 10)


class Clock:
    """All clocks of a system with three CPUs."""

    def __init__(self):
        self.wall, self.process, self.user, self.system = 100.0, 7.0, 1.0, 2.0
        self.cpus = [Cpu(user=50.0, idle=50.0)] * 3
        self.tells = True

    def cpu_times(self, percpu):
        if not self.tells:
            raise PermissionError
        return self.cpus

    def spend(self, cpu, **seconds):
        old = self.cpus[cpu]
        self.cpus = [*self.cpus]
        self.cpus[cpu] = old._replace(**{name: getattr(old, name) + value for name, value in seconds.items()})


@pytest.fixture(autouse=True)
def sys_folder(monkeypatch, tmp_path):
    """In place of /sys; empty."""
    monkeypatch.setattr(conditions, "_SYS", tmp_path)
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        conditions, "time", SimpleNamespace(perf_counter=lambda: clock.wall, process_time=lambda: clock.process)
    )
    times = lambda: SimpleNamespace(children_user=clock.user, children_system=clock.system)  # noqa: E731
    monkeypatch.setattr(conditions, "os", SimpleNamespace(times=times, cpu_count=lambda: 3))
    monkeypatch.setattr(psutil, "cpu_times", clock.cpu_times)
    monkeypatch.setattr(conditions, "_probe_ms", lambda: 5.0)
    return clock


def test_what_others_took_is_what_we_and_our_children_did_not(clock):
    watch = Watch((0, 2))
    clock.wall += 10
    clock.spend(0, user=6, idle=4, guest=3)  # a guest's seconds are among the user's
    clock.spend(1, user=10)  # not measured on
    clock.spend(2, user=1, system=1, steal=2, idle=5, iowait=1)
    clock.process, clock.user, clock.system = clock.process + 5, clock.user + 1, clock.system + 1.5
    seen = watch.round()
    assert (seen.elapsed_s, seen.probe_ms, seen.throttled) == (20.0, 5.0, None)
    assert seen.others_s == pytest.approx(6 + 4 - 7.5)


def test_a_round_is_what_happened_since_the_last(clock):
    watch = Watch((0,))
    clock.wall += 4
    clock.spend(0, user=4)
    assert watch.round().others_s == 4.0
    clock.wall += 2
    clock.spend(0, user=2)
    clock.process += 2
    second = watch.round()
    assert (second.elapsed_s, second.others_s) == (2.0, 0.0)


def test_our_work_on_other_cpus_is_nobody_s_loss(clock):
    watch = Watch((0,))
    clock.wall += 1
    clock.process += 3
    assert watch.round().others_s == 0.0


def test_not_pinned_means_all_cpus(clock):
    watch = Watch(None)
    clock.wall += 1
    for cpu in range(3):
        clock.spend(cpu, user=0.5, idle=0.5)
    seen = watch.round()
    assert (seen.elapsed_s, seen.others_s) == (3.0, 1.5)


def test_a_system_that_does_not_tell_of_its_cpus(clock):
    clock.tells = False
    watch = Watch((0,))
    clock.wall += 1
    seen = watch.round()
    assert (seen.others_s, seen.throttled) == (None, None)
    found = judge([seen, seen], (0,), None)
    assert found.others_share is None
    assert found.remarks == ()


def throttle(root, **counts):
    for cpu, count in counts.items():
        (root / f"devices/system/cpu/{cpu}/thermal_throttle").mkdir(parents=True, exist_ok=True)
        (root / f"devices/system/cpu/{cpu}/thermal_throttle/core_throttle_count").write_text(f"{count}\n")


@pytest.mark.parametrize("group", ["fs/cgroup/cpu.stat", "fs/cgroup/cpu/cpu.stat"])
def test_throttling_is_counted_from_round_to_round(clock, sys_folder, group):
    throttle(sys_folder, cpu0=3, cpu1=4, cpu2="nonsense")
    (sys_folder / group).parent.mkdir(parents=True)
    (sys_folder / group).write_text("usage_usec 77\nnr_periods 9\nnr_throttled 5\nthrottled_usec 1234\n")
    assert conditions._throttled() == 12
    watch = Watch((0,))
    assert watch.round().throttled == 0
    throttle(sys_folder, cpu1=6)
    (sys_folder / group).write_text("nr_throttled 6\n")
    assert watch.round().throttled == 3
    assert watch.round().throttled == 0


def test_counters_that_come_late_count_nothing(clock, sys_folder):
    watch = Watch((0,))
    throttle(sys_folder, cpu0=1000)
    assert watch.round().throttled is None
    throttle(sys_folder, cpu0=1001)
    assert watch.round().throttled == 1


def test_the_probe_is_the_fastest_of_its_repeats(monkeypatch):
    took = [0.4, 0.3, 0.25, 0.5, 0.6, 0.35, 0.9, 0.4, 0.45]
    ticks = iter(time for i, one in enumerate(took) for time in (10.0 * i, 10.0 * i + one))
    monkeypatch.setattr(conditions, "_PROBE_REPEATS", len(took))
    monkeypatch.setattr(conditions, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert conditions._probe_ms() == pytest.approx(250)


def seen(elapsed=10.0, others=0.0, probe=5.0, throttled=None):
    return Seen(elapsed_s=elapsed, others_s=others, probe_ms=probe, throttled=throttled)


def test_a_quiet_machine():
    found = judge([seen(others=0.4, throttled=0), seen(others=0.6, probe=5.49, throttled=0)], (1,), 0.25)
    assert (found.cpus, found.load_before, found.probe, found.throttled) == ((1,), 0.25, (5.0, 5.49), 0)
    assert found.others_share == pytest.approx(0.05)
    assert found.remarks == ()
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ([seen(others=0.2), seen(others=2.8)], "busy: other work took 15% of the CPUs that were measured on; stop it"),
        ([seen(others=99.0)], "busy: other work took 100%"),
        ([seen(probe=5.0), seen(probe=6.0), seen(probe=5.5)], "unsteady: the same computation took 20% longer"),
        ([seen(throttled=2), seen(throttled=None), seen(throttled=5)], "slowed the work down 7 times"),
    ],
    ids=["busy", "very busy", "unsteady", "throttled"],
)
def test_remarks(rounds, words):
    found = judge(rounds, None, None)
    (remark,) = found.remarks
    assert words in remark
    assert found.remarks


def test_a_governor_that_saves_power(sys_folder):
    (sys_folder / "devices/system/cpu/cpu0/cpufreq").mkdir(parents=True)
    governor = sys_folder / "devices/system/cpu/cpu0/cpufreq/scaling_governor"
    governor.write_text("powersave\n")
    assert [remark for remark in judge([seen()], None, None).remarks if "'powersave'; set 'performance'" in remark]
    governor.write_text("performance\n")
    assert judge([seen()], None, None).remarks == ()


def test_everything_at_once_is_a_remark_each():
    found = judge([seen(others=5.0), seen(probe=50.0, throttled=1)], None, None)
    assert [remark.split(":")[0] for remark in found.remarks] == ["busy", "unsteady", "throttled"]


def test_no_rounds_and_no_time():
    for rounds in ([], [seen(elapsed=0.0, probe=0.0)]):
        found = judge(rounds, None, None)
        assert (found.others_share, found.throttled, found.remarks) == (None, None, ())


def test_the_load_is_asked_for_at_the_end(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 0.0, 0.0))
    assert judge([seen()], None, 0.5).load_after == 1.25


def test_a_process_beside_us_is_noticed(monkeypatch):
    monkeypatch.setattr(machine, "_LOOK_S", 0.01)
    with machine.pinned(1) as cpus:
        program = "print(flush=True)\nwhile True: pass"
        child = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE)
        try:
            child.stdout.readline()
            watch = Watch(cpus)
            time.sleep(0.6)
            found = watch.round()
        finally:
            child.kill()
            child.communicate()
    assert found.others_s > 0.3
    assert found.probe_ms > 0
    if cpus:
        assert "busy" in judge([found], cpus, None).remarks[0]
