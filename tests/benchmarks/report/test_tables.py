"""Tables, markdown and CSV say the numbers of the results."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import msgspec
import numpy as np
import pytest

from edge_moe.benchmarks.report import header, point_row, write
from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.tables import HEADER, Table
from edge_moe.benchmarks.units import MS, UNITS
from tests.benchmarks.made import TAUS, make


def test_rows_have_a_cell_for_every_heading():
    timing = make().sets[0].points[1]
    assert len(point_row(timing, MS)) == len(HEADER) == len(header())
    assert len(point_row(timing, MS, several=True)) == len(header(several=True)) == len(HEADER) + 1
    unlabelled = dataclasses.replace(timing, point=msgspec.structs.replace(timing.point, accuracy=None))
    assert point_row(unlabelled, MS)[HEADER.index("accuracy")] == ""


def test_a_row_by_numpy():
    timing = make().sets[0].points[3]
    flat = np.ravel(timing.raw)
    row = dict(zip(HEADER, point_row(timing, MS), strict=True))
    assert row["tau"] == "0.25"
    assert row["exit rate"] == f"{timing.point.exit_rate:.1%}"
    assert row["mean MACs (M)"] == f"{timing.point.mean_macs / 1e6:.3f}"
    assert row["accuracy"] == f"{timing.point.accuracy:.2%}"
    numbers = [np.median(flat), *np.percentile(flat, [10, 90]), timing.mean, timing.mean / timing.predicted]
    assert [float(row[name]) for name in HEADER[4:]] == pytest.approx(numbers, abs=6e-4)


def test_p99_stands_beside_p90():
    """On the page and in the CSV; a terminal has no room for it."""
    content = collect([make(sets=(("litert", "int8"),), rounds=9)])
    (table,) = content.sections["points"].tables
    place = table.columns.index("p99, ms")
    assert table.columns[place - 1 : place + 2] == ("p90, ms", "p99, ms", "mean / predicted")
    expected = [np.percentile(np.ravel(point.raw), 99) for point in content.series[0].points]
    assert [float(row[place]) for row in table.rows] == pytest.approx(expected, abs=6e-4)
    rows = read(write.csvs(content)["points.csv"])
    assert [float(row["p99"]) for row in rows] == pytest.approx(expected)
    assert list(rows[0])[list(rows[0]).index("p90") + 1] == "p99"
    assert "p99" not in HEADER


def test_what_is_looked_for_first_stands_first():
    """On the width of a phone no more is seen."""
    (table,) = collect([make(sets=(("litert", "int8"),))]).sections["points"].tables
    assert table.columns[:4] == ("tau", "mean, ms", "accuracy", "exit rate")


def test_a_row_of_a_target_that_runs_parts_only():
    timing = make(unit="instructions", raw=False).sets[0].points[0]
    row = dict(zip(HEADER, point_row(timing, UNITS["instructions"]), strict=True))
    assert (row["median"], row["p10"], row["p90"], row["mean / predicted"]) == ("", "", "", "")
    assert row["mean"] == f"{timing.mean / 1e6:.3f}"


@pytest.mark.parametrize("unit", ["ms", "cycles"])
def test_the_markdown(unit):
    content = collect([make(unit=unit, raw=unit == "ms", name="a|b <i>")])
    page = write.markdown(content)
    assert page.startswith("# a\\|b \\<i\\> on a laptop\n")
    assert content.finding in page
    for one in content.series:
        section = page.split(f"### {one.label}\n")[1].split("\n#")[0]
        rows = [line for line in section.splitlines() if re.match(r"\| [\d.]+ \|", line)]
        assert [float(row.split("|")[1]) for row in rows] == list(TAUS)
    tables = [line.count("|") - line.count("\\|") for line in page.splitlines() if line.startswith("|")]
    assert min(tables) > 2
    if unit == "cycles":
        assert not re.search(r"\bms\b|millisecond|GMAC", page)


def test_marked_rows_are_bold():
    lines = write.table(Table(("a", "b"), (("x", "1"), ("y", "")), marked=frozenset({1}))).splitlines()
    assert lines == ["| a | b |", "|---|---:|", "| x | 1 |", "| **y** |  |"]
    assert write.table(Table(("a",), ())) == ""


def test_columns_of_which_nothing_is_known_are_left_away():
    (table,) = collect([make(labels=False, raw=False, sets=(("litert", "int8"),))]).sections["points"].tables
    assert table.columns == ("tau", "mean, ms", "exit rate", "mean MACs (M)")


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_round_trip():
    results = [make(), make(name='comma, "quote"\nline', experts=2, labels=False, raw=False)]
    files = write.csvs(collect(results))
    assert list(files) == ["points.csv", "parts.csv", "peers.csv"]
    points = read(files["points.csv"])
    expected = [(file, one, point) for file in results for one in file.sets for point in one.points]
    assert len(points) == len(expected)
    for row, (file, one, point) in zip(points, expected, strict=True):
        assert (row["bundle"], row["backend"], row["recipe"]) == (file.bundle.name, one.backend, one.recipe)
        assert float(row["mean"]) == point.mean  # every digit
        assert float(row["exit_rate"]) == point.point.exit_rate
        assert row["accuracy"] == ("" if point.point.accuracy is None else repr(point.point.accuracy))
        assert (row["median"] == "") == (point.raw is None)
    assert points[-1]["share_expert_01"] != points[-1]["share_expert_03"] == ""
    parts = read(files["parts.csv"])
    costs = {part.part: part.cost for part in results[0].sets[0].parts}
    assert {row["part"]: float(row["cost"]) for row in parts[: len(costs)]} == costs
    peers = read(files["peers.csv"])
    assert {row["peer"] for row in peers} == {peer.name for peer in results[0].peers}
    assert next(row for row in peers if row["peer"] == "torch eager")["missing"].startswith("needs the checkpoint")


def test_without_peers_there_is_no_file_of_them():
    assert list(write.csvs(collect([make(peers=False)]))) == ["points.csv", "parts.csv"]


def test_which_recipe_wins_where():
    """By what `made` has them cost: of one backend int8 1, fp32 1.5 times 1.35, and so on with each place."""
    here = make(target="host", machine="a laptop", peers=False)
    there = make(
        target="arm:cortex-a53", machine="a core", unit="instructions", sets=(("onnx", "fp32"), ("onnx", "int8"))
    )
    (table,) = collect([here, there], ["here", "there"]).sections["wins"].tables
    assert table.columns == ("file", "backend", "wins", "it costs", "of that, the base", "the others, times that")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["file"], row["backend"], row["wins"]) for row in rows] == [
        ("here", "litert", "int8"),
        ("here", "onnx", "int8"),
        ("there", "onnx", "int8"),
    ]
    assert [row["it costs"].split(" ", 1)[1] for row in rows] == ["ms", "ms", "M instructions"]
    share = 0.40 / (0.40 + 0.003 + 0.19)
    for row in rows:
        assert abs(float(row["of that, the base"][:-1]) / 100 - share) < 0.02
    times = [row["the others, times that"].split() for row in rows]
    assert [name for name, _ in times] == ["fp32"] * 3
    expected = [1.5 * 1.35, 1.5 * (1 + 0.35 * 3) / (1 + 0.35 * 2), 1.5 / 1.35]
    for (_, found), right in zip(times, expected, strict=True):
        assert abs(float(found) / right - 1) < 0.03


def test_one_file_alone_has_no_winner():
    assert "wins" not in collect([make()]).sections
