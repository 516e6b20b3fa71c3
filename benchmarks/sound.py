"""Are rounds and header of each other? What the types alone cannot rule out, in words.

Asked of a results file when it is read, and of every round when it comes from a target or from a journal.

Axis letters: N validation images, K experts, T timed images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from edge_moe.benchmarks.recorded import Header, RecordedSet, StoredTrace
from edge_moe.benchmarks.wire import Opening, Round, SetRound, Setting, Sustained

__all__ = [
    "Wanted",
    "inconsistency",
    "opening_problem",
    "round_problem",
    "shape",
    "sustained_problem",
    "trace_problem",
]


def inconsistency(asked: Header, lines: Sequence[Round]) -> str | None:
    """Return what is wrong, in words; None where the results are sound."""
    opening, recorded = asked.opening, asked.recorded
    n, t, classes = asked.images, len(asked.timed), asked.bundle.classes
    if not recorded or not lines:
        return "it holds no measurement"
    if asked.labels is not None and len(asked.labels) != n:
        return f"it has {len(asked.labels)} labels for {n} images"
    if asked.labels is not None and any(not 0 <= label < classes for label in asked.labels):
        return f"it has a label that is not among its {classes} classes"
    if asked.groups is not None and len(asked.groups) != n:
        return f"it has {len(asked.groups)} groups for {n} images"
    if asked.fingerprints is not None and len(asked.fingerprints) != n:
        return f"it has {len(asked.fingerprints)} fingerprints for {n} images"
    if any(not 0 <= index < n for index in asked.timed) or len(set(asked.timed)) != t or not t:
        return f"its timed images are not some of its {n}, each once"
    if len({one.set for one in recorded}) != len(recorded):
        return "it has a set twice"
    problem = opening_problem(opening, asked.schema_version)
    if problem:
        return problem
    for one in recorded:
        problem = trace_problem(one.set, one.trace, n, asked.bundle.experts, classes) or _settings_problem(
            one, asked.bundle.experts
        )
        if problem is None and one.there is not None:
            if any(not 0 <= index < n for index in one.there.images):
                return f"{one.set} was checked on images that are not among its {n}"
            problem = trace_problem(one.set, one.there.trace, len(one.there.images), asked.bundle.experts, classes)
        if problem:
            return problem
    wanted = [Wanted(one.set, len(one.settings), frozenset(one.macs)) for one in recorded]
    for line in lines:
        problem = round_problem(opening, wanted, line, t)
        if problem:
            return problem
    if len({shape(line) for line in lines}) > 1:
        return "it has a part with another number of samples in every round, or not the same things"
    if asked.sustained:
        defaults = {one.set: one.default for one in recorded} if asked.sustained_s else {}
        return sustained_problem(asked.sustained, defaults, asked.sustained_s)
    return None


def sustained_problem(found: Sequence[Sustained], asked: Mapping[str, Setting], seconds: int) -> str | None:
    """Return why this is not what was asked of sets without a pause, in words; None: it is.

    Args:
        found: what a target answered.
        asked: set -> at which operating point it runs, in the order of the answer.
        seconds: how long each runs.
    """
    names = [one.set for one in found]
    if names != list(asked):
        return f"it ran {', '.join(names) or 'nothing'} without a pause, not {', '.join(asked) or 'anything'}"
    for one in found:
        if one.setting != asked[one.set]:
            return f"{one.set} ran without a pause at another operating point than it was to"
        starts = [window.start_s for window in one.windows]
        if not starts or any(late <= early for early, late in pairwise(starts)) or starts[-1] >= seconds:
            return f"{one.set} has not its {seconds} s without a pause, one window after the other"
        if any(window.median < 0 or window.start_s < 0 for window in one.windows):
            return f"{one.set} has a window without a pause that began or cost less than nothing"
    return None


def opening_problem(opening: Opening, schema_version: int) -> str | None:
    """Return why an opening cannot be that of results of this schema, in words; None: it can."""
    if opening.schema_version != schema_version:
        return f"its opening is of schema {opening.schema_version}, not {schema_version}"
    if len({unit.name for unit in opening.units}) != len(opening.units):
        return "it has a unit twice"
    return None


class Wanted(NamedTuple):
    """A set that a round has to have."""

    set: str
    settings: int  # how many operating points
    parts: frozenset[str]


def round_problem(opening: Opening, sets: Sequence[Wanted], line: Round, timed: int) -> str | None:
    """Return why a round is not one of these, in words; None: it is. `timed`: T."""
    first = opening.units[0].name
    if len(line.sets) != len(sets):
        return f"a round has {len(line.sets)} sets, not {len(sets)}"
    if (len(line.peers), len(line.limits_ms)) != (len(opening.peers), len(opening.limits)):
        return "a round has not the peers and the matrix products of its opening, each once"
    if any(not raw for raw in line.limits_ms):
        return "it has a matrix product without a sample"
    for peer, costs in zip(opening.peers, line.peers, strict=True):
        if costs is not None and (first not in costs or any(len(raw) != timed for raw in costs.values())):
            return f"{peer.name} of {peer.key} has not {timed} samples in a round"
    for name, costs in line.steps.items():
        if first not in costs or any(len(raw) != timed for raw in costs.values()):
            return f"a step beside the parts has not {timed} samples in a round: {name}"
    return next(filter(None, (_set_problem(first, *pair, timed) for pair in zip(sets, line.sets, strict=True))), None)


def _set_problem(first: str, wanted: Wanted, one: SetRound, timed: int) -> str | None:
    name, experts = wanted.set, sum(part.startswith("expert_") for part in wanted.parts)
    if set(one.parts) != wanted.parts:
        return f"{name} has not the costs of each of its parts, once"
    if any(not costs.get(first) for costs in one.parts.values()):
        return f"{name} has a part without a sample in {first}"
    if not set(one.waking) | set(one.bounds) <= wanted.parts or any(
        not costs.get(first) for costs in one.waking.values()
    ):
        return f"{name} has waking or bounds of what is no part, or without a sample in {first}"
    if any(low > high for bounds in one.bounds.values() for low, high in bounds.values()):
        return f"{name} has bounds in the wrong order"
    if one.points and len(one.points) != wanted.settings:
        return f"{name} has {len(one.points)} operating points in a round, not {wanted.settings}"
    for place, point in enumerate(one.points):
        if {*map(len, point.costs.values()), len(point.ran)} != {timed} or first not in point.costs:
            return f"{name} has not {timed} samples in a round at its operating point {place + 1}"
        if any(k >= experts for ran in point.ran for k in ran or ()):
            return f"{name} ran an expert that is not among its {experts}"
    return None


def shape(line: Round) -> str:
    """Return what a round holds, and how many samples of it: the same in all rounds of a measurement."""

    def counts(costs: Mapping[str, Mapping[str, Sequence[float]]]) -> list[tuple[str, str, int]]:
        return sorted((what, unit, len(raw)) for what, each in costs.items() for unit, raw in each.items())

    sets = [(counts(one.parts), counts(one.waking), len(one.points)) for one in line.sets]
    return repr((sets, counts(line.steps), [costs is None for costs in line.peers]))


def trace_problem(name: str, stored: StoredTrace, n: int, k: int, classes: int) -> str | None:
    """Return why a trace is not one of N images and K experts, in words; None: it is. `name`: of the set."""
    columns = (stored.max_phi, stored.gate, stored.answers, stored.single)
    if any(len(rows) != n for rows in (*columns, stored.second_phi, stored.entropy, stored.log_sum_exp)):
        return f"the trace of {name} has not {n} images"
    if any(len(row) != k for row in (*stored.gate, *stored.single)) or any(len(row) != k + 1 for row in stored.answers):
        return f"the trace of {name} has not {k} experts"
    if any(not 0 <= answer < classes for row in (*stored.answers, *stored.single) for answer in row):
        return f"the trace of {name} has an answer that is not among its {classes} classes"
    return None


def _settings_problem(one: RecordedSet, k: int) -> str | None:
    settings, fewest = one.settings, min(1, k)  # 0 of a plain network
    if set(one.macs) != set(one.artifacts):
        return f"{one.set} has not the MACs of each of its parts, once"
    if not settings or len(set(settings)) != len(settings) or any(not fewest <= s.max_experts <= k for s in settings):
        return f"{one.set} has not each of its operating points once, with {fewest} to {k} experts"
    return None
