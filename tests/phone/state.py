"""What the phone is like, as files that its commands read: values of /state, and what lies over /sys and /proc."""

from __future__ import annotations

import os
from pathlib import Path

# Name -> what it is until `Phone.set`. A value is a text file of this name in /state; True and False are 1 and 0.
VALUES: dict[str, object] = {
    "thermal": 0,  # PowerManager.THERMAL_STATUS_*: 0 none ... 3 severe ... 6 shutdown
    "skin_c": 31.5,
    "battery_c": 28.5,
    "level": 85,
    "powered": True,  # by USB
    "charging": False,
    "permission": True,  # of the shell, to change how the device performs
    "fixed_performance_supported": True,
    "fixed_performance": False,
    "thermal_service": True,  # Android 10 and later have it
    "stayon": "false",
    "screen": "ON",
    "app": False,  # whether the demo app is installed
    "app_may_start": True,  # by adb's shell
    "in_front": True,  # the demo app
}
PROPERTIES = {
    "ro.build.fingerprint": "acme/phone/phone:14/UP1A.231005.007/1:user/release-keys",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Phone 1",
    "ro.product.name": "phone",
    "ro.product.device": "phone",
    "ro.soc.manufacturer": "Acme",
    "ro.soc.model": "SoC1",
    "ro.hardware": "soc1",
    "sys.boot_completed": "1",
}
LITTLE, BIG = range(4), range(4, 8)
# cluster -> MIDR part, variant, revision, kHz, capacity; parts as in Arm's TRMs of Cortex-A55 and Cortex-A76
_CORES = {
    LITTLE: ("0xd05", "0x2", 0, (500000, 1000000, 1800000), 290),
    BIG: ("0xd0b", "0x4", 1, (800000, 1600000, 2400000), 1024),
}
_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_ZONES = {"skin-therm": 31500, "cpu-0-0": 38200, "battery": 28500}


def write(folder: Path, abi: str, properties: dict[str, str]) -> None:
    """Write everything as it is at first into `folder`."""
    for name, value in VALUES.items():
        put(folder / name, value)
    for name, value in {**PROPERTIES, "ro.product.cpu.abi": abi, "ro.product.cpu.abilist": abi, **properties}.items():
        put(folder / "properties" / name, value)
    (folder / "settings").mkdir()
    (folder / "intents").mkdir()
    put(folder / "base.apk", "the demo app")
    _system(folder / "sys")
    lines = [_processor(number) for number in range(8)]
    put(folder / "proc/cpuinfo", "".join(lines).rstrip("\n"))


def put(file: Path, value: object) -> None:
    """Replace a file at once by `value`, with an end of line; those of /sys are read-only."""
    text = str(int(value)) if isinstance(value, bool) else str(value)
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.half")
    half.write_text(f"{text}\n")
    half.chmod(0o444 if "sys" in file.parts else 0o644)
    half.replace(file)


def _core(number: int) -> tuple[str, str, int, tuple[int, ...], int]:
    return next(core for cluster, core in _CORES.items() if number in cluster)


def _processor(number: int) -> str:
    part, variant, revision, *_ = _core(number)
    return (
        f"processor\t: {number}\nBogoMIPS\t: 38.40\nFeatures\t: {_FEATURES}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: {revision}\n\n"
    )


def _system(folder: Path) -> None:
    cpus = folder / "devices/system/cpu"
    for name in ("possible", "present", "online"):
        put(cpus / name, "0-7")
    put(cpus / "offline", "")
    for cluster, (*_, steps, capacity) in _CORES.items():
        policy = cpus / f"cpufreq/policy{cluster[0]}"
        named = {
            "related_cpus": " ".join(map(str, cluster)),
            "affected_cpus": " ".join(map(str, cluster)),
            "cpuinfo_min_freq": steps[0],
            "cpuinfo_max_freq": steps[-1],
            "scaling_min_freq": steps[0],
            "scaling_max_freq": steps[-1],
            "scaling_cur_freq": steps[-1],
            "scaling_available_frequencies": " ".join(map(str, steps)),
            "scaling_governor": "schedutil",
            "scaling_available_governors": "performance schedutil powersave",
        }
        for name, value in named.items():
            put(policy / name, value)
        for number in cluster:
            put(cpus / f"cpu{number}/cpu_capacity", capacity)
            (cpus / f"cpu{number}/cpufreq").symlink_to(os.path.relpath(policy, cpus / f"cpu{number}"))
    for number, (name, temperature) in enumerate(_ZONES.items()):
        put(folder / f"class/thermal/thermal_zone{number}/type", name)
        put(folder / f"class/thermal/thermal_zone{number}/temp", temperature)
    for name, value in {"capacity": 85, "status": "Discharging", "temp": 285, "voltage_now": 4100000}.items():
        put(folder / "class/power_supply/battery" / name, value)
