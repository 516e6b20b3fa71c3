"""golden/vectors.json: the exit rule and the ensemble on numbers alone, for every port to be held against.

Logits go in; out come which experts run, whether the gate had to, the scores and the answer. The numbers that go in
are multiples of 1/16, so that they are the same in float and in double, and what is equal here is equal everywhere:
two gates alike, a tau that is alpha, two classes alike do not happen on images, and a port must know what to do then.

Axis letters: K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from edge_moe.anytime import Ensemble, Floats, Space
from edge_moe.comparing import relative_error
from edge_moe.errors import BundleError
from edge_moe.evaluate import Outputs, route
from edge_moe.records import Count, Fraction, Positive, Strict

__all__ = ["Vector", "Vectors", "decode", "make", "problem"]

_SCHEMA_VERSION = 1
# Of scores, relative L2 error: what exp differs by between two libraries, and far less than a mistake.
_TOLERANCE = 1e-5
_NEVER = -1000.0  # a logit whose probability is 0 in float and in double
_STEP = 1 / 16


class Vector(Strict, frozen=True):
    """One decision."""

    name: str
    tau: Fraction
    max_experts: Count
    base_logits: tuple[float, ...]  # [Y]
    gate_logits: tuple[float, ...]  # [K]
    expert_logits: dict[int, tuple[float, ...]]  # of the experts that may be asked: index -> [Y]
    gate_ran: bool
    experts: tuple[Count, ...]  # active, in ascending order
    scores: tuple[float, ...]  # [Y]: sum of g_k d_k over the active, not normalised; phi on exit
    label: Count


class Vectors(Strict, frozen=True):
    """The file."""

    schema_version: int
    experts: Count
    classes: Positive
    ensemble: Ensemble
    space: Space
    tolerance: float  # largest relative L2 error of the scores; everything else must be the same
    vectors: tuple[Vector, ...]


def make(experts: int, classes: int, kind: Ensemble, space: Space) -> bytes:
    """Return the file for a bundle of K `experts` and Y `classes`; always the same bytes for the same rule."""
    vectors = tuple(
        _decided(name, tau, most, base, gate, asked, kind, space)
        for name, tau, most, base, gate, asked in _questions(experts, classes)
    )
    return msgspec.json.encode(
        Vectors(
            schema_version=_SCHEMA_VERSION,
            experts=experts,
            classes=classes,
            ensemble=kind,
            space=space,
            tolerance=_TOLERANCE,
            vectors=vectors,
        )
    )


def decode(data: bytes) -> Vectors:
    """Return what the bytes of a file hold; raise BundleError where they are no such file."""
    try:
        found = msgspec.json.decode(data, type=Vectors)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"the golden vectors cannot be read: {error}; convert the bundle again") from None
    if found.schema_version != _SCHEMA_VERSION:
        raise BundleError(
            f"the golden vectors have schema version {found.schema_version}; this edge-moe reads {_SCHEMA_VERSION}: "
            "convert the bundle again"
        )
    return found


def problem(vector: Vector, of: Vectors) -> str | None:
    """Return in words what this package's rule says otherwise than the file; None: nothing."""
    asked = {k: np.array(logits, np.float32) for k, logits in vector.expert_logits.items()}
    base, gate = (np.array(logits, np.float32) for logits in (vector.base_logits, vector.gate_logits))
    if base.shape != (of.classes,) or gate.shape != (of.experts,):
        return f"it has {base.size} classes and {gate.size} experts"
    found = _decided(vector.name, vector.tau, vector.max_experts, base, gate, asked, of.ensemble, of.space)
    for field in ("gate_ran", "experts", "label"):
        here, there = getattr(found, field), getattr(vector, field)
        if here != there:
            return f"{field} is {here}, expected {there}"
    error = relative_error(np.array(found.scores), np.array(vector.scores))
    return None if error <= of.tolerance else f"scores: relative error {error:.1e}, tolerance {of.tolerance:.1e}"


