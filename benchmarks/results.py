"""results.json: a header, and the raw rounds as the target sent them. Versioned, strict, nothing derived stored.

One schema for every target. What follows from it, a part's cost or an operating point's accuracy, is computed by
`Results.sets` and its like when somebody asks.

Axis letters: N validation images, K experts, R rounds, T timed images.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.benchmarks import five_runs
from edge_moe.benchmarks.conditions import Conditions, judge
from edge_moe.benchmarks.measured import MeasuredLimit, MeasuredPeer, SetResults
from edge_moe.benchmarks.recorded import Header
from edge_moe.benchmarks.samples import Rows, typical
from edge_moe.benchmarks.sound import inconsistency
from edge_moe.benchmarks.units import Unit
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Machine, Provenance, Round
from edge_moe.errors import DataError
from edge_moe.files import no_file
from edge_moe.untrusted import Malformed, OtherVersion, as_record, read, versioned

__all__ = ["Results", "load"]

_MOST_BYTES = 256 << 20  # ten million samples


class Results(Header, frozen=True, kw_only=True, dict=True):
    """results.json."""

    lines: tuple[Round, ...] = msgspec.field(name="rounds")  # as they came

    @property
    def rounds(self) -> int:
        """R."""
        return len(self.lines)

    @property
    def complete(self) -> bool:
        """Whether it was not stopped before the last round."""
        return self.rounds == self.rounds_asked

    @property
    def whole(self) -> bool:
        """Whether nothing is missing of what was asked for: the rounds, and what follows them."""
        return self.complete and bool(self.sustained) == bool(self.sustained_s)

    @property
    def target(self) -> str:
        """What ran the artifacts."""
        return self.opening.target

    @property
    def machine(self) -> Machine:
        """What it ran on."""
        return self.opening.machine

    @property
    def unit(self) -> Unit:
        """What a cost is counted in, where one is meant: the target's first."""
        return self.opening.units[0]

    def provenance(self, unit: str | None = None) -> Provenance:
        """Return where the figures in a unit are from; of none named, those of `unit`."""
        return self.opening.provenance.get(unit or self.unit.name, "measured")

    def obtained(self, unit: str | None = None) -> str:
        """Return the same in words, with whatever else the target says of its figures: "measured, in a browser"."""
        return ", ".join(filter(None, (self.provenance(unit), self.opening.how)))

    @cached_property
    def conditions(self) -> Conditions:
        """What else went on."""
        opening, seen = self.opening, [one.seen for one in self.lines]
        found = judge(seen, cpus=opening.cpus, load=opening.load, remarks=opening.remarks)
        own = list(five_runs.remarks(self.rounds_apart))
        if self.complete and not self.whole:
            own.append(
                f"stopped before every set had run for {self.sustained_s / 60:.3g} min without a pause: what they cost "
                "on a warm device is not known; repeat the command to measure it"
            )
        return replace(found, remarks=(*found.remarks, *self.remarks, *own))

    @cached_property
    def rounds_apart(self) -> list[five_runs.Apart]:
        """How far the rounds of each set lie apart, where they are to be held against each other."""
        return five_runs.apart(self.sets) if self.five_runs else []

    @cached_property
    def sets(self) -> tuple[SetResults, ...]:
        """What each set costs and answers."""
        return tuple(
            SetResults(
                recorded=one,
                backend_version=self.opening.versions.get(one.set, "not told"),
                unit=self.unit,
                rounds=tuple(line.sets[place] for line in self.lines),
                timed=np.array(self.timed, np.intp),
                labels=None if self.labels is None else np.array(self.labels, np.intp),
                groups=self.grouping,
            )
            for place, one in enumerate(self.recorded)
        )

    @cached_property
    def peers(self) -> tuple[MeasuredPeer, ...]:
        """What one would do otherwise."""
        found = []
        for place, peer in enumerate(self.opening.peers):
            costs = [line.peers[place] for line in self.lines]
            rows = tuple(one[self.unit.name] for one in costs if one is not None and self.unit.name in one)
            found.append(MeasuredPeer(**msgspec.structs.asdict(peer), raw=rows or None))
        return tuple(found)

    @cached_property
    def limits(self) -> tuple[MeasuredLimit, ...]:
        """What the machine reaches on large matrix products."""
        return tuple(
            MeasuredLimit(
                **msgspec.structs.asdict(limit), raw=tuple(ms for line in self.lines for ms in line.limits_ms[place])
            )
            for place, limit in enumerate(self.opening.limits)
        )

    def step(self, name: str) -> Rows:
        """[R][T] what a step beside the parts cost, "preprocessing"; empty where the target did not run it."""
        return tuple(line.steps[name][self.unit.name] for line in self.lines if name in line.steps)

    @cached_property
    def preprocessing(self) -> float | None:
        """The cost of the way from an image file to the input tensor; None: the target did not go it."""
        raw = self.step("preprocessing")
        return typical(raw) if raw else None

    @property
    def grouping(self) -> npt.NDArray[np.int64] | None:
        """`groups` as an array, for intervals: [N]."""
        return None if self.groups is None else np.array(self.groups)


def load(file: Path) -> Results:
    """Read and check a results file, or the results.json of a folder.

    Raises:
        DataError: missing, half written, of another schema version, or with numbers that cannot be.
    """
    if file.is_dir():
        file = file / "results.json"
    if why := no_file(file):
        raise DataError(f"{file} {why}; expected a results.json made by 'edge-moe bench'")
    data = b""
    try:
        data = read(file, _MOST_BYTES)
        results = as_record(versioned(data, SCHEMA_VERSION), Results)
    except OtherVersion as error:
        newer = isinstance(error.found, int) and error.found > SCHEMA_VERSION
        todo = "update edge-moe" if newer else "measure again with 'edge-moe bench'"
        raise DataError(f"{file} has schema version {error}; this edge-moe reads {SCHEMA_VERSION}: {todo}") from None
    except Malformed as error:
        found = re.search(rb"[:,\[]\s*(NaN|-?Infinity)", data)  # which JSON does not have, but some writers write
        why = f"it holds {found[1].decode()} where a number should be" if found else str(error)
        raise DataError(f"{file} is not a results file: {why}; measure again") from None
    problem = inconsistency(results, results.lines)
    if problem:
        raise DataError(f"{file} is not a results file: {problem}; measure again")
    return results
