"""Vela, Arm's compiler for Ethos-U: what a part costs by its own reckoning, layer by layer, in one memory mode.

It runs in a process of its own, with its own folder of modules: what it prints and how it ends is not ours.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

from edge_moe.backends.reference_model import tools_folder
from edge_moe.benchmarks.targets.ethos_u.configs import Config, Mode
from edge_moe.benchmarks.wire import Layer
from edge_moe.brought import import_from
from edge_moe.errors import BackendError
from edge_moe.pool import Pool, WorkerLost
from edge_moe.progress import Progress
from edge_moe.records import sha256

__all__ = ["VELA", "VERSION", "Estimate", "estimates"]

VELA = "vela"  # the folder of the set-up
VERSION = "ethos-u-vela 5.1.0"
_CONFIGURATIONS = "Arm/vela.ini"  # Vela's own
_KIB = 1024
# What of Vela's summary is kept, by a name for people, and by what to multiply it.
_KEPT = {
    "NPU cycles": ("cycles_npu", 1),
    "SRAM cycles": ("cycles_sram_access", 1),
    "DRAM cycles": ("cycles_dram_access", 1),
    "on-chip flash cycles": ("cycles_on_chip_flash_access", 1),
    "flash cycles": ("cycles_off_chip_flash_access", 1),
    "SRAM bytes": ("sram_memory_used", _KIB),
    "DRAM bytes": ("dram_memory_used", _KIB),
    "weights in SRAM bytes": ("on_chip_flash_memory_used", _KIB),
    "flash bytes": ("off_chip_flash_memory_used", _KIB),
    "SRAM traffic bytes": ("sram_total_bytes", 1),
    "DRAM traffic bytes": ("dram_total_bytes", 1),
    "on-chip flash traffic bytes": ("on_chip_flash_total_bytes", 1),
    "flash traffic bytes": ("off_chip_flash_total_bytes", 1),
    "MACs": ("nn_macs", 1),
    "clock MHz": ("core_clock", 1e-6),
}
# What of each layer, by the unit's name.
_OF_LAYERS = {
    "cycles": "Op Cycles",
    "npu_cycles": "NPU",
    "sram_cycles": "SRAM AC",
    "dram_cycles": "DRAM AC",
    "on_chip_flash_cycles": "OnFlash AC",
    "flash_cycles": "OffFlash AC",
    "sram_bytes": "Staging Usage",
    "macs": "MAC Count",
}


class Estimate(NamedTuple):
    """What Vela says of a part in one memory mode."""

    cycles: float
    ms: float
    facts: Mapping[str, int]  # see _KEPT
    layers: tuple[Layer, ...]
    bytes: int  # of what was compiled
    sha256: str

    @property
    def widest(self) -> str:
        """The layer that needs the most SRAM."""
        return max(self.layers, key=lambda one: one.costs["sram_bytes"]).name


def estimates(
    config: Config, modes: Sequence[Mode], graphs: Mapping[str, bytes], progress: Progress, step: str
) -> dict[str, dict[str, Estimate]]:
    """Compile graphs for one NPU -> name of the graph -> memory mode -> what Vela says of it.

    Args:
        config: the NPU, and its system.
        modes: memory modes.
        graphs: name for people -> a TOSA graph, checked; each is compiled once a mode.
        progress: is told of each compilation.
        step: of the progress.

    Raises:
        BackendError: Vela refuses a graph, leaves an operator to the CPU, or ends; names the graph.
    """
    found: dict[str, dict[str, Estimate]] = {name: {} for name in graphs}
    progress.start(step, len(graphs) * len(modes))
    with Pool(os.cpu_count() or 1) as pool:
        asked = {
            pool.submit(_compile, str(tools_folder(VELA)), graph, name, _arguments(config, mode)): (name, mode.name)
            for name, graph in graphs.items()
            for mode in modes
        }
        try:
            while finished := pool.wait():
                for future in finished:
                    name, mode = asked[future]
                    found[name][mode] = future.result()
                    progress.advance(step, f"{name}, {mode}")
        except WorkerLost as lost:
            words = f" (last words: {lost.words})" if lost.words else ""
            raise BackendError(f"a process of {VERSION} {lost}{words}; report this") from None
    return found


def _arguments(config: Config, mode: Mode) -> list[str]:
    given = [
        *("--accelerator-config", f"ethos-{config.npu}", "--config", _CONFIGURATIONS),
        *("--system-config", config.system, "--memory-mode", mode.name),
        *("--output-format", "raw", "--verbose-performance"),  # the last writes what layers cost
    ]
    if config.sram_kib is not None:
        given += ["--arena-cache-size", str(config.sram_kib * _KIB)]
    return given


def _compile(folder: str, graph: bytes, name: str, arguments: Sequence[str]) -> Estimate:
    """Compile, in a process of the pool."""
    vela: Any = import_from(Path(folder), "ethosu.vela.vela")
    with tempfile.TemporaryDirectory() as there, chdir(there):
        Path("part.tosa").write_bytes(graph)
        try:
            vela.main(["part.tosa", "--output-dir", "out", *arguments])
        except (Exception, SystemExit) as error:  # whatever its passes raise
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise BackendError(f"{VERSION} cannot compile {name}: {said}") from None
        out = Path("out")
        (summary,) = _rows(next(out.glob("*_summary_*.csv")))
        layers = _rows(next(out.glob("*_per-layer.csv")))
        made = next(out.glob("*_vela.npz")).read_bytes()
    if others := [one["Name"] for one in layers if one["Target"] != "NPU"]:
        raise BackendError(
            f"{VERSION} leaves {', '.join(dict.fromkeys(others))} of {name} to the CPU; replace the operators"
        )
    return Estimate(
        cycles=float(summary["cycles_total"]),
        ms=float(summary["inference_time"]) * 1000,
        facts={name: round(float(summary[column]) * times) for name, (column, times) in _KEPT.items()},
        layers=tuple(_layer(one) for one in layers),
        bytes=len(made),
        sha256=sha256(made),
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def _layer(row: Mapping[str, str]) -> Layer:
    costs = {unit: float(row[column]) for unit, column in _OF_LAYERS.items()}
    return Layer(name=row["Name"].strip(), operator=row["NNG Operator"], costs=costs)
