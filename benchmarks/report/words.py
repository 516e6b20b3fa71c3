"""Numbers in words: the same figure reads the same in every table, chart and sentence."""

from __future__ import annotations

from edge_moe.benchmarks.results import Results, Unit

__all__ = [
    "accuracy",
    "change",
    "cost",
    "cost_column",
    "gib",
    "interval",
    "listed",
    "macs",
    "mib",
    "percent",
    "plural",
    "scaled",
    "sentence",
    "steadiness",
    "tau",
]

_UNITS = {"ms": "ms", "instructions": "M instructions", "cycles": "M cycles"}
_SMALL_MS, _LARGE_MS = 0.1, 100.0


def cost_column(unit: Unit) -> str:
    """Return what a column of `cost` is in: counts are told in millions."""
    return _UNITS[unit]


def cost(value: float, unit: Unit, *, named: bool = False) -> str:
    """Return a cost with as many digits as mean something; `named`: with its unit."""
    if unit == "ms":
        digits = 4 if value < _SMALL_MS else 3 if value < _LARGE_MS else 1
        text = f"{value:.{digits}f}"
    else:
        text = f"{value / 1e6:.3f}"
    return f"{text} {_UNITS[unit]}" if named else text


def scaled(value: float, unit: Unit) -> float:
    """Return a cost in what `cost_column` says."""
    return value if unit == "ms" else value / 1e6


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 as per cent."""
    return f"{share:.{digits}%}"


def accuracy(share: float | None) -> str:
    """Return an accuracy; empty where it is not known."""
    return "" if share is None else f"{share:.2%}"


def interval(low: float | None, high: float | None) -> str:
    """Return a 95% interval of shares."""
    return "" if low is None or high is None else f"{low:.1%} to {high:.1%}"


def macs(value: float) -> str:
    """Return multiply-accumulates in millions."""
    return f"{value / 1e6:.3f}"


def gib(size: float) -> str:
    """Return bytes in GiB."""
    return f"{size / (1 << 30):.1f}"


def mib(size: float) -> str:
    """Return bytes in MiB."""
    return f"{size / (1 << 20):.1f}"


def tau(value: float) -> str:
    """Return a threshold."""
    return f"{value:.3g}"


def change(new: float, old: float) -> str:
    """Return by how much `new` is less or more than `old`."""
    if not old:
        return "as much as"
    share = new / old - 1
    if abs(share) < 0.0005:
        return "as much as"
    return f"{abs(share):.1%} {'more' if share > 0 else 'less'} than"


def plural(count: int, noun: str) -> str:
    """Return '1 image', '2 images'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(words: list[str]) -> str:
    """Return 'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def sentence(text: str) -> str:
    """Return text that begins with a capital and ends with a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def steadiness(results: Results) -> str:
    """Return by how much the same computation varied over rounds; empty where it was not measured."""
    probe = results.conditions.probe
    return f"{max(probe) / min(probe):.3f}" if probe and min(probe) > 0 else ""
