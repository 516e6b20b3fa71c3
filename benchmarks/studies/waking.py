"""What opening an expert costs, in time and in memory, and how much of it bursts save.

    python -m edge_moe.benchmarks.studies.waking -o build/speed

On the full-size network, untrained, with many experts, by LiteRT in int8 on one thread. Memory is what a process alone
holds and no file could give again; each figure of it is of a process of its own.

Axis letters: K experts, N images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_moe import Runtime, packed
from edge_moe.anytime import Floats
from edge_moe.backends import OpenPart, PartTensors, Tensor
from edge_moe.benchmarks.samples import Summary, summary
from edge_moe.benchmarks.studies.full_size import bundle_of, workplace
from edge_moe.burst import Answered, Burst, Setting
from edge_moe.engine import Waking
from edge_moe.output import write_file
from edge_moe.pool import python
from edge_moe.processor import this_processor
from edge_moe.progress import Progress

__all__ = ["Policy", "main", "memory", "openings", "policies", "to_markdown"]

_EXPERTS, _IMAGES, _WAKING, _ROOM = 20, 256, 0.4, 2
_SETTLED_S = 3.0
_TAU = 0.5  # between the alpha of a drawn expert, of a network that doubts everything, and of none
_MIB = 1 << 20
_ANEW, _MAPPED, _AGAIN = "from its bytes", "mapped, first in a process", "mapped, once more"

# Uses experts one after the other, and tells how much more memory is held at most than before the first.
_PROBE = """
import sys
import numpy as np
from edge_moe import Runtime
from edge_moe.memory import private_bytes
bundle, experts, runs, budget, cache = sys.argv[1:]
limit = None if budget == "-" else int(budget)
with Runtime(bundle, recipe="int8", expert_budget_bytes=limit, weight_cache=cache if cache != "-" else False) as model:
    engine, draw, most = model._engine, np.random.default_rng(1), 0
    shape = model.manifest.parts["base"].inputs[0].shape
    base = engine.part("base")
    base.invoke(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    features = base.output("features")
    before = private_bytes()
    for run in range(int(runs)):
        engine.run(run if run < int(experts) else int(draw.integers(int(experts))), features)
        most = max(most, private_bytes() - before)
    print(most)
"""


class Policy(NamedTuple):
    """How a burst was answered."""

    openings: float
    milliseconds: float  # in all
    expected: float  # of its parts: N bases and gates, the experts that ran, the openings

    @property
    def ratio(self) -> float:
        """How much of what its parts take."""
        return self.milliseconds / self.expected


def openings(bundle: Path, cache: Path, rounds: int, progress: Progress) -> dict[str, Summary]:
    """Return the ms of opening an expert in three ways that take turns; the files are in the system's cache."""
    found: dict[str, list[float]] = {_ANEW: [], _MAPPED: [], _AGAIN: []}
    models = {name: Runtime(bundle, recipe="int8", weight_cache=name != _ANEW and cache) for name in found}
    progress.start("opening experts", rounds)
    for turn in range(rounds + 1):
        for name, model in models.items():
            if name == _MAPPED:
                packed.forget()  # as of a process that has not seen the files
            for k in range(model.manifest.experts):
                start = perf_counter()
                model._engine.experts.get(k)
                if turn:  # in the first, the weights are laid out
                    found[name].append((perf_counter() - start) * 1000)
            model._engine.experts.close()
        if turn:
            progress.advance("opening experts")
        else:
            sleep(_SETTLED_S)  # files that were just written are not taken for unchanged
    for model in models.values():
        model.close()
    return {name: summary(tuple(values)) for name, values in found.items()}


def memory(bundle: Path, experts: int, runs: int, budget: int | None, cache: Path | None) -> int:
    """Return how many bytes more a process holds at most that uses so many experts, `runs` times in all."""
    arguments = str(experts), str(runs), "-" if budget is None else str(budget), "-" if cache is None else str(cache)
    with python(_PROBE, str(bundle), *arguments) as process:
        out, errors = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, _PROBE, out, errors)
    return int(out)


def policies(bundle: Path, images: int, rounds: int, progress: Progress) -> dict[str, Policy]:
    """Answer bursts of tensors with room for two experts, from their bytes, by arrival and grouped: the medians."""
    with Runtime(bundle, recipe="int8", weight_cache=False) as model:
        parts, shape = model.artifacts.parts, model.manifest.parts["base"].inputs[0].shape
        tensors = np.random.default_rng(2).standard_normal((images, *shape)).astype(np.float32)
    room = 1 + _ROOM * round(2.25 * max(one.bytes for name, one in parts.items() if name.startswith("expert")))
    found: dict[str, list[Policy]] = {"arrival": [], "grouped": []}
    progress.start("bursts", rounds)
    for _ in range(rounds):
        for policy, rows in found.items():
            with Runtime(bundle, recipe="int8", weight_cache=False, tau=_TAU, expert_budget_bytes=room) as model:
                rows.append(_answered(model, policy, tensors))
        progress.advance("bursts")
    return {
        policy: Policy(*(median(row[place] for row in rows) for place in range(3))) for policy, rows in found.items()
    }


