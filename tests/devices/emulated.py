"""Another processor, whatever this machine has: Python under Debian's qemu-user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Haswell has AVX2, and neither VNNI nor AVX-512. OpenBLAS looks for itself, and would find what is not there.
_AVX2 = ("-cpu", "Haswell", "-E", "OPENBLAS_CORETYPE=Haswell")


def as_avx2(*arguments: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    """Run this Python with `arguments` as an x86 with AVX2 alone; what it starts itself runs natively again.

    A process takes some ten seconds to import a backend, so do much in one. Its stderr begins with qemu's warnings.
    """
    qemu = shutil.which("qemu-x86_64")
    assert qemu, "there is no qemu-x86_64: make test-devices"
    # Started as the link that it is, so that it finds its environment.
    python = [qemu, *_AVX2, "-0", sys.executable, os.path.realpath(sys.executable)]
    return subprocess.run([*python, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
