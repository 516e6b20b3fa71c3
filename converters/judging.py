"""Which backends fail, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_moe.converters import bars
from edge_moe.converters.layers import Ranking
from edge_moe.converters.package import SetKey

__all__ = ["listed", "problems"]


def problems(
    chosen: Sequence[SetKey],
    missed: Mapping[SetKey, Sequence[bars.Missed]],
    ranked: Mapping[tuple[SetKey, str], Ranking],
) -> dict[str, str]:
    """Return backend -> what is wrong and what to do about it, for those of which a set in `chosen` misses a bar."""
    found: dict[str, list[tuple[SetKey, bars.Missed]]] = {}
    for key in chosen:
        for one in missed[key]:
            found.setdefault(key.backend, []).append((key, one))
    return {backend: _problem(of_one, ranked) for backend, of_one in found.items()}


def listed(failed: Mapping[str, str]) -> str:
    """Return what is wrong with each backend, in one line."""
    return "; ".join(failed.values())


def _problem(missed: Sequence[tuple[SetKey, bars.Missed]], ranked: Mapping[tuple[SetKey, str], Ranking]) -> str:
    key, first = missed[0]
    more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
    what = "try another --recipe, or add --keep-going"
    if first.agreement:
        part = first.part or "base"
        what = bars.advice(key, {part: ranked[key, part]} if (key, part) in ranked else {})
    return f"{first.problem}{more}; {what}"
