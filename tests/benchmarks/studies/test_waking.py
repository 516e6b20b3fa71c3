"""What waking costs, on a small bundle: every way is measured, and what is opened is counted."""

from __future__ import annotations

import sys

import pytest

from edge_moe.benchmarks.studies import waking
from edge_moe.memory import private_bytes
from edge_moe.progress import Silent

pytest.importorskip("ai_edge_litert")


def test_openings_are_of_every_expert_in_three_ways(tiny_bundle, tmp_path):
    found = waking.openings(tiny_bundle, tmp_path / "weights", 2, Silent())
    assert len(found) == 3
    assert all(0 < one.p10 <= one.median <= one.p90 for one in found.values())
    assert list((tmp_path / "weights").iterdir())


@pytest.mark.skipif(private_bytes() is None, reason="the system does not tell")
def test_memory_is_of_a_process_of_its_own(tiny_bundle, tmp_path):
    assert waking.memory(tiny_bundle, 2, 5, None, tmp_path / "weights") >= 0
    assert waking.memory(tiny_bundle, 1, 1, 10 << 20, None) >= 0


def test_grouped_opens_every_expert_once(tiny_bundle, monkeypatch):
    monkeypatch.setattr(waking, "_ROOM", 1)
    monkeypatch.setattr("edge_moe.cache.private_bytes", lambda: None)  # the budget is of what files tell
    monkeypatch.setattr(waking, "_TAU", 0.0)  # this network is trained, and sure
    found = waking.policies(tiny_bundle, 60, 1, Silent())
    assert found["grouped"].openings == 2  # of two
    assert found["arrival"].openings > 6
    assert all(one.expected > 0 and one.ratio > 0.3 for one in found.values())


def test_the_command(tiny_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(waking, "bundle_of", lambda *_: tiny_bundle)
    monkeypatch.setattr(waking, "_EXPERTS", 2)
    monkeypatch.setattr(waking, "_IMAGES", 20)
    monkeypatch.setattr(sys, "argv", ["waking", "-o", str(tmp_path), "--rounds", "1"])
    waking.main()
    out = capsys.readouterr().out
    assert (tmp_path / "waking.md").read_text() in out
    assert out.count("\n| mapped") == 5
    assert (tmp_path / "waking.json").is_file()
