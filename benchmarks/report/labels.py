"""What files and sets are called: distinct, and no longer than that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_moe.benchmarks.results import Results
from edge_moe.errors import UsageError

__all__ = ["file_names", "set_labels"]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_LONGEST = 60


def file_names(results: Sequence[Results], names: Sequence[str] | None) -> list[str]:
    """Return a name for each file: 'results' where there is one; else the names given, plain and made distinct.

    Raises:
        UsageError: not a name for each file.
    """
    if names is not None and len(names) != len(results):
        raise UsageError(f"there are {len(names)} names for {len(results)} results; expected one for each")
    if len(results) == 1:
        return ["results"]
    if names is None:
        return [f"results-{number}" for number in range(1, len(results) + 1)]
    found: list[str] = []
    for number, name in enumerate(names, 1):
        # Letters beyond ASCII have no place in a file name that travels between systems.
        plain = "".join(letter if letter in _PLAIN else "-" for letter in name).strip("-.")[:_LONGEST]
        plain = plain or f"results-{number}"
        taken, count = {other.lower() for other in found}, 1
        distinct = plain
        while distinct.lower() in taken:  # some systems do not tell upper from lower case
            count += 1
            distinct = f"{plain}-{count}"
        found.append(distinct)
    return found


def set_labels(results: Sequence[Results], names: Sequence[str]) -> list[list[str]]:
    """Return a label for every set of every file, all of them distinct.

    backend/recipe; where files share one, what tells them apart follows: the bundle, the machine, and last the file.
    Where some bundles are trained and others not, every set names its bundle, and the others' are marked UNTRAINED.
    """
    plain = [[one.label for one in file.sets] for file in results]
    qualifiers: tuple[Callable[[int], str], ...] = (
        lambda i: results[i].bundle.name,
        lambda i: results[i].machine.name,
        lambda i: names[i],
    )
    used: list[list[str]] = [[] for _ in results]
    trained = [file.bundle.trained for file in results]
    marks = [["UNTRAINED"] if any(trained) and not one else [] for one in trained]
    for number, qualifier in enumerate(qualifiers):
        labels = _joined(plain, used, marks)
        if _distinct(labels) and (number or not any(marks)):
            return labels
        if len({qualifier(i) for i in range(len(results))}) > 1:
            for i, parts in enumerate(used):
                parts.append(qualifier(i))
    labels = _joined(plain, used, marks)
    seen: dict[str, int] = {}
    for row in labels:  # the same backend and recipe twice in one file
        for place, label in enumerate(row):
            seen[label] = seen.get(label, 0) + 1
            if seen[label] > 1:
                row[place] = f"{label} #{seen[label]}"
    return labels


def _joined(plain: list[list[str]], used: list[list[str]], marks: list[list[str]]) -> list[list[str]]:
    ends = [f" ({', '.join(parts)})" if parts else "" for parts in map(list.__add__, used, marks)]
    return [[label + end for label in row] for row, end in zip(plain, ends, strict=True)]


def _distinct(labels: list[list[str]]) -> bool:
    flat = [label for row in labels for label in row]
    return len(set(flat)) == len(flat)
