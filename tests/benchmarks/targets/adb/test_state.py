"""What a phone tells of itself, from what commands of its shell print."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.targets.adb.phone import Done
from edge_moe.benchmarks.targets.adb.state import Identity, State, identity, state, thermal_words, watts

CPU = "/sys/devices/system/cpu/cpu"
THERMAL = """IsStatusOverride: false
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=99.0, mType=3, mName=old, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=41.25, mType=3, mName=skin, mStatus=1}
\tTemperature{mValue=0.0, mType=0, mName=broken, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=cpu}
"""
BATTERY = "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: 71\n  temperature: 305\n"
CPUS = f"""{CPU}0/cpu_capacity:290
{CPU}0/cpufreq/cpuinfo_max_freq:1800000
{CPU}0/cpufreq/scaling_max_freq:1800000
{CPU}6/cpu_capacity:1000
{CPU}6/cpufreq/scaling_max_freq:2400000
{CPU}7/cpu_capacity:1024
{CPU}7/cpufreq/cpuinfo_max_freq:2800000
{CPU}7/cpufreq/scaling_max_freq:2200000
{CPU}7/cpufreq/scaling_cur_freq:2100000
{CPU}7/cpufreq/scaling_governor:sched_pixel
"""


class Telling:
    """A phone whose commands print what is given."""

    def __init__(self, *answers):
        self.answers = answers

    def run(self, command):
        return Done(0, "@@\n".join(self.answers), "")

    def shell(self, command):
        return "@@\n".join(self.answers)


def told(
    thermal=THERMAL, battery=BATTERY, power="  mWakefulness=Awake\n", cpus=CPUS, current="-212000\n4000000\n"
) -> State:
    return state(Telling(thermal, battery, power, cpus, current))


def test_a_phone_that_tells_everything():
    found = told()
    assert (found.thermal, found.level, found.powered, found.wakefulness) == (1, 71, True, "Awake")
    assert found.temperatures == {"skin": 41.25, "battery": 30.5}
    assert found.watts == pytest.approx(0.848)
    assert found.biggest == (6, 7)  # within a tenth of each other
    assert found.cpus[7] == (1024.0, 2200000, 2100000, "sched_pixel")
    assert found.facts((6, 7)) == {
        "thermal status": "1 (light)",
        "battery, percent": 71,
        "clock, MHz": 2100,
        "highest clock allowed, MHz": 2400,
        "battery, degrees Celsius": 30.5,
        "skin, degrees Celsius": 41.25,
    }


def test_a_phone_that_tells_nothing():
    found = told("Can't find service\n", "", "", "", "")
    assert (found.thermal, found.level, found.powered, found.watts) == (None, None, None, None)
    assert (found.biggest, found.facts((0,)), found.holds_back((0,))) == ((0,), {}, (None, None))


def test_what_android_remembers_where_the_hardware_says_nothing():
    assert told(
        "Thermal Status: 0\nCached temperatures:\n Temperature{mValue=33, mType=3, mName=skin}\n"
    ).temperatures == {
        "skin": 33.0,
        "battery": 30.5,
    }


def test_cores_by_their_clock_where_no_capacity_is_told():
    clocks = "".join(f"{CPU}{one}/cpufreq/cpuinfo_max_freq:{rate}\n" for one, rate in enumerate([1800000, 2800000]))
    assert told(cpus=clocks).biggest == (1,)


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        ("500000\n4000000\n", 2.0),
        ("-500000\n4000000\n", 2.0),  # some count what goes out
        ("-212000\n", None),  # without a voltage
        ("-212\n4000000\n", None),  # in milliamperes: no phone needs so little
        ("cat: denied\n", None),
    ],
)
def test_what_a_battery_gives(current, expected):
    assert told(current=current).watts == (None if expected is None else pytest.approx(expected))


def test_readings_of_a_battery_are_averaged_and_broken_ones_left_out():
    assert watts(["-400000 4000000", "-600000 4000000", "600", "", "-4 x"]) == pytest.approx(2.0)
    assert watts([]) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, True),
        ({"thermal": THERMAL.replace("Status: 1", "Status: 2")}, False),
        ({"cpus": CPUS.replace("scaling_max_freq:2200000", "scaling_max_freq:1900000")}, False),
        ({"cpus": CPUS.replace("scaling_cur_freq:2100000", "scaling_cur_freq:600000")}, True),  # it rests
        ({"cpus": CPUS.replace("cpu0/cpufreq/scaling_max_freq:1800000", "cpu0/cpufreq/scaling_max_freq:1")}, True),
        ({"battery": BATTERY.replace("71", "70")}, True),
        ({"battery": BATTERY.replace("USB powered: true", "USB powered: false")}, False),
    ],
)
def test_what_holds_a_phone_back(other, same):
    assert (told().holds_back((6, 7)) == told(**other).holds_back((6, 7))) is same


def test_what_it_is():
    properties = "ro.product.manufacturer=Google\nro.product.model=Pixel 8\nro.soc.model=Tensor=G3\nro.hardware=zuma\n"
    found = identity(Telling(properties, "Features : asimddp\n", "MemTotal:        7700000 kB\n", "6.1\n"))
    assert (found.model, found.soc, found.kernel, found.memory_bytes) == (
        "Google Pixel 8",
        "Tensor=G3",
        "6.1",
        7884800000,
    )


@pytest.mark.parametrize(
    ("properties", "model", "soc"),
    [
        (
            {"ro.product.manufacturer": "OnePlus", "ro.product.model": "ONEPLUS A6003", "ro.hardware": "qcom"},
            "ONEPLUS A6003",
            "qcom",
        ),
        ({}, "", ""),
    ],
)
def test_what_an_older_one_is(properties, model, soc):
    found = Identity(properties, "", None, "")
    assert (found.model, found.soc) == (model, soc)


def test_a_status_that_android_does_not_have_yet():
    assert (thermal_words(3), thermal_words(9)) == ("3 (severe)", "9")
