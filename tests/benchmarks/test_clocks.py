"""What Linux tells of clocks and heat, from made-up files in place of /sys."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks import clocks


@pytest.fixture
def write(monkeypatch, tmp_path):
    monkeypatch.setattr(clocks, "_SYS", tmp_path)
    monkeypatch.setattr(clocks.shutil, "which", lambda name: None)

    def write(name, content):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")

    return write


def test_a_system_that_tells_nothing(write):
    assert (clocks.governor([0]), clocks.told([0, 1]), clocks.now([0, 1]), clocks.slowed_down()) == (None, {}, {}, None)
    assert (clocks.capacity(0), clocks.firmware()) == (0.0, 0)


def test_a_governor_and_the_clocks_of_the_cpus_that_are_asked_for(write):
    for cpu, (most, now) in enumerate([(1800000, 600000), (2400000, 2399999), (3000000, 3000000)]):
        write(f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_max_freq", most)
        write(f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", now)
        write(f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "schedutil")
    assert clocks.told([0, 1]) == {"CPU governor": "schedutil", "highest clock allowed, MHz": 2400}
    assert clocks.now([0, 1]) == {"clock, MHz": 2400}


def test_the_processor_s_own_temperature(write):
    zones = [("battery", 61000), ("cpu-thermal", 48123), ("soc_max", 51000), ("cpu-hot", "nonsense")]
    for number, (name, temperature) in enumerate(zones):
        write(f"class/thermal/thermal_zone{number}/type", name)
        write(f"class/thermal/thermal_zone{number}/temp", temperature)
    assert clocks.now([0]) == {"temperature, degrees Celsius": 51.0}


def test_zones_that_say_nothing_of_a_processor(write):
    write("class/thermal/thermal_zone0/type", "acpitz")
    write("class/thermal/thermal_zone0/temp", -5000)
    assert clocks.now([0]) == {"temperature, degrees Celsius": -5.0}


def test_how_fast_a_core_is(write):
    write("devices/system/cpu/cpu0/cpu_capacity", 380)
    write("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", 1800000)
    write("devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", 2400000)
    assert (clocks.capacity(0), clocks.capacity(1)) == (380.0, 2400000.0)


@pytest.mark.parametrize("content", ["50005", "0x50005"])
def test_a_raspberry_pi_says_what_slows_it_down(write, content):
    """As its firmware does: under-voltage and throttled, now and since it was started."""
    write("devices/platform/soc/soc:firmware/get_throttled", content)
    assert clocks.firmware() == 0x50005


def test_a_raspberry_pi_whose_kernel_does_not_say_it(write, monkeypatch):
    monkeypatch.setattr(clocks.shutil, "which", lambda name: f"/usr/bin/{name}")
    done = clocks.subprocess.CompletedProcess([], 0, "throttled=0x80008\n", "")
    monkeypatch.setattr(clocks.subprocess, "run", lambda command, **options: done)
    assert clocks.firmware() == 0x80008


def test_what_went_on_between_two_looks():
    weak, limits = (
        "under-voltage: the power supply of the board is too weak",
        "the firmware of the board limits its clock",
    )
    assert clocks.firmware_problems(0, 0) == []
    assert clocks.firmware_problems(0x10000, 0x10000) == []  # when it was started, not since
    assert clocks.firmware_problems(0, 0x10000) == [weak]
    assert clocks.firmware_problems(0x10000, 0x30002) == [limits]
    assert clocks.firmware_problems(0x10001, 0x10001) == [weak]
