"""Taking turns, with a clock that tells what each variant costs."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.studies import turns
from edge_moe.progress import Silent


class Clock:
    """A call of a variant takes as long as its name says; the first calls of a block take longer."""

    def __init__(self, warm_up):
        self.now, self.calls, self.warm_up = 0.0, [], warm_up

    def variant(self, name, ms):
        def call():
            block = self.calls[-1] if self.calls and self.calls[-1][0] == name else [name, 0]
            if block[1] == 0:
                self.calls.append(block)
            block[1] += 1
            self.now += (ms if block[1] > self.warm_up else 1000 * ms) / 1000

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(warm_up=3)
    monkeypatch.setattr(turns, "perf_counter", lambda: clock.now)
    return clock


def test_what_is_timed_is_one_call_without_the_warm_up(clock):
    found = turns.take_turns({"a": clock.variant("a", 2.0)}, 1, "turns", Silent(), block=5)
    assert found.keys() == {"a"}
    for value in (found["a"].median, found["a"].p10, found["a"].p90, found["a"].mean):
        assert value == pytest.approx(2.0)


def test_variants_take_turns(monkeypatch):
    monkeypatch.setattr(turns, "_WARM_UP", 1)
    calls: list[str] = []
    variants = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    found = turns.take_turns(variants, 8, "turns", Silent(), block=2)
    blocks = [calls[i : i + 3] for i in range(0, len(calls), 3)]  # a warm-up, then two that count
    assert len(blocks) == 8 * 3
    assert all(len(set(block)) == 1 for block in blocks)
    rounds = ["".join(block[0] for block in blocks[i : i + 3]) for i in range(0, len(blocks), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1  # drawn anew
    assert list(found) == ["a", "b", "c"]


def test_progress_is_a_step_a_round():
    seen = []

    class Seen:
        def start(self, name, total, done=0):
            seen.append((name, total))

        def advance(self, name, note=""):
            seen.append(name)

    turns.take_turns({"a": lambda: None}, 2, "turns", Seen(), block=1)
    assert seen == [("turns", 2), "turns", "turns"]


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (turns.at_least("x", 1.5, 1.5), True),
        (turns.at_least("x", 1.49, 1.5), False),
        (turns.at_most("x", 1.05, 1.05), True),
        (turns.at_most("x", 1.06, 1.05), False),
    ],
)
def test_a_bar(bar, met):
    assert bar.met is met
    assert bar.bar == (">= 1.5" if bar.ratio > 1.2 else "<= 1.05")
    line = turns.goals_table([bar])[-1]
    assert line == f"| x | {bar.ratio:.3f} | {bar.bar} | {'yes' if met else 'NO'} |"


def test_the_table_is_a_table():
    lines = turns.goals_table([turns.at_least("a", 1.0, 2.0), turns.at_most("b", 1.0, 2.0)])
    assert [line.count("|") for line in lines] == [5] * 4
    assert turns.goals_table([]) == lines[:2]
