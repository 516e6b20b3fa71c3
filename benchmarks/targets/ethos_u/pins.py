"""What the Ethos-U tools are brought from, pinned: for the Pythons and machines that edge-moe runs on.

`pip download --no-deps --platform PLATFORM --python-version PYTHON`, and `sha256sum`, give the next pins. The versions
are those that ExecuTorch's extra `ethos-u` names. Their own requirements (an older numpy and ml_dtypes) are not
followed: they would not go with the rest, and the tools were tried with what is here (tests/devices/test_ethos_u.py).
"""

from __future__ import annotations

import platform
import sys

from edge_moe.benchmarks.fetch import Wheel

__all__ = ["TOSA_TOOLS", "VELA", "here"]


def _wheels(name: str, version: str, *rows: tuple[str, str, str, int, str]) -> dict[tuple[str, str, str], Wheel]:
    """Return (Python, system, machine) -> wheel, of rows (Python, machine, platform tag, size, SHA-256)."""
    return {
        (python, "Darwin" if tag.startswith("macosx") else "Linux", machine): Wheel(
            name=name, version=version, platform=tag, size_bytes=size, sha256=digest, python=python
        )
        for python, machine, tag, size, digest in rows
    }


# fmt: off
TOSA_TOOLS = _wheels(
    "tosa-tools",
    "2026.5.0",
    (
        "3.11",
        "arm64",
        "macosx_15_0_arm64",
        31_677_462,
        "27842d9b22b9e002399b426782c297ab932e0da455a46296e6263ee8348f5b19",
    ),
    (
        "3.11",
        "aarch64",
        "manylinux_2_28_aarch64",
        34_616_625,
        "c775fa5e8ec681b5e28e2ad914050adc40733532bb4f4a562e80cd6a58593fe5",
    ),
    (
        "3.11",
        "x86_64",
        "manylinux_2_28_x86_64",
        38_124_069,
        "db94e2d5513c210b27bc7d707479ed8a6f6db38e2daead7b0d8742d90045c9e6",
    ),
    (
        "3.12",
        "arm64",
        "macosx_15_0_arm64",
        31_677_573,
        "50aba2263e4234406bad3730610f6cade18954408e49b43f1acde1886eb34d2d",
    ),
    (
        "3.12",
        "aarch64",
        "manylinux_2_28_aarch64",
        34_616_528,
        "bcb0efc24fa00425e2518991cf872f9628ad0687022872f3c90547309344b967",
    ),
    (
        "3.12",
        "x86_64",
        "manylinux_2_28_x86_64",
        38_126_634,
        "145ad87ee4b0fb9061bec0c327d33260510fe0939452239bb349507d405bbe5a",
    ),
    (
        "3.13",
        "arm64",
        "macosx_15_0_arm64",
        31_678_075,
        "0606036a7876a101a3c5404abb53bea75fdd4503d4536cbe480f4ec6087c79db",
    ),
    (
        "3.13",
        "aarch64",
        "manylinux_2_28_aarch64",
        34_615_319,
        "39280426d531656d1815b1c94f0ccbc4d5cb893e66ceda6618b6220621ced4e8",
    ),
    (
        "3.13",
        "x86_64",
        "manylinux_2_28_x86_64",
        38_125_596,
        "418392eb7e7d884c39b6b4ce0047b9368a20b4940832c30f6640975870e826d9",
    ),
)
# fmt: off
VELA = _wheels(
    "ethos-u-vela",
    "5.1.0",
    (
        "3.11",
        "arm64",
        "macosx_11_0_arm64",
        1_819_055,
        "8a7f0cfa691d6f95b031a524c412613ee891ccc4e17cb86bde8ffac4e2b7be66",
    ),
    (
        "3.11",
        "aarch64",
        "manylinux2014_aarch64",
        1_874_443,
        "b27d01cb6e3e6b527406416e3bc13d5fffbd3c95663457af049e06c0e501500d",
    ),
    (
        "3.11",
        "x86_64",
        "manylinux2014_x86_64",
        1_987_689,
        "dbee0172b6c1aa3bc48f53fe2fe95b24da3265f836742ab93244e37c6f648276",
    ),
    (
        "3.12",
        "arm64",
        "macosx_11_0_arm64",
        1_820_160,
        "59db64f3cc35fb4be2c38d82b2a241c8e42f5a9a4d7b6f52a112d9f229e964de",
    ),
    (
        "3.12",
        "aarch64",
        "manylinux2014_aarch64",
        1_874_461,
        "24c5c5f8d046c4bf34e3ea9a22cecbdcbaf1c9010d4ccfa6b780e903e43fdc9a",
    ),
    (
        "3.12",
        "x86_64",
        "manylinux2014_x86_64",
        1_987_592,
        "030d66891de585c7ecaea2e661903872cc8505bcf0a30e7224013510472ad605",
    ),
    (
        "3.13",
        "arm64",
        "macosx_11_0_arm64",
        1_820_196,
        "5ea0ce4bf843f71a7f6054716493ff55e4557906f39d565581f8d740b56fd558",
    ),
    (
        "3.13",
        "aarch64",
        "manylinux2014_aarch64",
        1_874_003,
        "60cfdec5fb5cc7a8e8f4c1d6f3ff68ce872c8f1f20e0d6bce479dcb39e3356d2",
    ),
    (
        "3.13",
        "x86_64",
        "manylinux2014_x86_64",
        1_987_325,
        "3427c97dea913627b540d30f5a110d0dce96baf9ecb81c862d59fcc153e1f601",
    ),
)


def here(wheels: dict[tuple[str, str, str], Wheel]) -> Wheel | None:
    """Return the wheel for this Python on this machine; None where there is none."""
    python = ".".join(map(str, sys.version_info[:2]))
    return wheels.get((python, platform.system(), platform.machine()))
