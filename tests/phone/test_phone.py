"""The phone of the tests is what it says it is, and shows each fault as a real one does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import adbutils
import pytest

from tests.phone.conftest import left
from tests.phone.phone import ROOT

pytestmark = pytest.mark.devices

TMP, PARTIAL = "/data/local/tmp", 3 << 20


def sh(device, command, timeout=10):
    """Return exit code, stdout and stderr."""
    done = device.shell2(command, v2=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def test_it_is_a_phone(phone, client, device, tmp_path):
    (listed,) = client.list(extended=True)
    assert (listed.serial, listed.state, listed.tags["model"]) == (phone.serial, "device", "Phone_1")
    assert "shell_v2" in device.get_features()
    assert sh(device, "id -un; echo $0; echo out; echo err >&2; exit 7") == (7, "shell\n/bin/sh\nout\n", "err\n")
    assert sh(device, "no-such-command")[0] == 127
    assert sh(device, "kill -9 $$")[0] == 128 + 9
    data = bytes(range(256)) * 4000
    assert device.sync.push(data, f"{TMP}/some folder/file", 0o755) == len(data)
    assert (phone.tmp / "some folder/file").read_bytes() == data
    assert device.sync.pull(f"{TMP}/some folder/file", tmp_path / "back") == len(data)
    assert (tmp_path / "back").read_bytes() == data
    # adbd gives to everybody what it gives to the owner.
    assert sh(device, f"cd '{TMP}/some folder'; stat -c '%s %a' file; rm file; ls")[1] == f"{len(data)} 777\n"
    assert sh(device, "touch /x")[0] == 1 and sh(device, "echo 1 > /sys/devices/system/cpu/online")[0] == 1
    assert phone.commands()[-1] == "echo 1 > /sys/devices/system/cpu/online" and not phone.quiet()


def test_it_has_eight_cores_and_says_how_it_is(phone, device):
    cpu = "/sys/devices/system/cpu"
    rates = f"cat {cpu}/cpu3/cpufreq/cpuinfo_max_freq {cpu}/cpu4/cpufreq/cpuinfo_max_freq {cpu}/possible"
    assert sh(device, rates)[1].split() == ["1800000", "2400000", "0-7"]
    assert device.shell("grep -c 'CPU part.*0xd0b' /proc/cpuinfo; grep -c 'CPU part.*0xd05' /proc/cpuinfo") == "4\n4"
    phone.write("sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq", 800000)
    phone.deny("sys/class/thermal/thermal_zone0/temp")
    assert device.shell(f"cat {cpu}/cpu7/cpufreq/scaling_cur_freq") == "800000"
    assert "Permission denied" in sh(device, "cat /sys/class/thermal/thermal_zone0/temp")[2]
    assert device.shell("getprop ro.product.model; getprop ro.product.cpu.abi; getprop none") == "Phone 1\narm64-v8a"
    assert sh(device, "taskset f0 echo on big cores")[:2] == (0, "on big cores\n") and phone.get("taskset") == "f0"
    assert sh(device, "taskset f00 echo")[0] == 1
    assert "Thermal Status: 0\n" in sh(device, "dumpsys thermalservice")[1]
    phone.set(thermal=3, skin_c=44.1, battery_c=39.5, level=7)
    assert "Thermal Status: 3\n" in sh(device, "dumpsys thermalservice")[1]
    assert "mValue=44.1, mType=3, mName=skin, mStatus=3" in device.shell("dumpsys thermalservice")
    assert {"  level: 7", "  temperature: 395"} <= set(device.shell("dumpsys battery").splitlines())
    phone.set(thermal_service=False)
    assert sh(device, "dumpsys thermalservice")[::2] == (1, "Can't find service: thermalservice\n")


def test_it_can_be_held_at_one_speed(phone, device):
    command = "cmd power set-fixed-performance-mode-enabled"
    assert sh(device, f"{command} true") == (0, "", "") and phone.get("fixed_performance") == "1"
    assert sh(device, f"{command} false") == (0, "", "") and phone.get("fixed_performance") == "0"
    phone.set(fixed_performance_supported=False)
    assert sh(device, f"{command} true")[0] == 255
    phone.set(permission=False)
    assert "SecurityException" in sh(device, f"{command} true")[2] and phone.get("fixed_performance") == "0"
    assert device.shell("settings get global x; settings put global x 3; settings get global x") == "null\n3"
    assert sh(device, "svc power stayon usb")[0] == 0 and phone.get("stayon") == "usb"


def test_the_cable_is_pulled(phone, client, device, tmp_path):
    big = bytes(8 << 20)
    phone.drop_when(push=PARTIAL)
    with pytest.raises((adbutils.AdbError, OSError)):  # what says it first: the answer, or the socket
        device.sync.push(big, f"{TMP}/big")
    assert phone.was_dropped() and not list(phone.tmp.iterdir())  # adbd removes what is not whole
    assert [one.state for one in client.list()] == ["offline"]
    with pytest.raises(adbutils.AdbError, match="device offline"):
        device.shell("echo")
    phone.plug()
    assert device.sync.push(big, f"{TMP}/big") == len(big)
    phone.drop_when(pull=PARTIAL)
    with pytest.raises(adbutils.AdbError, match="read chunk missing"):
        device.sync.pull(f"{TMP}/big", tmp_path / "back")
    assert 0 < (tmp_path / "back").stat().st_size < len(big)
    phone.drop(listed=False)
    assert not client.list()
    with pytest.raises(adbutils.AdbError, match="not found"):
        device.shell("echo")
    phone.plug()
    assert [one.state for one in client.list()] == ["device"] and device.shell("echo again") == "again"


def test_a_command_hangs_up_with_the_cable_and_what_left_its_session_lives_on(phone, device):
    lives = "setsid sh -c 'sleep 1; echo > lived' < /dev/null > /dev/null 2>&1"
    waits = "echo > ready; while true; do /system/bin/sleep 0.1; done"
    command = f"cd {TMP}; trap 'echo > hup; exit' HUP; {lives} & {waits}"

    def pull():
        """Not before the shell has its trap: one that is only beginning hears nothing of it."""
        while not (phone.tmp / "ready").exists():
            time.sleep(0.05)
        phone.drop()

    cable = threading.Thread(target=pull)
    cable.start()
    with pytest.raises(EOFError):
        sh(device, command, timeout=60)
    cable.join()
    assert phone.quiet() == []
    assert {one.name for one in phone.tmp.iterdir()} == {"hup", "lived", "ready"}
    phone.plug()
    with pytest.raises(adbutils.AdbTimeout):
        sh(device, "sleep 60", timeout=0.3)
    assert phone.quiet() == []  # whoever closes the connection ends the command
    phone.freeze()
    with pytest.raises(adbutils.AdbTimeout):
        sh(device, "echo", timeout=0.3)
    phone.thaw()
    assert device.shell("echo again") == "again"


def test_the_disk_is_full(phone, device):
    phone.fill(1 << 20)
    with pytest.raises(adbutils.AdbError, match="FAIL"):
        device.sync.push(bytes(2 << 20), f"{TMP}/big")
    assert not (phone.tmp / "big").exists()
    assert "No space left on device" in sh(device, f"head -c 2000000 /dev/zero > {TMP}/big")[2]
    phone.fill(8 << 20)
    assert device.sync.push(bytes(2 << 20), f"{TMP}/big") == 2 << 20


def test_the_server_is_killed(phone, client, device):
    phone.kill_server()
    with pytest.raises(adbutils.errors.AdbConnectionError, match="cannot be started"):
        client.list()
    phone.start_server()
    assert device.shell("echo again") == "again"
    client.server_kill()
    time.sleep(0.2)
    with pytest.raises(adbutils.errors.AdbConnectionError, match="cannot be started"):
        device.shell("echo")


def test_there_are_two_of_it_or_its_owner_has_not_confirmed(phone, client, device):
    phone.connect("127.0.0.2:5555")
    with pytest.raises(adbutils.AdbError, match="more than one device"):
        client.device()
    client.disconnect("127.0.0.2:5555")
    phone.forget()
    assert [one.state for one in client.list()] == ["unauthorized"]
    with pytest.raises(adbutils.AdbError, match=r"device unauthorized\."):
        device.shell("echo")
    phone.confirm()
    assert device.shell("echo again") == "again"


def test_it_ends_with_a_test_that_is_killed(tmp_path):
    lines = (
        f"from pathlib import Path\nfrom tests.phone.phone import Phone\nwith Phone(Path({str(tmp_path)!r})) as phone:"
    )
    lines += "\n    print(phone.tmp, flush=True)\n    import os\n    os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 5
    while left(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert done.returncode == -9 and not left(tmp_path) and not Path(done.stdout.strip()).exists()
