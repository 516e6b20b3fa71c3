"""What experts count for: by their files until one can be measured, and then what that one held."""

from __future__ import annotations

import pytest

from edge_moe import cache
from edge_moe.cache import ExpertCache
from tests.fakes import FakePart

MIB = 1 << 20


class Memory:
    """A process in which every open expert holds so much."""

    def __init__(self, held: int) -> None:
        self.held, self.parts = held, list[FakePart]()

    def load(self, _: int) -> FakePart:
        self.parts.append(FakePart({}))
        return self.parts[-1]

    def bytes(self) -> int:
        return 100 * MIB + self.held * sum(not part.closed for part in self.parts)


@pytest.fixture
def opened(monkeypatch):
    def make(held: int, sizes=(MIB,) * 20, budget=9 * MIB) -> ExpertCache:
        memory = Memory(held)
        monkeypatch.setattr(cache, "private_bytes", memory.bytes)
        return ExpertCache(memory.load, sizes, budget)

    return make


def used(experts: ExpertCache, count: int = 20) -> int:
    for k in range(count):
        experts.get(k)
        experts.measure()
    return len(experts.loaded)


def test_until_one_is_measured_its_file_tells(opened):
    assert used(opened(0)) == 4  # 2.25 MiB each: what was measured is no more than before, so nothing was learned


def test_what_holds_less_leaves_room_for_more(opened):
    assert used(opened(MIB // 2)) == int(9 / 0.5)


def test_what_holds_more_gets_more(opened):
    assert used(opened(3 * MIB)) == int(9 / 3)


def test_what_somebody_else_took_meanwhile_is_not_believed(opened):
    assert used(opened(50 * MIB)) == int(9 / (2.25 * 1.5))


def test_small_experts_are_not_measured(opened):
    assert used(opened(10, sizes=(1000,) * 20, budget=9 * 1000)) == 4


def test_an_expert_that_was_closed_before_it_was_measured_teaches_nothing(opened):
    experts = opened(MIB // 2)
    experts.get(0)
    experts.close()
    experts.measure()
    assert experts._held == 2.25


def test_room_for_all_is_made_where_there_is_a_budget_alone(opened):
    for budget, left in ((9 * MIB, 0), (None, 3)):
        experts = opened(MIB, budget=budget)
        assert used(experts, 3) == 3
        experts.make_room_for_all()
        assert len(experts.loaded) == left
