"""What base and expert cost on every Ethos-U, with weights outside of the chip and in SRAM, at full size.

Beside them stands the same network on a processor, this host: an expert is another share of the base on each.

    python -m edge_moe.benchmarks.studies.npus -o work

writes npus.md into the folder `work`, and keeps there what it made.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_moe import Runtime
from edge_moe.backends.reference_model import KIND
from edge_moe.backends.reference_model import VERSION as REFERENCE
from edge_moe.backends.tosa import unpack
from edge_moe.benchmarks import machine, targets
from edge_moe.benchmarks.studies.full_size import TITLE, bundle_of, workplace
from edge_moe.benchmarks.targets.ethos_u.configs import Mode, parse
from edge_moe.benchmarks.targets.ethos_u.vela import VERSION as VELA
from edge_moe.benchmarks.targets.ethos_u.vela import Estimate, estimates
from edge_moe.bundle import Bundle
from edge_moe.converters import recipes
from edge_moe.data import NOISE, open_data
from edge_moe.output import write_file
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["main"]

NPUS = ("u55-128", "u55-256", "u65-256", "u65-512", "u85-256", "u85-512")
BASE, GATE, EXPERT = PARTS = ("base", "gate", "expert_00")
ON_CPU = SetKey("litert", "int8")
_HEAD = (
    "| NPU | system configuration | memory mode, weights in | base, M cycles | base, ms | expert, M cycles "
    "| expert, ms | expert / base | an exit saves | SRAM, KiB | weights, KiB, base and expert |"
)
_RULE = "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"


def _on_cpu(bundle: Bundle, progress: Progress) -> dict[str, float]:
    """Return part -> milliseconds on one core of this host, the median of all samples."""
    artifacts = next(one for one in bundle.manifest.sets if one.key == ON_CPU)
    files = {ON_CPU: {part: bundle.path / artifacts.parts[part].file for part in PARTS}}
    images = np.concatenate(list(open_data(NOISE, "val").sample(4).tensors(bundle.manifest.preprocessing)))
    with Runtime(bundle, backend=ON_CPU.backend, recipe=ON_CPU.recipe) as runtime:
        names = ("features", "embedding")
        given = runtime.part(BASE).each(names, [image[np.newaxis] for image in images])
    inputs = {BASE: images, **{part: np.concatenate(given[n]) for part, n in zip((EXPERT, GATE), names, strict=True)}}
    found = targets.get("host").price(files, bundle.manifest.parts, inputs, 60, progress)
    return {part: float(np.median(np.concatenate(raw))) for part, raw in found.samples[ON_CPU].items()}


def _saves(base: float, gate: float, expert: float) -> str:
    """Return which part of what an image costs that wakes one expert is saved by one that exits."""
    return f"{expert / base:.2f} | {(gate + expert) / (base + gate + expert):.0%}"


def _row(npu: str, system: str, mode: Mode, found: Mapping[str, Mapping[str, Estimate]]) -> str:
    base, gate, expert = (found[part][mode.name] for part in PARTS)
    weights = [one.facts[_weights(mode)] / 1024 for one in (base, expert)]
    sram = max(one.facts["SRAM bytes"] for one in (base, gate, expert)) / 1024
    cells = (
        *(npu, system, f"{mode.name}, {mode.weights}"),
        *(f"{base.cycles / 1e6:.3f}", f"{base.ms:.3f}", f"{expert.cycles / 1e6:.3f}", f"{expert.ms:.3f}"),
        *(
            _saves(base.cycles, gate.cycles, expert.cycles),
            f"{sram:,.0f}",
            " and ".join(f"{one:,.0f}" for one in weights),
        ),
    )
    return f"| {' | '.join(cells)} |"


def _weights(mode: Mode) -> str:
    """Return which of Vela's figures is where the weights lie."""
    return {"flash": "flash bytes", "DRAM": "DRAM bytes", "SRAM": "weights in SRAM bytes"}[mode.weights]


def to_markdown(bundle: Bundle, recipe: str, progress: Progress) -> list[str]:
    """Return the table of the NPUs for one recipe."""
    artifacts = next(one for one in bundle.manifest.sets if one.key == SetKey(KIND, recipe))
    graphs = {part: unpack(bundle.read(artifacts.parts[part])).graph for part in PARTS}
    lines = ["", f"## {KIND}/{recipe}", "", _HEAD, _RULE]
    for npu in NPUS:
        config = parse(npu)
        found = estimates(config, config.modes, graphs, progress, f"compiling {recipe} for {npu}")
        lines += [_row(npu, config.system, mode, found) for mode in config.modes]
    return lines


def main() -> None:
    """Read the arguments, make the bundle, ask, print and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="folder for npus.md and the bundle")
    arguments = parser.parse_args()
    wanted = [name for name in recipes.book(KIND).candidates if name != recipes.book(KIND).stock.name]
    with workplace(arguments.output) as (folder, progress):
        sets = (str(ON_CPU), *(f"{KIND}/{name}" for name in wanted))
        bundle = Bundle(bundle_of(folder, 1, progress, sets))
        macs = {part: bundle.manifest.parts[part].macs for part in PARTS}
        cpu = _on_cpu(bundle, progress)
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("executorch", "torch", "torchao")]
        lines = [
            f"# {TITLE}",
            "",
            f"Estimates of {VELA}, of graphs made with {', '.join(versions)} ({REFERENCE} answers them).",
            "",
            "| | base | expert | expert / base | an exit saves |",
            "|---|---:|---:|---:|---:|",
            f"| M MACs | {macs[BASE] / 1e6:.2f} | {macs[EXPERT] / 1e6:.2f} "
            f"| {_saves(macs[BASE], macs[GATE], macs[EXPERT])} |",
            f"| {ON_CPU} on one core of {machine.this_machine().processor}, ms, measured | {cpu[BASE]:.3f} "
            f"| {cpu[EXPERT]:.3f} | {_saves(cpu[BASE], cpu[GATE], cpu[EXPERT])} |",
        ]
        for name in wanted:
            lines += to_markdown(bundle, name, progress)
        page = "\n".join(lines) + "\n"
        write_file(folder / "npus.md", page.encode())
    print(page)


if __name__ == "__main__":
    main()
