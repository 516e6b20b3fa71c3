"""All files of a report, or none."""

from __future__ import annotations

import json

import pytest

from edge_moe.benchmarks import results
from edge_moe.benchmarks.report import pictures, write_report
from edge_moe.errors import OutputError, UsageError
from edge_moe.work import Work, making
from tests.benchmarks.made import make
from tests.tiny import tree


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures take the most time."""

    def draw(report, folder):
        names = ["cost.png", "accuracy.png"] if "accuracy" in report.sections else ["cost.png"]
        for name in names:
            (folder / name).write_bytes(b"picture")
        return names

    monkeypatch.setattr(pictures, "draw", draw)


SMALL = {"images": 20, "timed": 3, "sets": (("litert", "int8"),)}


def test_files(tmp_path):
    given = make(**SMALL)
    files = write_report([given], tmp_path / "deep/report")
    names = ["report.html", "results.json", "results.md", "points.csv", "parts.csv", "peers.csv", "cost.png",
             "accuracy.png", "parts.png"]  # fmt: skip
    assert [file.name for file in files] == names
    assert sorted(file.name for file in (tmp_path / "deep/report").iterdir()) == sorted(names)
    assert results.load(files[1]) == given
    assert sorted(file.name for file in (tmp_path / "deep").iterdir()) == ["report"]


def test_several_results(tmp_path, undrawn):
    given = [make(**SMALL), make(**SMALL, seed=1)]
    files = write_report(given, tmp_path / "a")
    assert [results.load(file) for file in files[1:3]] == given
    assert [file.name for file in files[1:3]] == ["results-1.json", "results-2.json"]
    files = write_report(given, tmp_path / "b", names=["phone", "laptop"])
    assert [file.name for file in files[1:3]] == ["phone.json", "laptop.json"]
    with pytest.raises(UsageError, match="one for each"):
        write_report(given, tmp_path / "c", names=["phone"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def test_what_is_not_known_has_no_file(tmp_path):
    files = write_report([make(**SMALL, labels=False, peers=False)], tmp_path / "report")
    assert not {"accuracy.png", "peers.csv"} & {file.name for file in files}


def test_an_existing_target(tmp_path, undrawn):
    out = tmp_path / "report"
    write_report([make(**SMALL)], out)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"exists already; .*--force"):
        write_report([make(**SMALL, seed=1)], out)
    assert tree(tmp_path) == before
    (out / "notes").write_text("somebody's")
    with pytest.raises(OutputError, match=r"holds files that edge-moe did not write \(notes\); move them"):
        write_report([make(**SMALL, seed=1)], out, force=True)
    (out / "notes").unlink()
    write_report([make(**SMALL, seed=1, labels=False)], out, force=True)
    assert results.load(out / "results.json") == make(**SMALL, seed=1, labels=False)
    assert "report/accuracy.png" not in tree(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_picture_that_cannot_be_drawn_leaves_nothing(tmp_path, monkeypatch, undrawn):
    out = tmp_path / "report"
    write_report([make(**SMALL)], out)
    before = tree(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "draw", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        write_report([make(**SMALL)], out, force=True)
    assert tree(tmp_path) == before


def test_leftovers_of_a_killed_report_are_cleared(tmp_path, undrawn, monkeypatch):
    with monkeypatch.context() as patch, making(tmp_path / "report", "report") as work:
        (work.fresh() / "old.png").write_bytes(b"stale")
        patch.setattr(Work, "close", lambda self: self._lock.release())
    assert (tmp_path / "report.partial").exists()
    write_report([make(**SMALL)], tmp_path / "report")
    assert not (tmp_path / "report/old.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, undrawn):
    (tmp_path / "report.partial").mkdir()
    (tmp_path / "report.partial/old.png").write_bytes(b"somebody's")
    before = tree(tmp_path)
    for force in (False, True):
        with pytest.raises(OutputError, match=r"report.partial holds files that edge-moe did not write \(old.png\)"):
            write_report([make(**SMALL)], tmp_path / "report", force=force)
    assert tree(tmp_path) == before


def test_the_page_marks_its_folder_as_ours(tmp_path, undrawn):
    (page, *_) = write_report([make(**SMALL)], tmp_path / "report")
    assert f'"schema_version":{json.dumps(results.SCHEMA_VERSION)}' in page.read_text()
