"""What else ran while it was measured: by hand on made-up clocks, and once for real."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

from edge_moe.benchmarks import clocks, machine, watch
from edge_moe.benchmarks.conditions import judge
from edge_moe.benchmarks.watch import Watch

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
    monkeypatch.setattr(clocks, "_SYS", tmp_path)
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        watch, "time", SimpleNamespace(perf_counter=lambda: clock.wall, process_time=lambda: clock.process)
    )
    times = lambda: SimpleNamespace(children_user=clock.user, children_system=clock.system)  # noqa: E731
    monkeypatch.setattr(watch, "os", SimpleNamespace(times=times, cpu_count=lambda: 3))
    monkeypatch.setattr(psutil, "cpu_times", clock.cpu_times)
    monkeypatch.setattr(watch, "_probe_ms", lambda: 5.0)
    return clock


def test_what_others_took_is_what_we_and_our_children_did_not(clock):
    look = Watch((0, 2))
    clock.wall += 10
    clock.spend(0, user=6, idle=4, guest=3)  # a guest's seconds are among the user's
    clock.spend(1, user=10)  # not measured on
    clock.spend(2, user=1, system=1, steal=2, idle=5, iowait=1)
    clock.process, clock.user, clock.system = clock.process + 5, clock.user + 1, clock.system + 1.5
    seen = look.round()
    assert (seen.elapsed_s, seen.probe_ms, seen.throttled) == (20.0, 5.0, None)
    assert seen.others_s == pytest.approx(6 + 4 - 7.5)


def test_a_round_is_what_happened_since_the_last(clock):
    look = Watch((0,))
    clock.wall += 4
    clock.spend(0, user=4)
    assert look.round().others_s == 4.0
    clock.wall += 2
    clock.spend(0, user=2)
    clock.process += 2
    second = look.round()
    assert (second.elapsed_s, second.others_s) == (2.0, 0.0)


def test_our_work_on_other_cpus_is_nobody_s_loss(clock):
    look = Watch((0,))
    clock.wall += 1
    clock.process += 3
    assert look.round().others_s == 0.0


def test_not_pinned_means_all_cpus(clock):
    look = Watch(None)
    clock.wall += 1
    for cpu in range(3):
        clock.spend(cpu, user=0.5, idle=0.5)
    seen = look.round()
    assert (seen.elapsed_s, seen.others_s) == (3.0, 1.5)


def test_a_system_that_does_not_tell_of_its_cpus(clock):
    clock.tells = False
    look = Watch((0,))
    clock.wall += 1
    seen = look.round()
    assert (seen.others_s, seen.throttled) == (None, None)
    found = judge([seen, seen])
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
    assert clocks.slowed_down() == 12
    look = Watch((0,))
    assert look.round().throttled == 0
    throttle(sys_folder, cpu1=6)
    (sys_folder / group).write_text("nr_throttled 6\n")
    assert look.round().throttled == 3
    assert look.round().throttled == 0


def test_counters_that_come_late_count_nothing(clock, sys_folder):
    look = Watch((0,))
    throttle(sys_folder, cpu0=1000)
    assert look.round().throttled is None
    throttle(sys_folder, cpu0=1001)
    assert look.round().throttled == 1


def test_the_probe_is_the_fastest_of_its_repeats(monkeypatch):
    took = [0.4, 0.3, 0.25, 0.5, 0.6, 0.35, 0.9, 0.4, 0.45]
    ticks = iter(time for i, one in enumerate(took) for time in (10.0 * i, 10.0 * i + one))
    monkeypatch.setattr(watch, "_PROBE_REPEATS", len(took))
    monkeypatch.setattr(watch, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert watch._probe_ms() == pytest.approx(250)


def test_a_process_beside_us_is_noticed(monkeypatch):
    monkeypatch.setattr(machine, "_LOOK_S", 0.01)
    with machine.pinned(1) as cpus:
        program = "print(flush=True)\nwhile True: pass"
        child = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE)
        try:
            child.stdout.readline()
            look = Watch(cpus)
            time.sleep(0.6)
            found = look.round()
        finally:
            child.kill()
            child.communicate()
    assert found.others_s > 0.3
    assert found.probe_ms > 0
    if cpus:
        assert "busy" in judge([found]).remarks[0]


def test_the_load_is_asked_for_after_the_round(clock, monkeypatch):
    monkeypatch.setattr(watch, "load_average", lambda: 1.25)
    assert Watch((0,)).round().load == 1.25
