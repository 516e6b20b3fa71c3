"""One run's raw samples in both forms: what was stored beside them until schema 3 is what is computed from them now."""

from __future__ import annotations

import csv
import json

import msgspec
import numpy as np
import pytest

from edge_moe import DataError
from edge_moe.benchmarks.report import write_report
from edge_moe.benchmarks.results import load
from tests.fixtures import ONE_RUN

BEFORE = json.loads((ONE_RUN / "results-2.json").read_text())


@pytest.fixture(scope="module")
def now():
    return load(ONE_RUN / "results.json")


def test_the_samples_are_the_same(now):
    for one, before in zip(now.sets, BEFORE["sets"], strict=True):
        assert one.label == f"{before['backend']}/{before['recipe']}"
        assert {part.part: part.raw for part in one.parts} == {
            part["part"]: tuple(map(tuple, part["raw"])) for part in before["parts"]
        }
        assert [point.raw for point in one.points] == [tuple(map(tuple, point["raw"])) for point in before["points"]]


def test_figures_that_were_stored_are_computed(now):
    for one, before in zip(now.sets, BEFORE["sets"], strict=True):
        for point, stored in zip(one.points, before["points"], strict=True):
            assert (point.mean, point.predicted) == (stored["mean"], stored["predicted"])
            assert msgspec.to_builtins(point.point) == stored["point"]
        assert list(one.cold_start_ms) == before["cold_start_ms"]
        assert list(one.peak_rss_bytes) == before["peak_rss_bytes"]
    assert [peer.raw and list(map(list, peer.raw)) for peer in now.peers] == [peer["raw"] for peer in BEFORE["peers"]]
    assert [list(limit.raw) for limit in now.limits] == [limit["raw"] for limit in BEFORE["limits"]]
    told = BEFORE["conditions"]
    assert now.conditions.others_share == pytest.approx(told["others_share"])
    assert (list(now.conditions.probe), list(now.conditions.remarks)) == (told["probe"], told["remarks"])


def rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


# A ratio, its interval and what they say were of two statistics, and are of one now.
CHANGED = {"ratio", "ratio_low", "ratio_high", "verdict"}


@pytest.mark.parametrize("name", ["points.csv", "parts.csv", "peers.csv"])
def test_a_report_shows_the_same_figures(now, tmp_path, name):
    write_report([now], tmp_path / "report")
    found, before = rows(tmp_path / "report" / name), rows(ONE_RUN / name)
    assert len(found) == len(before) > 4
    for one, other in zip(found, before, strict=True):
        for column in other.keys() - CHANGED:
            assert one[column] == other[column], column


def test_a_ratio_is_of_one_statistic(now, tmp_path):
    """Worked out from the older file's samples: the geometric mean over rounds, and Student's t on the logarithms."""
    write_report([now], tmp_path / "report")
    sets = {f"{one['backend']}/{one['recipe']}": one for one in BEFORE["sets"]}
    compared = [row for row in rows(tmp_path / "report/peers.csv") if row["ratio"]]
    assert len(compared) > 4
    for row in compared:
        (theirs,) = [
            peer["raw"]
            for peer in BEFORE["peers"]
            if (peer["name"], peer["backend"], peer["recipe"]) == (row["peer"], row["backend"], row["recipe"])
            and ("" if peer["tau"] is None else str(peer["tau"])) == row["tau"]
        ]
        points = sets[row["our_set"]]["points"]
        ours = next(
            p["raw"] for p in points if (p["point"]["tau"], p["point"]["max_experts"]) == (float(row["our_tau"]), 1)
        )
        logs = np.log(np.mean(theirs, axis=1) / np.mean(ours, axis=1))
        half = 4.302652729749464 * logs.std(ddof=1) / 3**0.5  # 97.5% of Student's t with 2 degrees of freedom
        expected = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
        assert [float(row[name]) for name in ("ratio", "ratio_low", "ratio_high")] == pytest.approx(expected)


def test_the_older_file_is_refused_with_what_to_do():
    with pytest.raises(DataError, match="schema version 2; this edge-moe reads 3: measure again with 'edge-moe bench'"):
        load(ONE_RUN / "results-2.json")
