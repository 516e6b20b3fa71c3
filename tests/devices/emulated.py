"""Another processor, whatever this machine has: Python under Debian's qemu-user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# An x86 with AVX2 and no VNNI; and one that is older, without fused multiply-add, so that floats round otherwise.
PROCESSORS = {"avx2": "Haswell", "avx": "SandyBridge"}


def run_as(processor: str, *arguments: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    """Run this Python with `arguments` as one of PROCESSORS; what it starts itself runs natively again.

    A process takes some ten seconds to import a backend, so do much in one. Its stderr begins with qemu's warnings.
    """
    qemu = shutil.which("qemu-x86_64")
    assert qemu, "there is no qemu-x86_64: make test-devices"
    cpu = PROCESSORS[processor]
    # OpenBLAS looks for itself, and would find what is not there. Python is started as the link that it is, so that it
    # finds its environment.
    options = ("-cpu", cpu, "-E", f"OPENBLAS_CORETYPE={cpu}", "-0", sys.executable)
    command = [qemu, *options, os.path.realpath(sys.executable), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
