"""What crosses between the harness and whatever measures: a plan goes out, an opening and rounds come back.

A job is a folder: `plan.json`, a bundle, input tensors. The answer is `rounds.jsonl`: its first line is the opening
(who answers, and what it counts), every other line one round, raw. Journal and results keep these very lines. Nothing
in them is derived: what follows from raw samples is computed by whoever reads them. A target that is asked for
predictions without a pause says after the rounds what these cost, window by window.

Axis letters: T timed images, K experts, R rounds.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from edge_moe.benchmarks.units import Unit
from edge_moe.records import Count, Digest, Fraction, Positive, Strict
from edge_moe.sets import SetKey

__all__ = [
    "SCHEMA_VERSION",
    "Compiled",
    "Cost",
    "Costs",
    "Detail",
    "Facts",
    "Layer",
    "Limit",
    "Machine",
    "Opening",
    "Peer",
    "Plan",
    "PlannedSet",
    "PointRound",
    "Provenance",
    "Ran",
    "Round",
    "Seen",
    "SetRound",
    "Setting",
    "Sustained",
    "Window",
]

SCHEMA_VERSION = 3

Cost = Annotated[float, msgspec.Meta(ge=0.0)]
Samples: TypeAlias = tuple[Cost, ...]
Costs: TypeAlias = dict[str, Samples]  # name of the unit -> samples
Facts: TypeAlias = dict[str, str | int | float | bool | None]  # whatever else a target knows, by a name for people
Provenance = Literal["measured", "emulated", "estimated"]
# The experts that ran for one image, ascending; none: it exited; None: it exited before its gate ran.
Ran: TypeAlias = tuple[Count, ...] | None


class Setting(Strict, frozen=True):
    """An operating point to measure."""

    tau: Fraction
    max_experts: Count


class PlannedSet(Strict, frozen=True, omit_defaults=True):
    """One set of the bundle, and what to do with it."""

    set: str  # backend/recipe, as the manifest has it
    settings: tuple[Setting, ...]
    order: tuple[tuple[Count, ...], ...]  # [T][K] the experts of each timed image, the gate's first choice first
    sustained: Setting | None = None  # at which it runs without a pause; None: it does not


class Plan(Strict, frozen=True, omit_defaults=True):
    """plan.json: what to measure."""

    schema_version: int
    bundle: str  # folder, beside plan.json
    sets: tuple[PlannedSet, ...]
    inputs: str  # .npy, float32 [T, H, W, 3]: the input tensors of the timed images
    images: tuple[str, ...]  # [T] the files that these tensors were made of, for what reads images there
    threads: Positive
    rounds: Positive
    cold_starts: Count  # one a round, in the first rounds
    seed: Count  # of the order in which a round takes its turns
    peers: bool = False  # also what one would do otherwise, where the target can
    sustained_s: Count = 0  # how long each set runs without a pause after the rounds; 0: not at all

    @property
    def timed(self) -> int:
        """T."""
        return len(self.images)


class Machine(Strict, frozen=True, omit_defaults=True):
    """What executed the artifacts."""

    name: str  # what kind of machine it is, for titles; a host's own name is nobody's business
    system: str = ""
    processor: str = ""
    logical_cpus: int | None = None
    memory_bytes: int | None = None
    facts: Facts = msgspec.field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name and processor, once each: a host is called by its processor."""
        alone = not self.processor or self.processor.startswith(self.name)
        return (self.processor or self.name) if alone else f"{self.name}, {self.processor}"


class Compiled(Strict, frozen=True):
    """What an artifact was compiled into, to run there."""

    file: str
    bytes: Count
    sha256: Digest
    tool: str
    version: str


class Layer(Strict, frozen=True):
    """One operator of a part, as the target's own tool has it."""

    name: str
    operator: str
    costs: dict[str, Cost]  # by names of units, which need not be the opening's


class Detail(Strict, frozen=True):
    """What the target's own tool says of a part beside its costs, in one way to run it."""

    way: str  # such as a memory mode, by its name
    facts: Facts
    layers: tuple[Layer, ...] = ()  # in the order in which they run


class Peer(Strict, frozen=True):
    """What one would do otherwise, on the same timed images."""

    name: str
    backend: str
    recipe: str
    about: str
    tau: Fraction | None  # None: does not depend on it
    missing: str | None  # why it is not measured, and what to do

    @property
    def key(self) -> SetKey:
        """Which set it is an alternative to, or what runs it instead."""
        return SetKey(self.backend, self.recipe)


