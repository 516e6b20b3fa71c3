"""The Arm cores that are emulated, and what a program finds in the system's files when it looks where it is."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CORES", "Core"]


class Core(NamedTuple):
    """One core, as QEMU knows it by its name, and as Linux shows it."""

    words: str
    part: str  # MIDR_EL1's part number, Arm's own: Arm Cortex-A76 TRM 100798, B2.94; Cortex-A53 TRM DDI 0500, 4.3.1
    variant: str
    revision: int
    features: str  # what the kernel calls HWCAPs

    @property
    def system_files(self) -> dict[str, str]:
        """File -> content. A library that counts cores or looks for instructions reads these; one core is there."""
        return {
            "proc/cpuinfo": (
                f"processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
                f"CPU architecture: 8\nCPU variant\t: {self.variant}\nCPU part\t: {self.part}\n"
                f"CPU revision\t: {self.revision}\n\n"
            ),
            "sys/devices/system/cpu/possible": "0\n",
            "sys/devices/system/cpu/present": "0\n",
            "sys/devices/system/cpu/online": "0\n",
        }


_BASIC = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
CORES = {
    "cortex-a76": Core(
        words="Cortex-A76: out of order, with the dot product instructions (Armv8.2)",
        part="0xd0b",
        variant="0x4",
        revision=1,
        features=f"{_BASIC} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
    "cortex-a53": Core(
        words="Cortex-A53: in order, without dot product instructions (Armv8.0)",
        part="0xd03",
        variant="0x0",
        revision=4,
        features=f"{_BASIC} cpuid",
    ),
}
