"""The pages and pictures of a report."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_moe.benchmarks import report, results
from edge_moe.errors import OutputError
from tests.benchmarks.test_results import POINTS, make
from tests.tiny import tree


def picture(file):
    with Image.open(file) as image:
        assert image.format == "PNG"
        return image.size, np.asarray(image.convert("RGB"))


def test_files(tmp_path):
    files = report.write_report(make(), tmp_path / "deep/report")
    assert [file.name for file in files] == ["results.json", "results.md", "latency.png", "accuracy.png"]
    assert sorted(p.name for p in (tmp_path / "deep/report").iterdir()) == sorted(file.name for file in files)
    assert results.load(files[0]) == make()
    assert files[1].read_text() == report.to_markdown(make())
    for file in files[2:]:
        (width, height), pixels = picture(file)
        assert (width, height) == (1200, 750)
        assert file.stat().st_size > 20_000
        for colour in report._COLOURS[:2]:  # one a recipe
            rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(pixels.astype(int) - rgb).max(axis=2) < 8).sum() > 100
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["report"]


def test_without_labels_there_is_no_picture_of_accuracy(tmp_path):
    files = report.write_report(make(accuracy=None), tmp_path / "report")
    assert [file.name for file in files] == ["results.json", "results.md", "latency.png"]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_accuracy_at_its_ends(tmp_path, accuracy):
    """Where Wilson's bound and the share should be equal, floating point may put them the wrong way round."""
    assert report.write_report(make(accuracy=accuracy), tmp_path / "report")[-1].name == "accuracy.png"


def test_the_page(tmp_path):
    page = report.to_markdown(make())
    assert page.startswith("# birds on A chip\n")
    assert "UNTRAINED" not in page
    for text in ("16 images of val", "latency on 4 of them, 2 interleaved rounds, 1 thread(s)", "numpy 2.4.0"):
        assert text in page
    assert "Load before and after: 0.50, unknown" in page
    for one in make().sets:
        section = page.split(f"## litert, recipe {one.recipe}\n")[1].split("\n## ")[0]
        rows = [
            line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| 0") or "| 1 |" in line
        ]
        assert [float(row[0]) for row in rows] == list(POINTS)
        for row, timing in zip(rows, one.points, strict=True):
            flat = np.ravel(timing.raw_ms)
            assert row[1:4] == [f"{timing.point.exit_rate:.1%}", f"{timing.point.mean_macs / 1e6:.3f}", "75.00%"]
            expected = [np.median(flat), *np.percentile(flat, [10, 90]), timing.mean_ms, 1.0]
            assert [float(cell) for cell in row[4:]] == pytest.approx(expected, abs=1e-3)
        assert "| base | 2.000 | 1.200 | 2.800 |" in section


def test_an_untrained_network_is_labelled_in_page_and_pictures(tmp_path):
    assert "**UNTRAINED" in report.to_markdown(make(trained=False))
    trained = picture(report.write_report(make(accuracy=None), tmp_path / "a")[2])[1]
    untrained = picture(report.write_report(make(accuracy=None, trained=False), tmp_path / "b")[2])[1]
    changed = (trained != untrained).any(axis=2)
    # Big grey letters across the middle, nothing elsewhere.
    assert changed.sum() > 5000
    rows, columns = np.nonzero(changed)
    assert 250 < rows.min() < rows.max() < 550
    assert columns.max() - columns.min() > 300


def test_an_existing_target(tmp_path):
    out = tmp_path / "report"
    report.write_report(make(), out)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"exists already; .*--force"):
        report.write_report(make(recipes=("int8",)), out)
    assert tree(tmp_path) == before
    report.write_report(make(recipes=("int8",), accuracy=None), out, force=True)
    assert results.load(out / "results.json") == make(recipes=("int8",), accuracy=None)
    assert "report/accuracy.png" not in tree(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_picture_that_cannot_be_drawn_leaves_nothing(tmp_path, monkeypatch):
    out = tmp_path / "report"
    report.write_report(make(), out)
    before = tree(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "_accuracy", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        report.write_report(make(), out, force=True)
    assert tree(tmp_path) == before


def test_leftovers_of_a_killed_report_are_cleared(tmp_path):
    (tmp_path / "report.partial").mkdir()
    (tmp_path / "report.partial/accuracy.png").write_bytes(b"stale")
    report.write_report(make(accuracy=None), tmp_path / "report")
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["latency.png", "results.json", "results.md"]


def test_rows_have_a_cell_for_every_heading():
    timing = make().sets[0].points[1]
    assert len(report.point_row(timing)) == len(report.HEADER)
    unlabelled = msgspec.structs.replace(timing, point=msgspec.structs.replace(timing.point, accuracy=None))
    assert report.point_row(unlabelled)[report.HEADER.index("accuracy")] == ""
