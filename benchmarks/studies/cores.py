"""Which recipe wins where: base and expert at full size, by every backend and recipe, on one device after the other.

    python -m edge_moe.benchmarks.studies.cores -o build/speed

On emulated Arm cores in instructions, which repeat to the last digit; on this host in milliseconds, of one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_moe import backends
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.studies.full_size import TITLE, full_size_bundle, inputs, workplace
from edge_moe.benchmarks.units import Unit
from edge_moe.bundle import Bundle
from edge_moe.converters.recipes import FLOAT
from edge_moe.output import write_file
from edge_moe.processor import this_processor
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["GOALS", "main", "measure", "to_markdown"]

DEVICES = ("arm:cortex-a76", "arm:cortex-a53", "host")
PARTS = ("base", "expert_00")
_ROUNDS = 21
# Device -> millions of instructions that the best of LiteRT's recipes should take at most, of base and expert.
GOALS = {"arm:cortex-a76": (13.5, 4.2), "arm:cortex-a53": (28.0, 10.8)}

Costs = dict[str, dict[str, float]]  # set -> part -> median


def measure(bundle: Path, devices: Sequence[str], progress: Progress) -> dict[str, tuple[Unit, Costs]]:
    """Return device -> its unit, and what base and expert cost there by each set of `bundle`.

    Raises:
        UsageError: there is no such device, or it cannot rank.
        BackendError: it cannot be used here.
    """
    opened = Bundle(bundle)
    images, features = (one[:, 0] for one in inputs(opened))
    found: dict[str, tuple[Unit, Costs]] = {}
    for name in devices:
        costs: Costs = {}
        for backend in dict.fromkeys(one.backend for one in opened.manifest.sets):
            files = {
                one.key: {part: opened.path / one.parts[part].file for part in PARTS}
                for one in opened.manifest.sets
                if one.backend == backend
            }
            given = {"base": images, "expert_00": features}
            unit, raw = targets.get(name).price(files, opened.manifest.parts, given, _ROUNDS, progress)
            for key, parts in raw.items():
                costs[str(key)] = {part: float(np.median(np.asarray(samples))) for part, samples in parts.items()}
            found[name] = (unit, costs)
    return found


def to_markdown(found: Mapping[str, tuple[Unit, Costs]]) -> str:
    """Return the tables as a page that a person can read."""
    lines = [f"# {TITLE}", ""]
    for name, (unit, costs) in found.items():
        where = f"{name}, {this_processor().title}" if targets.get(name).is_here else name
        lines += [f"## {where}, {unit.words}", ""]
        lines += [f"| | base, {unit.shown} | expert, {unit.shown} | base / fp32 | expert / fp32 |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for key, parts in sorted(costs.items(), key=lambda one: (_backend(one[0]), sum(one[1].values()))):
            base, expert = (parts[part] for part in PARTS)
            reference = costs.get(str(SetKey(_backend(key), FLOAT)), parts)
            ratios = (base / reference["base"], expert / reference["expert_00"])
            lines += [f"| {key} | {unit.digits(base)} | {unit.digits(expert)} | {ratios[0]:.2f} | {ratios[1]:.2f} |"]
        lines += ["", *_goals(name, unit, costs)]
    return "\n".join(lines).rstrip() + "\n"


def _goals(name: str, unit: Unit, costs: Costs) -> list[str]:
    """Return how the best of LiteRT's recipes stands to its goal."""
    ours = {key: parts for key, parts in costs.items() if _backend(key) == backends.native()[0]}
    if name not in GOALS or not ours:
        return []
    best = min(ours, key=lambda key: sum(ours[key].values()))
    told = []
    for part, most in zip(PARTS, GOALS[name], strict=True):
        value = unit.scaled(ours[best][part])
        told.append(
            f"{part.partition('_')[0]} {value:.3f}, goal at most {most:g}: {'met' if value <= most else 'MISSED'}"
        )
    return [f"Goal, {best}: {'; '.join(told)}.", ""]


def _backend(key: str) -> str:
    return SetKey.parse(key).backend


def main() -> None:
    """Read the arguments, measure, print and write the report."""
    parser = argparse.ArgumentParser(description="Measure every backend and recipe at full size on several devices.")
    parser.add_argument("-o", "--output", type=Path, help="folder for cores.json, cores.md and the bundle")
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("--backends", nargs="+", default=list(backends.native()), choices=backends.native())
    arguments = parser.parse_args()
    with workplace(arguments.output) as (folder, progress):
        bundle = full_size_bundle(folder, 1, progress, tuple(arguments.backends))
        found: dict[str, Any] = measure(bundle, arguments.devices, progress)
        write_file(folder / "cores.json", msgspec.json.encode(found))
        write_file(folder / "cores.md", to_markdown(found).encode())
    print(to_markdown(found))


if __name__ == "__main__":
    main()