class Limit(Strict, frozen=True):
    """A large matrix product: what the machine reaches where nothing but arithmetic counts."""

    dtype: Literal["int8", "fp32"]
    library: str
    shape: tuple[Positive, Positive, Positive]  # M, K, N

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one product."""
        return math.prod(self.shape)


class Opening(Strict, frozen=True, omit_defaults=True):
    """The first line: who answers, what it counts, and how things stood when it began."""

    schema_version: int
    target: str  # kind, or kind:parameter
    units: Annotated[tuple[Unit, ...], msgspec.Meta(min_length=1)]  # the first is what a cost is, where one is meant
    machine: Machine
    versions: dict[str, str]  # set -> name and version of what executes it there
    # Name of the unit -> where its figures are from; measured if not named.
    provenance: dict[str, Provenance] = msgspec.field(default_factory=dict)
    how: str = ""  # whatever else has to be known where a figure stands, in words: "in a browser (WebAssembly)"
    # Set -> part -> what runs in the artifact's place; of a set that is not named the artifacts themselves.
    compiled: dict[str, dict[str, Compiled]] = msgspec.field(default_factory=dict)
    # Set -> part -> what is known of it beside its costs.
    details: dict[str, dict[str, tuple[Detail, ...]]] = msgspec.field(default_factory=dict)
    peers: tuple[Peer, ...] = ()
    limits: tuple[Limit, ...] = ()
    cpus: tuple[Count, ...] | None = None  # that the process was pinned to; None: not pinned, or not known
    load: float | None = None  # 1-minute mean of runnable processes, before the first round
    remarks: tuple[str, ...] = ()  # why its figures are doubtful, in words
    facts: Facts = msgspec.field(default_factory=dict)


class Seen(Strict, frozen=True, omit_defaults=True):
    """What else went on in one round; whatever is not known is left away."""

    elapsed_s: float | None = None  # of all measured CPUs together
    others_s: float | None = None  # of it, what other processes and the hypervisor took
    probe_ms: float | None = None  # the same computation in every round
    throttled: int | None = None  # times that the processor or the system's quota slowed it down
    load: float | None = None  # 1-minute mean of runnable processes, after the round
    remarks: tuple[str, ...] = ()
    facts: Facts = msgspec.field(default_factory=dict)


class PointRound(Strict, frozen=True):
    """One operating point in one round: whole predictions of prepared input tensors."""

    costs: Costs  # [T] each
    ran: tuple[Ran, ...]  # [T]


class SetRound(Strict, frozen=True, omit_defaults=True):
    """One set in one round."""

    parts: dict[str, Costs]  # part -> the same images in the same order in every round
    points: tuple[PointRound, ...] = ()  # in the plan's order; none: this target runs parts only
    # Part -> what it takes to read, check and open its artifact.
    waking: dict[str, Costs] = msgspec.field(default_factory=dict)
    # Part -> unit -> between which an estimate lies.
    bounds: dict[str, dict[str, tuple[Cost, Cost]]] = msgspec.field(default_factory=dict)
    cold_start_ms: Cost | None = None
    peak_rss_bytes: Count | None = None


class Round(Strict, frozen=True, omit_defaults=True):
    """One line: everything once, in an order drawn anew."""

    sets: tuple[SetRound, ...]
    # "preprocessing" -> [T], from the image file to the input tensor.
    steps: dict[str, Costs] = msgspec.field(default_factory=dict)
    peers: tuple[Costs | None, ...] = ()  # in the opening's order
    limits_ms: tuple[Samples, ...] = ()  # in the opening's order
    seen: Seen | None = None


class Window(Strict, frozen=True, omit_defaults=True):
    """Some seconds of predictions without a pause."""

    start_s: Cost  # since the set's first prediction
    median: Cost  # of the predictions that began in it, in the opening's first unit
    count: Positive  # how many these were
    facts: Facts = msgspec.field(default_factory=dict)  # how things stood at its end: the clock, how warm it was


class Sustained(Strict, frozen=True):
    """One set that ran without a pause."""

    set: str
    setting: Setting
    windows: Annotated[tuple[Window, ...], msgspec.Meta(min_length=1)]  # one after the other


def schema() -> dict[str, Any]:
    """Return the JSON schema of plan.json and of all kinds of lines, for runners in other languages."""
    records = (Plan, Opening, Round, tuple[Sustained, ...])
    (plan, opening, line, sustained), parts = msgspec.json.schema_components(records, ref_template="#/$defs/{name}")
    kinds = {"plan.json": plan, "rounds.jsonl, first line": opening, "rounds.jsonl, other lines": line}
    kinds |= {"answer to sustained, one line": sustained}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "files": kinds, "$defs": parts}
