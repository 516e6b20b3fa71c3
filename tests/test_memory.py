"""Memory that this process alone holds: what is allocated is seen, and where nothing is told nothing is made up."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from edge_moe import memory
from edge_moe.memory import give_back, private_bytes


@pytest.mark.skipif(private_bytes() is None, reason="the system does not tell")
def test_what_is_written_to_is_held() -> None:
    before = private_bytes()
    held = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # of nothing that was freed before
    held.write(b"x" * (32 << 20))
    after = private_bytes()
    assert before is not None and after is not None
    assert 30 << 20 < after - before < 40 << 20
    held.close()
    give_back()
    assert (private_bytes() or 0) < after - (20 << 20)


@pytest.mark.parametrize("text", [None, "nothing of the kind\n"])
def test_where_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    if text is not None:
        (tmp_path / "smaps").write_text(text)
    monkeypatch.setattr(memory, "_SMAPS", tmp_path / "smaps")
    assert private_bytes() is None


def test_swapped_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smaps").write_text("Private_Clean:  7 kB\nPrivate_Dirty:  100 kB\nSwapPss:  20 kB\nSwap:  30 kB\n")
    monkeypatch.setattr(memory, "_SMAPS", tmp_path / "smaps")
    assert private_bytes() == 120 * 1024


def test_a_c_library_that_cannot_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    memory._trim.cache_clear()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    give_back()
    memory._trim.cache_clear()
