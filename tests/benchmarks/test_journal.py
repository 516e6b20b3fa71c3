"""What an unfinished run keeps, and when it lets it go."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_moe import OutputError
from edge_moe.benchmarks.conditions import Seen
from edge_moe.benchmarks.journal import Journal, journal_path
from edge_moe.benchmarks.results import StoredTrace
from edge_moe.benchmarks.targets import Round, SetRound
from edge_moe.trace import Trace
from tests.cli.conftest import small_disk
from tests.tiny import tree

KEY = {"bundle": "birds", "options": (1, 2.5, None)}

ROUND = Round(
    sets=(
        SetRound(
            parts={"base": (0.1, 0.2), "gate": (0.0,)},
            points=((0.1234, 5.0), (1e-4, 7.25)),
            cold_start_ms=221.5,
            peak_rss_bytes=1 << 33,
        ),
        SetRound(parts={"base": (3.0,)}, points=None, cold_start_ms=None, peak_rss_bytes=None),
    ),
    peers=((1.0, 2.0), None),
    limits=((14.8125,),),
    seen=Seen(elapsed_s=1.5, others_s=None, probe_ms=2.25, throttled=0),
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "report"


def test_it_lies_beside_its_target(target, tmp_path):
    journal = Journal(target, KEY, force=False)
    journal.put("round-0000", ROUND)
    assert journal.folder == journal_path(target) == tmp_path / "report.unfinished"
    assert sorted(tree(tmp_path)) == [
        "report.unfinished",
        "report.unfinished/round-0000.json",
        "report.unfinished/run.json",
    ]


def test_a_round_comes_back_as_it_was(target):
    Journal(target, KEY, force=False).put("round-0000", ROUND)
    assert Journal(target, KEY, force=False).get("round-0000", Round) == ROUND


def test_a_trace_comes_back_to_the_last_bit(target):
    draw = np.random.default_rng(0)
    phi = draw.random((50, 4)).astype(np.float32)
    trace = Trace(phi[:, 0], phi[:, 1:], draw.integers(9, size=(50, 4)).astype(np.int32))
    Journal(target, KEY, force=False).put("trace", StoredTrace.of(trace))
    found = Journal(target, KEY, force=False).get("trace", StoredTrace).restored()
    for name in ("max_phi", "gate", "answers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(trace, name), strict=True)


def test_sittings_are_counted(target):
    assert [Journal(target, KEY, force=force).sittings for force in (False, True, False)] == [1, 2, 3]


def test_the_order_in_which_a_key_was_written_does_not_matter(target):
    Journal(target, {"a": 1, "b": (2,)}, force=False)
    assert Journal(target, {"b": [2], "a": 1}, force=False).sittings == 2


def test_another_key_is_refused(target, tmp_path):
    Journal(target, KEY, force=False).put("round-0000", ROUND)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"report.unfinished holds a run with other settings .* or add --force"):
        Journal(target, KEY | {"options": ()}, force=False)
    assert tree(tmp_path) == before


def test_another_key_by_force_drops_what_was_there(target):
    Journal(target, KEY, force=False).put("round-0000", ROUND)
    journal = Journal(target, KEY | {"options": ()}, force=True)
    assert (journal.sittings, journal.get("round-0000", Round)) == (1, None)
    with pytest.raises(OutputError):
        Journal(target, KEY, force=False)


@pytest.mark.parametrize("damage", ["", "{", "not JSON", '{"sets": 3}', "[]"])
def test_what_cannot_be_read_is_not_there(target, damage):
    journal = Journal(target, KEY, force=False)
    journal.put("round-0000", ROUND)
    (journal.folder / "round-0000.json").write_text(damage)
    (journal.folder / ".round-0001.json.77").write_bytes(msgspec.json.encode(ROUND))  # not renamed: half written
    assert journal.get("round-0000", Round) is None
    assert journal.get("round-0001", Round) is None


def test_a_folder_whose_key_cannot_be_read_is_another_s(target):
    (Journal(target, KEY, force=False).folder / "run.json").write_text("{")
    with pytest.raises(OutputError, match="other settings"):
        Journal(target, KEY, force=False)
    assert Journal(target, KEY, force=True).sittings == 1


def test_a_folder_of_somebody_else_is_left_alone(target):
    folder = target.with_name("report.unfinished")
    folder.mkdir(parents=True)
    assert Journal(target, KEY, force=False).sittings == 1  # empty: as a kill between two steps leaves it
    (folder / "run.json").unlink()
    (folder / "chapter.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(OutputError, match="files that edge-moe did not write"):
            Journal(target, KEY, force=force)
    assert (folder / "chapter.txt").read_text() == "years of work"


def test_a_full_disk_leaves_what_was_kept(target):
    journal = Journal(target, KEY, force=False)
    journal.put("round-0000", ROUND)
    before = tree(journal.folder)
    with small_disk(100), pytest.raises(OutputError, match=r"cannot write .*round-0001"):
        journal.put("round-0001", ROUND)
    assert tree(journal.folder) == before


def test_dropped_where_nothing_was_found_yet(target, tmp_path):
    journal = Journal(target, KEY, force=False)
    journal.drop_if_empty()
    assert tree(tmp_path) == {}
    journal.drop_if_empty()  # once more does no harm
    journal.put("trace", 1)
    journal.drop_if_empty()
    assert journal.get("trace", int) == 1


def test_dropped_when_the_report_stands(target, tmp_path):
    journal = Journal(target, KEY, force=False)
    journal.put("round-0000", ROUND)
    (journal.folder / "stock").mkdir()
    journal.drop()
    assert tree(tmp_path) == {}
    journal.drop()
