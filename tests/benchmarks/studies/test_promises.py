"""Redraws of promises: how often they are broken, what is refused, and the table."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe.benchmarks.studies import promises
from edge_moe.errors import DataError, UsageError
from edge_moe.progress import Silent
from tests.benchmarks.made import make
from tests.benchmarks.report.test_sustained import SETS


def test_a_promise_is_broken_less_than_what_is_seen():
    results = make(images=500, sets=SETS)
    found = promises.redraw(results, [0, 1], "changed<=5%", 60, 0, Silent())
    assert (found.promise, found.sets) == ("changed<=5%", "litert/int8, litert/fp32")
    assert found.broken <= 0.1 < found.seen_broken
    assert 0 < found.tau < 1 and 0 < found.exits < 1
    assert promises.redraw(results, [0, 1], "changed<=5%", 60, 0, Silent()) == found


def test_what_cannot_be_drawn():
    results = make(images=500)
    with pytest.raises(UsageError, match="is no promise"):
        promises.redraw(results, [0], "5%", 3, 0, Silent())
    grouped = msgspec.structs.replace(results, groups=tuple(range(500)))
    with pytest.raises(DataError, match="are versions of others"):
        promises.redraw(grouped, [0], "changed<=5%", 3, 0, Silent())


def test_the_table():
    one = promises.Found("changed<=1%", "litert/int8", 0.042, 0.415, 0.567, 0.368)
    text = promises.to_markdown([one], 1250, 500)
    assert "500 draws of 1,250 images" in text
    assert text.splitlines()[-1] == "| changed<=1% | litert/int8 | 4.2% | 0.415 | 56.7% | 36.8% |"
