"""What converting costs: seconds a part, and seconds and peak memory of a bundle with many experts, at full size.

    python -m edge_moe.benchmarks.studies.conversion -o build/speed

Then one expert is added, and the new bundle takes over what did not change.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import psutil
import torch

from edge_moe.backends import native
from edge_moe.benchmarks import machine
from edge_moe.benchmarks.studies.full_size import TITLE, full_size_checkpoint
from edge_moe.converters.convert import ConversionOptions, convert
from edge_moe.converters.interface import kind_of
from edge_moe.data import NOISE
from edge_moe.output import write_file
from edge_moe.progress import Progress, shown_progress
from edge_moe.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

__all__ = ["main", "measure", "to_markdown"]

_EVERY_S = 0.1


def measure(folder: Path, experts: int, backends: tuple[str, ...], jobs: int, progress: Progress) -> dict[str, Any]:
    """Convert a mixture of `experts` experts, then one of an expert more; return what each took."""
    first, more = _checkpoints(folder, experts)
    options = ConversionOptions(backends=backends, calibration_images=128, validation_images=8)
    bundle = folder / "converted"
    runs = {}
    for name, checkpoint, reuse in (
        (f"K = {experts}", first, ()),
        (f"one expert more, from the bundle of {experts}", more, (bundle,)),
    ):
        out = bundle if not reuse else folder / "converted-more"
        shutil.rmtree(out, ignore_errors=True)
        settings = msgspec.structs.replace(options, reuse=reuse)
        with _Memory() as memory:
            start = perf_counter()
            report = convert(checkpoint, NOISE, out, settings, jobs=jobs, progress=progress)
            elapsed = perf_counter() - start
        runs[name] = {"seconds": elapsed, "peak_bytes": memory.peak, "parts": report.seconds}
    return {"machine": machine.this_machine(), "jobs": jobs, "backends": backends, "runs": runs}


def _checkpoints(folder: Path, experts: int) -> tuple[Path, Path]:
    """Return a checkpoint whose experts all differ, and the same with one more."""
    made = []
    for count in (experts, experts + 1):
        loaded = load_checkpoint(full_size_checkpoint(folder, count))
        for k, expert in enumerate(loaded.mixture.experts):
            torch.manual_seed(k)
            with torch.no_grad():
                for parameter in expert.parameters():
                    parameter.add_(0.01 * torch.randn_like(parameter) * parameter.abs().mean())
        path = folder / f"different-{count}"
        save_checkpoint(path, Checkpoint(loaded.config, loaded.mixture), force=True)
        made.append(path)
    return made[0], made[1]


class _Memory:
    """Watches how much memory this process and its children hold together."""

    def __enter__(self) -> _Memory:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._stop.wait(_EVERY_S):
            held = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    held += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, held)


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page that a person can read."""
    lines = [
        f"# Converting: {TITLE}",
        "",
        f"{report['machine'].processor}, {', '.join(report['backends'])}, --jobs {report['jobs']}, "
        "128 calibration images.",
        "",
        "| | seconds in all | parts converted | peak memory, MiB |",
        "|---|---:|---:|---:|",
    ]
    for name, run in report["runs"].items():
        built = sum(not part.endswith("graph") for part in run["parts"])
        lines += [f"| {name} | {run['seconds']:.0f} | {built} | {run['peak_bytes'] / 2**20:.0f} |"]
    lines += ["", "| K many: backend | part | seconds each (median) | how many |", "|---|---|---:|---:|"]
    first = next(iter(report["runs"].values()))["parts"]
    groups: dict[tuple[str, str], list[float]] = {}
    for label, seconds in first.items():
        backend, part = label.split("/")
        traced = part.endswith("graph")
        groups.setdefault((backend, part if traced else kind_of(part)), []).append(seconds)
    for (backend, part), seconds in sorted(groups.items()):
        lines += [f"| {backend} | {part} | {statistics.median(seconds):.1f} | {len(seconds)} |"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, measure, print and write the report."""
    parser = argparse.ArgumentParser(description="Measure what converting costs at full size.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for conversion.json and bundles")
    parser.add_argument("--experts", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--backends", nargs="+", default=list(native()), choices=native())
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with shown_progress() as progress:
        report = measure(arguments.output, arguments.experts, tuple(arguments.backends), arguments.jobs, progress)
    write_file(arguments.output / "conversion.json", msgspec.json.encode(report))
    write_file(arguments.output / "conversion.md", to_markdown(report).encode())
    print(to_markdown(report))


if __name__ == "__main__":
    main()
