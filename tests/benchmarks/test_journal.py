"""What an unfinished run keeps, and when it lets it go."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_moe import OutputError
from edge_moe.benchmarks.journal import journal, journal_path
from edge_moe.benchmarks.recorded import StoredTrace
from edge_moe.benchmarks.wire import PointRound, Round, Seen, SetRound
from edge_moe.trace import Trace
from tests.cli.conftest import small_disk
from tests.tiny import tree

KEY = {"bundle": "birds", "options": (1, 2.5, None), "seed": 0}

ROUND = Round(
    sets=(
        SetRound(
            parts={"base": {"ms": (0.1, 0.2)}, "gate": {"ms": (0.0,), "cycles": (7.0,)}},
            points=(
                PointRound(costs={"ms": (0.1234, 5.0)}, ran=(None, (0, 2))),
                PointRound(costs={"ms": (1e-4, 7.25)}, ran=((), (1,))),
            ),
            waking={"base": {"ms": (12.5,)}},
            cold_start_ms=221.5,
            peak_rss_bytes=1 << 33,
        ),
        SetRound(parts={"base": {"ms": (3.0,)}}),
    ),
    steps={"preprocessing": {"ms": (0.2, 0.25)}},
    peers=({"ms": (1.0, 2.0)}, None),
    limits_ms=((14.8125,),),
    seen=Seen(elapsed_s=1.5, probe_ms=2.25, throttled=0, facts={"skin": 31.5}),
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "report"


def left(target, name="round-0000", value=ROUND, key=KEY):
    """What a killed run leaves."""
    with journal(target, key) as kept:
        kept.put(name, value)
    return kept.folder


def test_it_lies_beside_its_target(target, tmp_path):
    folder = left(target)
    assert folder == journal_path(target) == tmp_path / "report.unfinished"
    assert sorted(tree(tmp_path)) == [
        "report.unfinished",
        "report.unfinished/.edge-moe",
        "report.unfinished/.edge-moe/mark.json",
        "report.unfinished/.edge-moe/round-0000.json.entry",
        "report.unfinished/round-0000.json",
    ]


def test_a_round_comes_back_as_it_was(target):
    left(target)
    with journal(target, KEY) as kept:
        assert kept.get("round-0000", Round) == ROUND


def test_a_trace_comes_back_to_the_last_bit(target):
    draw = np.random.default_rng(0)
    phi = draw.random((50, 4)).astype(np.float32)
    answers = draw.integers(9, size=(50, 7)).astype(np.int32)
    trace = Trace(phi[:, 0], phi[:, 1:], answers[:, :4], answers[:, 4:], *phi.T[:3])
    left(target, "trace", StoredTrace.of(trace))
    with journal(target, KEY) as kept:
        found = kept.get("trace", StoredTrace).restored()
    for name in vars(trace):
        np.testing.assert_array_equal(getattr(found, name), getattr(trace, name), strict=True)


def test_sittings_are_counted(target):
    for number in (1, 2, 3):
        with journal(target, KEY, force=number == 2) as kept:
            kept.put("trace", 1)
            assert kept.sittings == number


def test_the_order_in_which_a_key_was_written_does_not_matter(target):
    left(target, key={"a": 1, "b": (2,)})
    with journal(target, {"b": [2], "a": 1}) as kept:
        assert kept.sittings == 2


@pytest.mark.parametrize("force", [False, True])
def test_another_key_is_refused(target, tmp_path, force):
    left(target)
    before = tree(tmp_path)
    words = (
        r"report.unfinished holds an unfinished run of 'edge-moe bench' with other settings \(seed was 0, now 1\); re"
    )
    with pytest.raises(OutputError, match=words), journal(target, KEY | {"seed": 1}, force=force):
        pass
    assert tree(tmp_path) == before


@pytest.mark.parametrize("damage", ["", "{", "not JSON", '{"sets": 3}', "[]"])
def test_what_is_not_what_was_written_is_not_there(target, damage):
    folder = left(target)
    (folder / "round-0000.json").write_text(damage)
    (folder / ".round-0001.json.77").write_bytes(msgspec.json.encode(ROUND))  # not renamed: half written
    with journal(target, KEY) as kept:
        assert kept.get("round-0000", Round) is None
        assert kept.get("round-0001", Round) is None


@pytest.mark.parametrize(
    "change",
    [
        {"points": ROUND.sets[0].points[:1]},  # a dropped point
        {"points": (PointRound(costs={"ms": (9.1, 5.0)}, ran=(None, (0, 2))), ROUND.sets[0].points[1])},
        {"parts": {"base": {"ms": (0.1, 0.2)}}},
    ],
)
def test_another_round_that_reads_well_is_not_believed(target, caplog, change):
    folder = left(target)
    first = msgspec.structs.replace(ROUND.sets[0], **change)
    other = msgspec.structs.replace(ROUND, sets=(first, ROUND.sets[1]))
    (folder / "round-0000.json").write_bytes(msgspec.json.encode(other))
    caplog.set_level("INFO", "edge_moe")
    with journal(target, KEY) as kept:
        assert kept.get("round-0000", Round) is None
    (line,) = caplog.messages
    assert line.startswith(f"round-0000.json in {folder} has ")
    assert line.endswith(": it is made anew")


def test_what_does_not_fit_is_not_there(target, caplog):
    left(target)
    caplog.set_level("INFO", "edge_moe")
    with journal(target, KEY) as kept:
        assert kept.get("round-0000", Round, lambda one: len(one.sets) == 3) is None
        assert kept.get("round-0000", Round) is None
    assert caplog.messages == [f"round-0000.json in {kept.folder} is not of this measurement: it is made anew"]


def test_a_folder_whose_mark_cannot_be_read_is_refused(target):
    (left(target) / ".edge-moe/mark.json").write_text("{")
    with (
        pytest.raises(OutputError, match=r"mark.json is damaged, so nobody knows whose .* rm -r"),
        journal(target, KEY),
    ):
        pass


def test_a_folder_of_somebody_else_is_left_alone(target):
    folder = target.with_name("report.unfinished")
    folder.mkdir(parents=True)
    with journal(target, KEY) as kept:
        assert kept.sittings == 1  # empty: as a kill between two steps leaves it
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    for force in (False, True):
        with (
            pytest.raises(OutputError, match=r"files that edge-moe did not write \(chapter.txt\)"),
            journal(target, KEY, force=force),
        ):
            pass
    assert (folder / "chapter.txt").read_text() == "years of work"


def test_the_last_release_s_rounds_are_left_alone(target):
    folder = target.with_name("report.unfinished")
    folder.mkdir()
    (folder / "run.json").write_text('["sha", 1]')
    (folder / "round-0000.json").write_bytes(msgspec.json.encode(ROUND))
    before = tree(folder)
    with pytest.raises(OutputError, match="unfinished measurement of an older edge-moe"), journal(target, KEY):
        pass
    assert tree(folder) == before


def test_a_full_disk_leaves_what_was_kept(target):
    with journal(target, KEY) as kept:
        kept.put("round-0000", ROUND)
        before = tree(kept.folder)
        with small_disk(100), pytest.raises(OutputError, match=r"cannot write .*round-0001"):
            kept.put("round-0001", ROUND)
        assert tree(kept.folder) == before


def test_dropped_where_nothing_was_found_yet(target, tmp_path):
    with journal(target, KEY):
        pass
    assert tree(tmp_path) == {}


def test_dropped_when_the_report_stands(target, tmp_path):
    with journal(target, KEY) as kept:
        kept.put("round-0000", ROUND)
        (kept.folder / "stock").mkdir()
        kept.drop()
        kept.drop()
    assert tree(tmp_path) == {}


def test_what_somebody_put_into_it_stays(target, tmp_path):
    mine = {"notes.txt": "mine", "stock/notes.txt": "mine, too"}
    with journal(target, KEY) as kept:
        kept.put("trace-fake", 1)
        kept.put("round-0000", ROUND)
        (kept.folder / "job/images").mkdir(parents=True)
        (kept.folder / "job/images/0000.png").write_bytes(b"made on the way")
        for name in ("base.npy", "litert-base-stock.tflite", "litert-expert.graph", "convert.log"):
            (kept.folder / "stock").mkdir(exist_ok=True)
            (kept.folder / "stock" / name).write_bytes(b"made on the way")
        for name, text in mine.items():
            (kept.folder / name).write_text(text)
    with journal(target, KEY) as kept:
        assert [file.name for file in (kept.folder / "stock").iterdir()] == ["notes.txt"]
        kept.drop()
    left = {str(path.relative_to(kept.folder)): path for path in kept.folder.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in left.items()} == mine
