"""The experts that are in memory: loaded on first use, least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from edge_moe.backends.base import OpenPart
from edge_moe.errors import UsageError
from edge_moe.memory import give_back, private_bytes

__all__ = ["ExpertCache"]

# What a part from bytes holds of memory, by the bytes of its file: 2.0 to 2.2 were measured, by every backend.
_HELD = 2.25
# An expert of less is not measured: what else goes on in the process would be.
_LEAST_MEASURED_BYTES = 512 << 10
_LEAST_HELD = 0.2  # of one whose weights are mapped: 0.3 was measured
_MEASURED = 3  # experts
_DEAREST = 1.5  # times the estimate; more is somebody else's


class ExpertCache:
    """Experts by index, within an optional budget."""

    def __init__(
        self, load: Callable[[int], OpenPart], sizes_bytes: Sequence[int], budget_bytes: int | None = None
    ) -> None:
        """Load nothing yet.

        Args:
            load: index -> the expert, opened.
            sizes_bytes: [K] of their artifacts.
            budget_bytes: how much private memory the loaded experts may hold together; None is no limit. What one holds
                is taken from its file's size until the first that is loaded can be measured.

        Raises:
            UsageError: the budget does not admit the largest expert. Experts run one after the other, so that
                one at a time is enough for any max_experts.
        """
        if budget_bytes is not None and not (isinstance(budget_bytes, int | float) and budget_bytes >= 0):
            raise UsageError(
                f"expert_budget_bytes is {budget_bytes!r}; expected a number of bytes, or None for no limit"
            )
        self._load = load
        self._sizes = sizes_bytes
        self._budget = budget_bytes
        self._held = _HELD  # bytes of memory a byte of an artifact
        self._measured: list[float] = []
        largest = round(_HELD * max(sizes_bytes, default=0))  # a plain network has none
        if budget_bytes is not None and budget_bytes < largest:
            raise UsageError(
                f"expert_budget_bytes is {budget_bytes}, but the largest expert holds {largest} bytes of memory; "
                f"give at least {largest}, or None for no limit"
            )
        self._parts: OrderedDict[int, OpenPart] = OrderedDict()  # the most recently used is last
        self.new: tuple[int, int] | None = None  # an expert that can be measured once it ran, and what was held before

    @property
    def loaded(self) -> tuple[int, ...]:
        """The indices of the loaded experts, in ascending order."""
        return tuple(sorted(self._parts))

    def get(self, index: int) -> OpenPart:
        """Return expert `index`; load it, after making room for it, where it is not in memory."""
        self.new = None  # what is measured ran in the call that loaded it
        part = self._parts.get(index)
        if part is None:
            if self._budget is None:
                part = self._parts[index] = self._load(index)
            else:
                part = self._within(self._budget, index)
        self._parts.move_to_end(index)
        return part

    def fitting(self, indices: Sequence[int]) -> Sequence[int]:
        """Return the first of `indices` that have room beside one another."""
        used = 0
        for place, index in enumerate(indices):
            used += self._cost(index)
            if self._budget is not None and used > self._budget:
                return indices[:place]
        return indices

    def make_room_for_all(self) -> None:
        """Release every expert where there is a budget: what comes now needs all of it, for a while."""
        if self._budget is not None:
            self.close()
            give_back()

    def close(self) -> None:
        """Release every expert."""
        while self._parts:
            self._parts.popitem()[1].close()

    def let_go(self) -> list[OpenPart]:
        """Forget every expert without closing it, and return them."""
        parts = list(self._parts.values())
        self._parts.clear()
        return parts

    def _cost(self, index: int) -> int:
        cost = round(self._held * self._sizes[index])
        return cost if self._budget is None else min(cost, int(self._budget))  # one always has room

    def _within(self, budget: float, index: int) -> OpenPart:
        used = sum(map(self._cost, self._parts))
        is_full = used + self._cost(index) > budget
        while self._parts and used + self._cost(index) > budget:
            gone, part = self._parts.popitem(last=False)
            part.close()
            used -= self._cost(gone)
        if is_full:
            give_back()  # or the pieces that are left between others add up to another half
        before = self._held_before()
        others = len(self._parts)
        part = self._load(index)
        undisturbed = len(self._parts) == others  # else they were closed meanwhile, and what is held is less
        self._parts[index] = part
        if before is not None and undisturbed and self._sizes[index] >= _LEAST_MEASURED_BYTES:
            self.new = (index, before)
        return part

    def _held_before(self) -> int | None:
        """Return what the process holds; None where no more has to be measured."""
        if len(self._measured) >= _MEASURED:
            return None
        give_back()  # what is free already would be taken first, and not seen
        return private_bytes()

    def measure(self) -> None:
        """Take what an expert holds, all of which have the same graph, from the `new` one, which ran just now.

        Of several the largest: one that was opened in memory that was free already seems to hold nothing.
        """
        if self.new is None:
            return
        (index, before), self.new = self.new, None
        give_back()
        now = private_bytes()
        if index not in self._parts or now is None or now <= before:
            return
        held = (now - before) / self._sizes[index]
        self._measured.append(min(max(held, _LEAST_HELD), _HELD * _DEAREST))
        self._held = max(self._measured)
