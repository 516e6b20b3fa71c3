"""Which backends and sets fail, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edge_moe.converters import bars
from edge_moe.converters.layers import Ranking
from edge_moe.converters.report import Missed
from edge_moe.sets import FLOAT, SetKey

__all__ = ["Findings", "dropped", "listed", "problem", "problems"]


class Findings(NamedTuple):
    """What is known of the sets that were made."""

    missed: Mapping[SetKey, Sequence[Missed]]  # the bars that each misses
    ranked: Mapping[tuple[SetKey, str], Ranking]  # the layers of parts that are to blame
    kept_float: Sequence[str] = ()  # the layers that were kept in float by wish


def dropped(chosen: Sequence[SetKey], found: Findings) -> dict[SetKey, str]:
    """Return set -> what is wrong and what to do about it, for those that miss a bar beside one that misses none.

    A backend needs its reference, and an int8 set without fault; else it fails as a whole, see `problems`.
    """
    passing = {key.backend: key for key in reversed(chosen) if not key.is_float and not found.missed[key]}
    broken = {key.backend for key, missed in found.missed.items() if key.is_float and missed}
    return {
        key: f"{problem([key], found)}; beside it {passing[key.backend]} misses no bar"
        for key in chosen
        if found.missed[key] and key.backend in passing.keys() - broken
    }


def problems(chosen: Sequence[SetKey], found: Findings) -> dict[str, str]:
    """Return backend -> what is wrong and what to do about it, for those of which a set in `chosen` misses a bar."""
    backends = dict.fromkeys(key.backend for key in chosen if found.missed[key])
    return {backend: problem([key for key in chosen if key.backend == backend], found) for backend in backends}


def listed(failed: Mapping[str, str]) -> str:
    """Return what is wrong with each backend, in one line."""
    return "; ".join(failed.values())


def problem(chosen: Sequence[SetKey], found: Findings) -> str:
    """Return the first bar that one of the sets `chosen` misses, how many more there are, and what to do."""
    missed = found.missed
    key, first = next((key, missed[key][0]) for key in chosen if missed[key])
    others = sum(len(missed[key]) for key in chosen) - 1
    more = f" (and {others} more)" if others else ""
    if not first.agreement:
        return f"{first.problem}{more}; {_another(key, first, missed)}"
    part = first.part or "base"
    ranked = {part: found.ranked[key, part]} if (key, part) in found.ranked else {}
    times = max(one.times for one in missed[key] if (one.part or "base") == part)
    what = bars.advice(key, ranked, times=times, kept_float=found.kept_float, tried=missed)
    return f"{first.problem}{more}; {what}"


def _another(key: SetKey, first: Missed, missed: Mapping[SetKey, Sequence[Missed]]) -> str:
    """Return what to do where layers in float would be no help: another recipe, where one can help."""
    reference = missed.get(SetKey(key.backend, FLOAT), ())
    if key.is_float or any((one.part, one.split) == (first.part, first.split) for one in reference):
        return "no recipe changes that, fp32 has it too: replace the module, leave the backend out, or add --keep-going"
    others = [one for one in missed if one.backend == key.backend and not one.is_float]
    without = next((one for one in others if not missed[one]), None)
    return f"try {'another --recipe' if without is None else f'--recipe {without}'}, or add --keep-going"
