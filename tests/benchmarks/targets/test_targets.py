"""Which targets there are: every file is one, and nothing else is told of it."""

from __future__ import annotations

import pytest

from edge_moe import UsageError
from edge_moe.benchmarks import targets


def test_targets_by_name():
    assert {name: targets.get(name).name for name in targets.kinds()} == {
        name: name for name in ("host", "adb", "app", "arm", "browser", "ethos-u", "qnn", "ssh")
    }
    words = r"one of host, adb, app, arm, browser, ethos-u, qnn, ssh .*'edge-moe devices'"
    with pytest.raises(UsageError, match=words):
        targets.get("phone")


def test_a_kind_says_which_parameters_it_has():
    with pytest.raises(UsageError, match="unknown device 'host:7'; expected host"):
        targets.get("host:7")
