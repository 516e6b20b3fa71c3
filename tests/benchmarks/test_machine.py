"""What machine this is, and which of its CPUs are measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil
import pytest

from edge_moe.benchmarks import clocks, machine

pins = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no system call for it here")


def test_this_machine():
    found = machine.this_machine()
    assert found.logical_cpus == os.cpu_count()
    assert found.name and found.processor.startswith(found.name)
    assert found.system == f"{platform.system()} {platform.machine()}"
    assert found.memory_bytes == psutil.virtual_memory().total
    assert found.processor


def test_a_system_that_does_not_tell_its_load(monkeypatch):
    def unknown():
        raise OSError

    monkeypatch.setattr("os.getloadavg", unknown)
    assert machine.load_average() is None


def test_the_load_of_the_last_minute(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 2.5, 3.5))
    assert machine.load_average() == 1.5


@pins
def test_this_process_and_its_children_are_pinned_until_the_block_ends(monkeypatch):
    monkeypatch.setattr(machine, "_LOOK_S", 0.01)
    before = os.sched_getaffinity(0)
    with machine.pinned(1) as cpus:
        assert len(cpus) == 1
        assert set(cpus) == os.sched_getaffinity(0) <= before
        program = "import os; print(*os.sched_getaffinity(0))"
        child = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
        assert child.stdout.split() == [str(cpus[0])]
    assert os.sched_getaffinity(0) == before


class System:
    """Four CPUs, two a core: 0 and 2, 1 and 3."""

    def __init__(self):
        self.allowed, self.busy, self.calls, self.forbids = {0, 1, 2, 3}, [0.0] * 4, [], False

    def set(self, pid, cpus):
        if self.forbids:
            raise PermissionError
        self.calls.append(set(cpus))


@pytest.fixture
def system(monkeypatch, tmp_path):
    system = System()
    for cpu in range(4):
        (tmp_path / f"cpu{cpu}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}/topology/thread_siblings_list").write_text("0,2\n" if cpu in (0, 2) else "1,3\n")
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    system.sizes = [0.0] * 8
    monkeypatch.setattr(clocks, "capacity", lambda cpu: system.sizes[cpu])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: system.allowed, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", system.set, raising=False)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: system.busy)
    return system


@pytest.mark.parametrize(
    ("busy", "threads", "expected"),
    [
        ([0, 0, 0, 0], 1, (3,)),  # interrupts go to the first by habit
        ([90, 3, 80, 70], 1, (1,)),
        ([90, 90, 5, 95], 1, (2,)),
        ([0, 90, 1, 95], 2, (0, 1)),  # 2 is idler than 1, but shares a core with 0
        ([10, 90, 5, 0], 2, (2, 3)),
        ([0, 90, 1, 95], 3, (0, 1, 2)),
        ([0, 90, 1, 95], 4, (0, 1, 2, 3)),
    ],
)
def test_the_idlest_cpus_one_a_core(system, busy, threads, expected):
    system.busy = busy
    with machine.pinned(threads) as cpus:
        assert cpus == expected
        assert system.calls == [set(expected)]
    assert system.calls == [set(expected), {0, 1, 2, 3}]


@pytest.mark.parametrize(("threads", "expected"), [(1, (0,)), (2, (0, 1)), (3, (0, 1, 2))])
def test_big_cores_first_however_busy(system, threads, expected):
    system.busy, system.sizes = [50, 60, 0, 10], [1000.0, 1024.0, 300.0, 300.0]
    with machine.pinned(threads) as cpus:
        assert cpus == expected


def test_only_cpus_that_this_process_may_use(system):
    system.allowed, system.busy = {1, 2}, [0, 50, 60, 0]
    with machine.pinned(1) as cpus:
        assert cpus == (1,)
    assert system.calls == [{1}, {1, 2}]


def test_a_cpu_that_came_online_since_is_taken_for_idle(system):
    system.allowed, system.busy = {0, 7}, [50.0]
    with machine.pinned(1) as cpus:
        assert cpus == (7,)


def test_an_error_inside_restores_as_well(system):
    with pytest.raises(KeyboardInterrupt), machine.pinned(1):
        raise KeyboardInterrupt
    assert system.calls == [{3}, {0, 1, 2, 3}]


def test_more_threads_than_cpus_are_left_alone(system):
    with machine.pinned(5) as cpus:
        assert cpus is None
    assert system.calls == []


def test_a_sandbox_that_forbids_it(system):
    system.forbids = True
    with machine.pinned(1) as cpus:
        assert cpus is None
    with pytest.raises(KeyError), machine.pinned(1):
        raise KeyError


def test_a_system_without_affinity(system, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity")
    with machine.pinned(1) as cpus:
        assert cpus is None
    assert system.calls == []
