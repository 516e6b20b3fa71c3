"""A board with an Arm core: behind sshd a Python of Debian for AArch64, emulated. Answers are real, times are not."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from edge_moe.benchmarks import fetch
from edge_moe.benchmarks.fetch import Deb
from edge_moe.benchmarks.targets.arm.set_up import EMULATOR, ROOT

CORE = "cortex-a76"
_DEBS = (
    Deb(
        path="debian/pool/main/p/python3.11/python3.11-minimal_3.11.2-6%2bdeb12u8_arm64.deb",
        size_bytes=1861304,
        sha256="6a07dd571f1a15af2f855d64571766fe44b73a57cc3b5ca79502bc89156a5e12",
        files=(),
    ),
    Deb(
        path="debian/pool/main/p/python3.11/libpython3.11-minimal_3.11.2-6%2bdeb12u8_arm64.deb",
        size_bytes=810796,
        sha256="c48bac178c0fc43a2bf8ace784c762b5ee83e2b981894a991dc3ccfd3ec7cd4b",
        files=(),
    ),
    Deb(
        path="debian/pool/main/p/python3.11/libpython3.11-stdlib_3.11.2-6%2bdeb12u8_arm64.deb",
        size_bytes=1749796,
        sha256="e79876de55c6c2dca10d044b2fa69ccd863950ea01714220c1982d16008105f9",
        files=(),
    ),
    Deb(
        path="debian/pool/main/z/zlib/zlib1g_1.2.13.dfsg-1_arm64.deb",
        size_bytes=82744,
        sha256="52b8b8a145bbe1956bba82034f77022cbef0c3d0885c9e32d9817a7932fe1913",
        files=(),
    ),
    Deb(
        path="debian/pool/main/libf/libffi/libffi8_3.4.4-1_arm64.deb",
        size_bytes=20492,
        sha256="80b5c36177dc0e29d531c7eddbed3cc7355cb490e49f8cfa5959572d161f27b3",
        files=(),
    ),
    Deb(
        path="debian/pool/main/e/expat/libexpat1_2.5.0-1%2bdeb12u2_arm64.deb",
        size_bytes=86280,
        sha256="8dc1976735acf825e3a922d82f171e20feec7394da2b8c616091983e38706275",
        files=(),
    ),
)
# Python looks for itself by the name that it was started by, and starts others by it.
_PYTHON = """#!/bin/sh
emulator={emulator}
exec $emulator/ld-linux-x86-64.so.2 --library-path $emulator $emulator/qemu-aarch64 -cpu {core} -L {root} \
  -E LD_LIBRARY_PATH={libraries} -0 {folder}/usr/bin/python3 {folder}/usr/bin/python3.11 "$@"
"""
_SHELL = """#!/bin/sh
PATH={folder}/usr/bin:$PATH
eval "$SSH_ORIGINAL_COMMAND"
"""


def make(folder: Path, emulator: Path) -> Path:
    """Make the board in an empty folder; `emulator`: the set-up of arm. Return what sshd runs for every command."""
    for deb in _DEBS:
        with tarfile.open(fileobj=io.BytesIO(fetch._data(deb.fetch()))) as archive:
            archive.extractall(folder, filter="tar")
    root = folder / "root"
    shutil.copytree(emulator / ROOT / CORE, root, symlinks=False)
    words = {"folder": folder, "emulator": emulator / EMULATOR, "root": root, "core": CORE}
    words["libraries"] = f"{folder}/lib/aarch64-linux-gnu:{folder}/usr/lib/aarch64-linux-gnu"
    for name, text in (("usr/bin/python3", _PYTHON), ("shell", _SHELL)):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text.format(**words))
        (folder / name).chmod(0o755)
    return folder / "shell"