class _Drawn(OpenPart):
    """A gate that runs, and whose answer is drawn: the network is not trained, and would wake the same few always."""

    def __init__(self, gate: OpenPart, experts: int) -> None:
        self._gate, self._draw, self._experts = gate, np.random.default_rng(3), experts

    def invoke(self, tensor: Tensor) -> None:
        self._gate.invoke(tensor)

    def output(self, name: str) -> Tensor:
        """Return logits [1, K]: of one expert, or, where the image is to exit, of none more than of another."""
        found = 0 * self._gate.output(name)
        if self._draw.random() < _WAKING:
            found[0, self._draw.integers(self._experts)] = 20
        return found

    def tensors(self) -> PartTensors:
        return self._gate.tensors()

    def close(self) -> None:
        self._gate.close()


def _answered(model: Runtime, policy: str, tensors: npt.NDArray[np.float32]) -> Policy:
    engine = model._engine
    base, expert = _costs(model, tensors)
    assert engine._gate is not None
    engine._gate = _Drawn(engine._gate, model.manifest.experts)
    woken, run = list[float](), engine.run

    def watched(k: int, features: Tensor) -> Floats:
        """Run an expert, and note what it takes where it has to be opened, beyond what running it does."""
        new, start = k not in engine.experts.loaded, perf_counter()
        found = run(k, features)
        if new:
            woken.append((perf_counter() - start) * 1000 - expert)
        return found

    engine.run = watched  # type: ignore[method-assign]
    burst = Burst(engine, model._turn, lambda place: tensors[int(str(place))], Setting(model.tau, 1))
    start = perf_counter()
    answers: Iterator[Answered] = getattr(burst, policy)([str(place) for place in range(len(tensors))])
    awake = sum(not one.prediction.exited for one in answers if one.prediction is not None)
    taken = (perf_counter() - start) * 1000
    return Policy(len(woken), taken, len(tensors) * base + awake * expert + sum(woken))


def _costs(model: Runtime, tensors: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the median ms of base and gate, and of an expert, on as many images as are kept in no cache."""
    times: dict[str, list[float]] = {"base": [], "expert": []}
    engine = model._engine
    for x in tensors:
        start = perf_counter()
        found = engine.begin(start, x, 0.0, 1)
        times["base"].append((perf_counter() - start) * 1000)
        assert isinstance(found, Waking)
        start = perf_counter()
        engine.run(0, found.features)
        times["expert"].append((perf_counter() - start) * 1000)
    engine.experts.close()
    return median(times["base"]), median(times["expert"])


def to_markdown(
    opening: dict[str, Summary],
    held: dict[str, tuple[int, int]],
    budgets: dict[str, tuple[int, int]],
    bursts: dict[str, Policy],
) -> str:
    """Return the tables.

    Args:
        opening: way -> ms.
        held: way -> bytes that one expert holds, and all.
        budgets: way -> the budget in bytes, and what was held at most.
        bursts: policy -> what it took.
    """
    lines = [f"{this_processor().title}", "", "| opening an expert | median ms | p10 | p90 |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {one.median:.2f} | {one.p10:.2f} | {one.p90:.2f} |" for name, one in opening.items()]
    lines += ["", f"| private memory, MiB | K = 1 | K = {_EXPERTS}, all used | more |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {one / _MIB:.1f} | {many / _MIB:.1f} | {(many - one) / _MIB:.1f} |"
        for name, (one, many) in held.items()
    ]
    lines += ["", "| budget of experts, 1,000 runs | MiB | held at most | share |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {budget / _MIB:.1f} | {most / _MIB:.1f} | {most / budget:.0%} |"
        for name, (budget, most) in budgets.items()
    ]
    lines += [
        "",
        f"| {_IMAGES} images, {_WAKING:.0%} waking, room for {_ROOM} of {_EXPERTS} | openings | ms | parts | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {one.openings:.0f} | {one.milliseconds:.0f} | {one.expected:.0f} | {one.ratio:.3f} |"
        for name, one in bursts.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, measure, print and write waking.json and waking.md."""
    parser = argparse.ArgumentParser(description="Measure what opening an expert costs.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results and the bundle")
    parser.add_argument("--rounds", type=int, default=7, help="of opening every expert, and of bursts")
    arguments = parser.parse_args()
    with workplace(arguments.output) as (folder, progress):
        bundle, cache = bundle_of(folder, _EXPERTS, progress, ("litert/int8",)), folder / "weights"
        opening = openings(bundle, cache, arguments.rounds, progress)
        held = {
            name: (memory(bundle, 1, 1, None, where), memory(bundle, _EXPERTS, _EXPERTS, None, where))
            for name, where in (("from bytes", None), ("mapped", cache))
        }
        budgets = {
            name: (size, memory(bundle, _EXPERTS, 1000, size, where))
            for name, size, where in (
                ("from bytes", 12 * _MIB, None),
                ("from bytes, more", 24 * _MIB, None),
                ("mapped", 6 * _MIB, cache),
                ("mapped, more", 12 * _MIB, cache),
            )
        }
        bursts = policies(bundle, _IMAGES, arguments.rounds, progress)
        text = to_markdown(opening, held, budgets, bursts)
        figures = {
            "opening_ms": {name: one.median for name, one in opening.items()},
            "held_bytes": held,
            "budget_and_most_bytes": budgets,
            "bursts": {name: one._asdict() for name, one in bursts.items()},
        }
        write_file(folder / "waking.json", json.dumps(figures, indent=2).encode())
        write_file(folder / "waking.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
