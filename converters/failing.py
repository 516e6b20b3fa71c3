"""Which backends and sets fail, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_moe.converters import bars
from edge_moe.converters.layers import Ranking
from edge_moe.converters.report import Missed
from edge_moe.sets import FLOAT, SetKey

__all__ = ["dropped", "listed", "problem", "problems"]


def dropped(
    chosen: Sequence[SetKey],
    missed: Mapping[SetKey, Sequence[Missed]],
    ranked: Mapping[tuple[SetKey, str], Ranking],
    kept_float: Sequence[str] = (),
) -> dict[SetKey, str]:
    """Return set -> what is wrong and what to do about it, for those that miss a bar beside one that misses none.

    A backend needs its reference, and an int8 set without fault; else it fails as a whole, see `problems`.
    """
    found = {}
    for key in chosen:
        beside = [one for one in chosen if one.backend == key.backend and one != key]
        passing = any(not one.is_float and not missed[one] for one in beside)
        if missed[key] and passing and not key.is_float and not missed.get(SetKey(key.backend, FLOAT)):
            found[key] = problem([key], missed, ranked, kept_float)
    return found


def problems(
    chosen: Sequence[SetKey],
    missed: Mapping[SetKey, Sequence[Missed]],
    ranked: Mapping[tuple[SetKey, str], Ranking],
    kept_float: Sequence[str] = (),
) -> dict[str, str]:
    """Return backend -> what is wrong and what to do about it, for those of which a set in `chosen` misses a bar.

    `kept_float`: the layers that were kept in float by wish.
    """
    backends = dict.fromkeys(key.backend for key in chosen if missed[key])
    return {
        backend: problem([key for key in chosen if key.backend == backend], missed, ranked, kept_float)
        for backend in backends
    }


def listed(failed: Mapping[str, str]) -> str:
    """Return what is wrong with each backend, in one line."""
    return "; ".join(failed.values())


def problem(
    chosen: Sequence[SetKey],
    missed: Mapping[SetKey, Sequence[Missed]],
    ranked: Mapping[tuple[SetKey, str], Ranking],
    kept_float: Sequence[str] = (),
) -> str:
    """Return the first bar that one of the sets `chosen` misses, how many more there are, and what to do."""
    key, first = next((key, missed[key][0]) for key in chosen if missed[key])
    others = sum(len(missed[key]) for key in chosen) - 1
    more = f" (and {others} more)" if others else ""
    what = _another(key, first, missed)
    if first.agreement:
        part = first.part or "base"
        times = max(one.times for one in missed[key] if (one.part or "base") == part)
        what = bars.advice(key, {part: ranked[key, part]} if (key, part) in ranked else {}, times, kept_float)
    return f"{first.problem}{more}; {what}"


def _another(key: SetKey, first: Missed, missed: Mapping[SetKey, Sequence[Missed]]) -> str:
    """Return what to do where layers in float would be no help: another recipe, where one can help."""
    others = [one for one in missed if one.backend == key.backend and one != key]
    if any(found.part == first.part for one in others if one.is_float for found in missed[one]) or key.is_float:
        return "no recipe changes that, fp32 has it too: replace the module, leave the backend out, or add --keep-going"
    without = next((one for one in others if not missed[one] and not one.is_float), None)
    return f"try {'another --recipe' if without is None else f'--recipe {without}'}, or add --keep-going"
