from __future__ import annotations

import pytest

from edge_moe.benchmarks import machine, watch
from edge_moe.benchmarks.targets.host import limits


def hurry(patch: pytest.MonkeyPatch) -> None:
    """What a measurement does beside measuring the bundle takes milliseconds."""
    patch.setattr(limits, "SHAPE", (16, 16, 16))
    patch.setattr(machine, "_LOOK_S", 0.001)
    patch.setattr(watch, "_PROBE_STEPS", 10)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `hurry`."""
    hurry(monkeypatch)
