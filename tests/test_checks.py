from __future__ import annotations

import pytest

from edge_moe.checks import check_at_least_one, check_threads
from edge_moe.errors import UsageError


def test_at_least_one():
    check_at_least_one(jobs=1, images=None, rounds=7)
    for count in (0, -3):
        with pytest.raises(UsageError, match=f"^rounds is {count}; expected at least 1$"):
            check_at_least_one(jobs=1, rounds=count)


def test_threads():
    check_threads(1)
    check_threads(1024)
    for threads in (0, -1, True, 1.0, "2", None, 1025, 2**31):
        with pytest.raises(UsageError, match=f"^threads is {threads}; expected an integer from 1 to 1024$"):
            check_threads(threads)
