"""Windows of predictions without a pause, by a clock that the test sets."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks import sustained
from edge_moe.benchmarks.sustained import WINDOW_S, run, window_ends
from edge_moe.benchmarks.wire import Window


@pytest.mark.parametrize(
    ("seconds", "ends"),
    [
        (300, tuple(range(10, 301, 10))),
        (25, (10, 20, 25)),  # half a window is one
        (24, (10, 20)),
        (10, (10,)),
        (14, (10,)),
        (7, (7,)),  # shorter than a window, but all there is
        (1, (1,)),
    ],
)
def test_when_windows_end(seconds, ends):
    assert WINDOW_S == 10
    assert window_ends(seconds) == ends


class Clock:
    """Time passes in predictions alone."""

    def __init__(self, cost_s):
        self.now, self.cost_s, self.seen = 1000.0, cost_s, []

    def __call__(self):
        return self.now

    def predict(self, x):
        self.seen.append(x)
        self.now += self.cost_s(self.now - 1000.0)


@pytest.fixture
def ran(monkeypatch):
    """ran(cost in seconds at a time, seconds) -> windows, the images that were answered, calls of `done`."""

    def go(cost_s, seconds, inputs="abc"):
        clock, calls = Clock(cost_s), []
        monkeypatch.setattr(sustained, "perf_counter", clock)
        facts = lambda: {"clock, MHz": round(clock.now)}  # noqa: E731
        return run(clock.predict, inputs, seconds, facts, lambda: calls.append(clock.now)), clock.seen, calls

    return go


def test_a_device_that_slows_down_by_hand(ran):
    """A quarter of a second each, and half a second from the 10th second on: 40, 20, and 10 of the last 5 seconds."""
    found, seen, calls = ran(lambda at: 0.25 if at < 10 else 0.5, 25)
    assert found == (
        Window(start_s=0.0, median=250.0, count=40, facts={"clock, MHz": 1010}),
        Window(start_s=10.0, median=500.0, count=20, facts={"clock, MHz": 1020}),
        Window(start_s=20.0, median=500.0, count=10, facts={"clock, MHz": 1025}),
    )
    assert "".join(seen) == ("abc" * 24)[:70]  # over and over, whatever the windows
    assert calls == [1010, 1020, 1025]


def test_the_median_is_of_the_predictions_that_began_in_a_window(ran):
    costs = iter([1.0, 2.0, 9.0, 4.0, 5.0])
    found, _, _ = ran(lambda at: next(costs), 20)
    assert [(one.start_s, one.median, one.count) for one in found] == [(0.0, 2000.0, 3), (10.0, 4500.0, 2)]


def test_a_prediction_that_takes_longer_than_a_window(ran):
    found, seen, calls = ran(lambda at: 25.0, 40)
    assert [(one.start_s, one.median, one.count) for one in found] == [(0.0, 25000.0, 1), (20.0, 25000.0, 1)]
    assert (len(seen), len(calls)) == (2, 4)


def test_less_than_a_window(ran):
    found, _, _ = ran(lambda at: 0.5, 3)
    assert [(one.start_s, one.count) for one in found] == [(0.0, 6)]