def _decided(
    name: str,
    tau: float,
    most: int,
    base: Floats,
    gate: Floats,
    asked: dict[int, Floats],
    kind: Ensemble,
    space: Space,
) -> Vector:
    """Return what the rule makes of the logits."""
    logits = np.zeros((1, gate.size, base.size), np.float32)
    for k, values in asked.items():
        logits[0, k] = values
    routed = route(Outputs(base[np.newaxis], gate[np.newaxis], logits), tau, most, kind, space)
    return Vector(
        name=name,
        tau=tau,
        max_experts=most,
        base_logits=tuple(base.tolist()),
        gate_logits=tuple(gate.tolist()),
        expert_logits={k: tuple(values.tolist()) for k, values in asked.items()},
        gate_ran=bool(routed.gate_ran[0]),
        experts=tuple(np.flatnonzero(routed.active[0]).tolist()),
        scores=tuple(float(f"{value:.9g}") for value in routed.scores[0].tolist()),  # nine digits tell floats apart
        label=int(routed.predictions[0]),
    )


_Question = tuple[str, float, int, Floats, Floats, dict[int, Floats]]


def _questions(experts: int, classes: int) -> Iterator[_Question]:
    """Yield name, tau, max_experts, base's and gate's logits, and those of the experts that may be asked."""
    draw = np.random.default_rng(0)

    def logits(count: int, **places: float) -> Floats:
        found = (draw.integers(-16, 17, count) * _STEP).astype(np.float32)
        for place, value in places.items():
            found[int(place[1:])] = value
        return found

    def base_logits() -> Floats:
        return logits(classes, _0=1.25)

    def asked(*which: int, leaders: int | None = None) -> dict[int, Floats]:
        """Return the experts' logits; each has a first choice of its own, clear enough that no last bit decides."""
        places = [
            (1 + i % (classes - 1) if classes > 1 else 0) if leaders is None else leaders for i in range(len(which))
        ]
        return {k: logits(classes, **{f"_{place}": 4.0}) for k, place in zip(which, places, strict=True)}

    most = min(1, experts)
    if classes > 1:
        alike = logits(classes, **{f"_{classes - 1}": 2.0, f"_{classes - 2}": 2.0})
        yield "two classes alike: the lower index", 1.0, most, alike, logits(experts), {}
        yield "exit before the gate", 0.5, most, logits(classes, _1=16.0), logits(experts), {}
    if not experts:
        return
    last = experts - 1
    yield "one expert", 0.0, 1, base_logits(), logits(experts, **{f"_{last}": 3.0}), asked(last)
    # exp overflows unless the largest logit is taken off; every alpha is 0, and only the gate has an order left.
    yield "a base without a doubt", 0.0, 1, logits(classes, _0=1000.0), logits(experts, _0=3.0), asked(0)
    if experts > 1:
        pair = {f"_{last - 1}": 2.0, f"_{last}": 2.0}
        yield "two gates alike: the lower index", 0.0, 1, base_logits(), logits(experts, **pair), asked(last - 1, last)
        gate = logits(experts, **{"_0": 2.0, f"_{last}": 3.0})
        yield "two experts: weights are not renormalised", 0.0, 2, base_logits(), gate, asked(0, last)
    if experts > 2:
        gate = logits(experts, _0=2.0, _1=3.0, _2=2.0)
        yield "two gates alike for the second place", 0.0, 2, base_logits(), gate, asked(0, 1, 2)
    if classes > 1:
        # phi is 1/2 for two classes and g is 1/2 for two experts (1 where there is one), exactly.
        base, gate = np.full(classes, _NEVER, np.float32), np.full(experts, _NEVER, np.float32)
        base[-2:] = gate[-2:] = 0.0
        chosen = tuple(range(experts))[-2:]
        border = 0.5 / len(chosen)
        members = asked(*chosen, leaders=classes - 1)
        yield "tau is alpha: runs", border, len(chosen), base, gate, members
        yield "tau is above alpha: exit", border + 2**-20, len(chosen), base, gate, members
