"""Predictions without a pause in a report: chart, table, rows and lines say the windows of the results."""

from __future__ import annotations

import csv
import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_moe.benchmarks.report import pictures, sustained, write
from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.words import LIGHT, look
from edge_moe.benchmarks.sound import inconsistency
from edge_moe.benchmarks.wire import Sustained, Window
from tests.benchmarks.made import make

SETS = (("litert", "int8"), ("litert", "fp32"))
MEDIANS = ((0.61, 0.80, 0.74), (1.5, 1.5, 1.5))


def ran(medians=MEDIANS, seconds=30, **options):
    """Results of two sets that ran for three windows, the clock falling by 100 MHz in each."""
    found = make(sets=SETS, **options)
    answers = tuple(
        Sustained(
            set=one.set,
            setting=one.default,
            windows=tuple(
                Window(start_s=10.0 * n, median=m, count=1000 + n, facts={"clock, MHz": 2000 - 100 * n})
                for n, m in enumerate(each)
            ),
        )
        for one, each in zip(found.recorded, medians, strict=True)
    )
    found = msgspec.structs.replace(found, sustained=answers, sustained_s=seconds)
    assert inconsistency(found, found.lines) is None
    return found


def test_the_chart_is_every_window():
    (view,) = collect([ran()]).sections["sustained"].views
    assert [mark.name for mark in view.marks] == ["litert/int8", "litert/fp32"]
    for mark, medians in zip(view.marks, MEDIANS, strict=True):
        assert [(dot.x, dot.y) for dot in mark.dots] == list(zip((0.0, 10.0, 20.0), medians, strict=True))
    assert view.marks[0].dots[1].told == [
        "litert/int8",
        "tau 0.07, from 10 s on",
        "median 0.800 ms of 1,001 predictions",
        "clock, MHz: 1900",
    ]
    low, high = view.y_range
    assert (low, high > 1.5) == (0.0, True)


def test_many_windows_are_a_line_without_points():
    medians = tuple((0.5,) * 60 for _ in SETS)
    (view,) = collect([ran(medians, 600)]).sections["sustained"].views
    assert {mark.shape for mark in view.marks} == {"level"}


def test_units_have_a_chart_each():
    views = collect([ran(name="x"), ran(name="y", unit="cycles")]).sections["sustained"].views
    assert [(view.name, len(view.marks)) for view in views] == [("cost, ms", 2), ("cost, M cycles", 2)]


def test_the_table_by_hand():
    (table,) = collect([ran()]).sections["sustained"].tables
    assert table.columns == ("set", "tau", "first 10 s, ms", "last 10 s, ms", "slowest 10 s, ms", "last / first")
    assert table.rows == (
        ("litert/int8", "0.07", "0.610", "0.740", "0.800", "1.21"),
        ("litert/fp32", "0.07", "1.500", "1.500", "1.500", "1.00"),
    )


def test_of_a_plain_network():
    content = collect([ran(experts=0)])
    section = content.sections["sustained"]
    assert section.tables[0].columns[:2] == ("set", "first 10 s, ms")
    assert section.views[0].marks[0].dots[0].told[1] == "from 0 s on"
    assert not [note for note in section.notes if "tau" in note or "operating point" in note]


def test_lines_for_a_terminal():
    assert sustained.lines(ran(seconds=30)) == [
        "sustained for 0.5 min: litert/int8 0.610 ms in the first 10 s, 0.740 in the last (1.21 times)",
        "sustained for 0.5 min: litert/fp32 1.500 ms in the first 10 s, 1.500 in the last (1.00 times)",
    ]
    assert sustained.lines(make()) == []


def test_rows():
    rows = list(csv.DictReader(io.StringIO(write.csvs(collect([ran()]))["sustained.csv"])))
    assert [
        (row["set"], float(row["start_s"]), float(row["median"]), int(row["count"]), int(row["clock, MHz"]))
        for row in rows
    ] == [
        (f"litert/{recipe}", 10.0 * n, median, 1000 + n, 2000 - 100 * n)
        for recipe, medians in zip(("int8", "fp32"), MEDIANS, strict=True)
        for n, median in enumerate(medians)
    ]
    assert {(row["tau"], row["max_experts"], row["unit"], row["target"]) for row in rows} == {
        ("0.07", "1", "ms", "host")
    }


def test_page_and_markdown_tell_of_it():
    content = collect([ran()])
    text, page = write.markdown(content), write.page(content, {}, {})
    assert "## Without a pause" in text and "| litert/int8 | 0.07 | 0.610 | 0.740 | 0.800 | 1.21 |" in text
    assert 'data-chart="sustained"' in page and "seconds without a pause" in page
    assert any(bullet.startswith("Longer load.") for bullet in content.sections["limits-of-this"].bullets)


def test_without_it_nothing_is_told_but_that():
    content = collect([make()])
    assert "sustained" not in content.sections and "sustained.csv" not in write.csvs(content)
    assert any(bullet.startswith("Sustained load.") for bullet in content.sections["limits-of-this"].bullets)


@pytest.mark.parametrize("seconds", [30, 600])
def test_the_picture(tmp_path, seconds):
    medians = tuple(np.linspace(0.5, 0.7, seconds // 10).round(4).tolist() for _ in SETS)
    assert "sustained.png" in pictures.draw(collect([ran(medians, seconds)]), tmp_path)
    with Image.open(tmp_path / "sustained.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (750, 1200, 3)
    colour = LIGHT[look(1).colour]  # the line that lies on the other
    rows, columns = np.nonzero(np.abs(pixels - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=2) < 8)
    # From left to right it climbs, and it ends far above the middle: the axis begins at 0.
    left, right = (rows[(columns > low) & (columns < low + 40) & (rows > 150)].mean() for low in (150, 1040))
    assert right < left < 375


def test_what_was_stopped_says_so():
    found = msgspec.structs.replace(make(), sustained_s=300)
    assert [text for text in collect([found]).warnings if text.startswith("Stopped before every set had run for 5 min")]
