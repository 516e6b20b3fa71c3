"""What a round on a phone has to find: a cool phone, and nothing that held it back meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.targets.adb.state import State, state, thermal_words
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["Kept", "Steady"]

T = TypeVar("T")

_MOST_DISCARDED = 10  # rounds in a row: a phone that does not keep its speed for one round is told so
_COOLING_S, _LOOK_S = 1800.0, 10.0


class Kept(NamedTuple):
    """How the phone was before and after a round that counts, and how many before it did not."""

    before: State
    after: State
    discarded: int


class Steady:
    """Rounds on one phone."""

    def __init__(self, phone: Phone, cpus: tuple[int, ...], *, on_battery: bool = False) -> None:
        """`cpus`: whose highest clock has to stay; `on_battery`: a phone that is charged is refused."""
        self._phone, self._cpus, self._on_battery = phone, cpus, on_battery

    def measured(self, measure: Callable[[], T], progress: Progress) -> tuple[T, Kept]:
        """Measure once the phone is cool; again, where it was held back meanwhile.

        Raises:
            BackendError: it stays warm, or does not keep its speed; or what `measure` raises.
        """
        for discarded in range(_MOST_DISCARDED):
            before = self._cool(progress)
            found = measure()
            after = state(self._phone)
            if after.holds_back(self._cpus) == before.holds_back(self._cpus):
                return found, Kept(before, after, discarded)
        raise BackendError(
            f"{self._phone.name} does not keep its speed: {_MOST_DISCARDED} rounds in a row ended with another "
            f"thermal status or highest clock than they began with (now {_status(after)}); let it lie still, "
            "unplugged from fast chargers and out of its case, and repeat the command to go on"
        )

    def _cool(self, progress: Progress) -> State:
        """Wait until the phone is not warm; return how it is then."""
        deadline, step = time.monotonic() + _COOLING_S, ""
        while now := state(self._phone):
            if self._on_battery and now.powered is not False:
                raise BackendError(
                    f"{self._phone.name} is being charged now, so that its battery says nothing of what it needs; "
                    "unplug it, and repeat the command to go on"
                )
            if not now.thermal:
                return now
            if not step:
                step = f"waiting: {self._phone.name} is warm"
                progress.start(step, int(_COOLING_S / _LOOK_S))
            if time.monotonic() > deadline:
                break
            progress.advance(step, f"thermal status {_status(now)}")
            time.sleep(_LOOK_S)
        raise BackendError(
            f"{self._phone.name} stays warm: thermal status {_status(now)} after {_COOLING_S / 60:.0f} minutes; let it "
            "cool, and repeat the command to go on"
        )


def _status(now: State) -> str:
    return "unknown" if now.thermal is None else thermal_words(now.thermal)
