"""The experts that are in memory: loaded on first use, least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from edge_moe.backends.base import OpenPart
from edge_moe.errors import UsageError

__all__ = ["ExpertCache"]


class ExpertCache:
    """Experts by index, within an optional budget."""

    def __init__(
        self, load: Callable[[int], OpenPart], sizes_bytes: Sequence[int], budget_bytes: int | None = None
    ) -> None:
        """Load nothing yet.

        Args:
            load: index -> the expert, opened.
            sizes_bytes: [K] what each expert counts for: the size of its artifact.
            budget_bytes: how much the loaded experts may count for together; None is no limit.

        Raises:
            UsageError: the budget does not admit the largest expert. Experts run one after the other, so that
                one at a time is enough for any max_experts.
        """
        if budget_bytes is not None and not (isinstance(budget_bytes, int | float) and budget_bytes >= 0):
            raise UsageError(
                f"expert_budget_bytes is {budget_bytes!r}; expected a number of bytes, or None for no limit"
            )
        largest = max(sizes_bytes, default=0)  # a plain network has none
        if budget_bytes is not None and budget_bytes < largest:
            raise UsageError(
                f"expert_budget_bytes is {budget_bytes}, but the largest expert has {largest} bytes; "
                f"give at least {largest}, or None for no limit"
            )
        self._load = load
        self._sizes = sizes_bytes
        self._budget = budget_bytes
        self._parts: OrderedDict[int, OpenPart] = OrderedDict()  # the most recently used is last

    @property
    def loaded(self) -> tuple[int, ...]:
        """The indices of the loaded experts, in ascending order."""
        return tuple(sorted(self._parts))

    def get(self, index: int) -> OpenPart:
        """Return expert `index`; load it, after making room for it, where it is not in memory."""
        part = self._parts.get(index)
        if part is None:
            self._make_room(self._sizes[index])
            part = self._parts[index] = self._load(index)
        self._parts.move_to_end(index)
        return part

    def fitting(self, indices: Sequence[int]) -> Sequence[int]:
        """Return the first of `indices` that have room beside one another."""
        used = 0
        for place, index in enumerate(indices):
            used += self._sizes[index]
            if self._budget is not None and used > self._budget:
                return indices[:place]
        return indices

    def close(self) -> None:
        """Release every expert."""
        while self._parts:
            self._parts.popitem()[1].close()

    def let_go(self) -> list[OpenPart]:
        """Forget every expert without closing it, and return them."""
        parts = list(self._parts.values())
        self._parts.clear()
        return parts

    def _make_room(self, size_bytes: int) -> None:
        if self._budget is None:
            return
        used = sum(self._sizes[k] for k in self._parts)
        while used + size_bytes > self._budget:
            index, part = self._parts.popitem(last=False)
            part.close()
            used -= self._sizes[index]
