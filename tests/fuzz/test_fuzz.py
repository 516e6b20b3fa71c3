"""A few hundred mutants of every kind, in a process of its own, whose memory is measured."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz.kinds import KINDS

COUNTS = {"images": 600, "manifests": 600, "results": 120, "checkpoints": 120}


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_read_or_refused_in_one_line(kind):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", kind, "--count", str(COUNTS[kind]), "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "'read': " in done.stdout, "no mutant was let through: they are too wild to try anything"
    assert "'refused': " in done.stdout
