"""Predictions without a pause, window by window: what a device does once it is warm.

Axis letters: T timed images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median
from time import perf_counter

from edge_moe.backends import Tensor
from edge_moe.benchmarks.wire import Facts, Window

__all__ = ["WINDOW_S", "run", "window_ends"]

WINDOW_S = 10.0


def window_ends(seconds: float) -> tuple[float, ...]:
    """Return when each window of so many seconds ends, in seconds since the first began at 0.

    A last one that would be shorter than half of a window is left out, unless there is no other.
    """
    whole, rest = divmod(seconds, WINDOW_S)
    ends = tuple(WINDOW_S * (number + 1) for number in range(int(whole)))
    return ends if ends and rest < WINDOW_S / 2 else (*ends, seconds)


def run(
    predict: Callable[[Tensor], object],
    inputs: Sequence[Tensor],
    seconds: float,
    facts: Callable[[], Facts],
    done: Callable[[], None],
) -> tuple[Window, ...]:
    """Answer image after image for so many seconds, and return what it cost in milliseconds, window by window.

    A prediction belongs to the window in which it begins; one that is longer than a window leaves the next one out.

    Args:
        predict: answers one image.
        inputs: [T], one after the other, over and over.
        seconds: how long.
        facts: says how things stand; asked at the end of every window.
        done: is called then, too.
    """
    images, found, start_s = cycle(inputs), list[Window](), 0.0
    begun = perf_counter()
    for end_s in window_ends(seconds):
        raw = []
        while (since := perf_counter() - begun) < end_s:
            predict(next(images))
            raw.append(1000 * (perf_counter() - begun - since))
        if raw:
            found.append(Window(start_s=round(start_s, 3), median=round(median(raw), 4), count=len(raw), facts=facts()))
        done()
        start_s = end_s
    return tuple(found)
