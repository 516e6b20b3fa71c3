from __future__ import annotations

import pytest

from edge_moe.checks import check_at_least_one
from edge_moe.errors import UsageError


def test_at_least_one():
    check_at_least_one(jobs=1, images=None, rounds=7)
    for count in (0, -3):
        with pytest.raises(UsageError, match=f"^rounds is {count}; expected at least 1$"):
            check_at_least_one(jobs=1, rounds=count)
