"""simulation.json and simulation.csv: what was predicted, from which profile, on which images. Versioned and strict."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec

from edge_moe.benchmarks.recorded import BundleInfo
from edge_moe.benchmarks.units import Unit
from edge_moe.benchmarks.wire import Machine, Provenance
from edge_moe.bundle import OperatingPoint
from edge_moe.output import write_file
from edge_moe.sets import SetKey
from edge_moe.text import in_csv
from edge_moe.work import making

__all__ = [
    "FILES",
    "SCHEMA_VERSION",
    "Compared",
    "Comparison",
    "Profile",
    "SimulatedPoint",
    "Simulation",
    "write",
]

SCHEMA_VERSION = 2
FILES = ("simulation.json", "simulation.csv")
_COLUMNS = (
    *("tau", "max_experts", "samples", "exit_rate", "mean_macs", "accuracy", "accuracy_low", "accuracy_high"),
    *("unit", "mean", "median", "p10", "p90", "compared_predicted", "compared_measured"),
)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Profile(_Strict, frozen=True):
    """Where the parts' costs are from."""

    target: str
    created: str
    complete: bool
    machine: Machine
    versions: dict[str, str]
    backend_version: str
    threads: int
    data: str
    provenance: Provenance  # of its costs
    remarks: tuple[str, ...]  # why its figures are doubtful


class SimulatedPoint(_Strict, frozen=True):
    """One setting. Costs of one image, in the profile's unit."""

    point: OperatingPoint
    mean: float  # of the sum of what `PartCosts.cost` says of the parts that ran, and `SetResults.overhead`
    median: float  # of sums of one sample of each part that ran, drawn at random for every image
    p10: float
    p90: float


class Compared(_Strict, frozen=True):
    """The mean cost of one setting, both ways."""

    tau: float
    max_experts: int
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted / measured."""
        return self.predicted / self.measured


class Comparison(_Strict, frozen=True):
    """Against measured predictions."""

    created: str
    machine: Machine
    data: str
    same_images: bool  # True: predicted for the images that were timed; False: for all that were simulated
    images: int  # that were predicted for
    points: tuple[Compared, ...]
    missing: tuple[tuple[float, int], ...]  # (tau, max_experts) that were not measured
    remarks: tuple[str, ...]  # why the comparison is doubtful

    @property
    def errors(self) -> tuple[float, ...]:
        """|predicted / measured - 1| of each point."""
        return tuple(abs(one.ratio - 1) for one in self.points)


class Simulation(_Strict, frozen=True):
    """simulation.json."""

    schema_version: int
    created: str  # ISO 8601, UTC
    unit: str  # name
    counted_in: Unit  # what that name means
    profile: Profile
    bundle: BundleInfo
    backend: str
    recipe: str
    data: str
    images: int
    seed: int
    # max_experts -> what the runtime adds to the parts of an image that exits, and of one that wakes an expert: what
    # the profile's own predictions at tau = 1 and 0 took beyond their parts; 0 where it has none.
    overhead: dict[int, tuple[float, float]]
    points: tuple[SimulatedPoint, ...]
    comparison: Comparison | None
    digest: str | None = None  # of all that decides the answers, see edge_moe.digest; None: of an older edge-moe
    groups: int | None = None  # over how many originals the intervals are; None: over the images

    @property
    def key(self) -> SetKey:
        """Which set was simulated."""
        return SetKey(self.backend, self.recipe)


def write(simulation: Simulation, out: Path, *, force: bool = False) -> list[Path]:
    """Write simulation.json and simulation.csv into the folder `out`; return their paths.

    Raises:
        OutputError: `out` exists and `force` is not given, or cannot be written.
    """
    with making(out, "simulate", force=force) as work:
        folder = work.fresh()
        write_file(folder / FILES[0], msgspec.json.encode(simulation) + b"\n")
        write_file(folder / FILES[1], _csv(simulation).encode())
        work.publish()
    return [out / name for name in FILES]


def _csv(simulation: Simulation) -> str:
    """Return a line a setting; what is not known is empty."""
    compared = simulation.comparison.points if simulation.comparison else ()
    found = {(one.tau, one.max_experts): one for one in compared}
    stream = io.StringIO()
    table = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for one in simulation.points:
        row = {**msgspec.structs.asdict(one.point), **msgspec.structs.asdict(one), "unit": simulation.unit}
        del row["point"]
        both = found.get((one.point.tau, one.point.max_experts))
        if both is not None:
            row |= {"compared_predicted": both.predicted, "compared_measured": both.measured}
        table.writerow({name: in_csv(cell) for name, cell in row.items()})
    return stream.getvalue()
