from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from edge_moe.benchmarks import host


def test_this_host():
    found = host.describe(0.25)
    assert (found.load_before, found.logical_cpus) == (0.25, os.cpu_count())
    assert found.memory_bytes == psutil.virtual_memory().total
    assert found.load_after is None or found.load_after >= 0
    assert found.processor


def test_a_system_that_does_not_tell_its_load(monkeypatch):
    def unknown():
        raise OSError

    monkeypatch.setattr("os.getloadavg", unknown)
    assert host.load_average() is None
    assert host.describe(None).load_after is None


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name : A chip\nflags : fpu avx2 avx512_vnni sse\n", "A chip (avx2, avx512_vnni)"),
        ("model name\t: A chip\nflags\t: fpu\n", "A chip"),
        ("processor : 0\nFeatures : fp asimd asimddp i8mm\nModel : A board\n", "A board (asimddp, i8mm)"),
    ],
)
def test_processors(monkeypatch, cpuinfo, expected):
    monkeypatch.setattr(Path, "read_text", lambda self: cpuinfo)
    assert host._processor() == expected


def test_a_system_without_cpuinfo(monkeypatch):
    def missing(self):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert host._processor() == "arm64"
