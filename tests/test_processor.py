"""What the system tells of its processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_moe.processor import this_processor


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name : A chip\nflags : fpu avx2 avx512_vnni sse\n", ("A chip", "A chip (avx2, avx512_vnni)")),
        ("model name\t: A chip\nflags\t: fpu\n", ("A chip", "A chip")),
        ("processor : 0\nFeatures : fp asimd asimddp i8mm\nModel : A board\n", ("A board", "A board (asimddp, i8mm)")),
    ],
)
def test_processors(monkeypatch, cpuinfo, expected):
    monkeypatch.setattr(Path, "read_text", lambda self: cpuinfo)
    found = this_processor()
    assert (found.name, found.title) == expected


def test_a_system_without_cpuinfo(monkeypatch):
    def missing(self):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert this_processor() == ("arm64", frozenset())
