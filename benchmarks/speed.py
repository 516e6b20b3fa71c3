"""What the runtime adds to its parts: MobileNetV3-Small, 224 pixels, 1000 classes, this host.

    python -m edge_moe.benchmarks.speed -o build/speed

All ratios are taken inside one run: the variants take turns in blocks of calls, in an order drawn anew each round.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from edge_moe import Runtime
from edge_moe.benchmarks import host
from edge_moe.benchmarks.full_size import TITLE, full_size_bundle
from edge_moe.benchmarks.results import Summary
from edge_moe.benchmarks.sweep import Options as SweepOptions
from edge_moe.benchmarks.sweep import sweep
from edge_moe.benchmarks.turns import at_most, bars_table, take_turns
from edge_moe.bundle import Bundle
from edge_moe.converters import recipes
from edge_moe.data import NOISE, open_data
from edge_moe.output import write_file
from edge_moe.progress import Progress, Silent, bars

__all__ = ["main", "measure", "to_markdown"]

_BACKEND = "litert"
_RECIPE = recipes.CANDIDATES[_BACKEND][0]


def measure(bundle: Path, rounds: int, threads: int, progress: Progress) -> dict[str, Any]:
    """Return the runtime's overhead and the sweep over tau, with the bars."""
    load_before = host.load_average()
    overhead = _overhead(bundle, rounds, threads)
    options = SweepOptions(
        backend=_BACKEND, recipe=_RECIPE, threads=threads, timed_images=64, rounds=max(5, rounds // 4)
    )
    points = sweep(bundle, NOISE, options, progress=progress).sets[0].points
    exit_path = overhead["predict"].median_ms / overhead["raw"].median_ms
    found = [at_most("exit path: predict_tensor / raw call", exit_path, 1.05)]
    for point in points:
        what = f"tau {point.point.tau:.3g} (exit rate {point.point.exit_rate:.0%}): mean / sum of parts"
        found.append(at_most(what, point.mean_ms / point.sum_of_parts_ms, 1.05))
    return {
        "machine": host.describe(load_before),
        "threads": threads,
        "rounds": rounds,
        "versions": Bundle(bundle).manifest.tools,
        "overhead": overhead,
        "bars": found,
    }


def _overhead(bundle: Path, rounds: int, threads: int) -> dict[str, Summary]:
    """Time the runtime's exit path against the bare interpreter that it holds, call by call.

    On the same interpreter: a second copy of the model would measure the processor's caches.
    """
    with Runtime(bundle, backend=_BACKEND, recipe=_RECIPE, tau=1.0, threads=threads) as runtime:
        x = next(open_data(NOISE, "val").tensors(runtime.manifest.preprocessing))
        base: Any = runtime.part("base")
        interpreter = base._interpreter
        index = interpreter.get_input_details()[0]["index"]
        logits = base._outputs["logits"]

        def raw() -> None:
            interpreter.set_tensor(index, x)
            interpreter.invoke()
            interpreter.get_tensor(logits)

        def predict() -> None:
            runtime.predict_tensor(x)

        return take_turns({"raw": raw, "predict": predict}, rounds, "overhead", Silent())


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page that a person can read."""
    machine = report["machine"]
    lines = [
        f"# {TITLE}",
        "",
        f"{_BACKEND}/{_RECIPE}, {machine.processor}, {report['threads']} thread(s), {report['rounds']} rounds; "
        f"load before and after: {machine.load_before}, {machine.load_after}.",
        "",
        *bars_table(report["bars"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, measure, print and write the report."""
    parser = argparse.ArgumentParser(description="Measure int8 and the runtime at full size.")
    parser.add_argument("-o", "--output", type=Path, help="folder for speed.json, speed.md and the bundle")
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        progress = stack.enter_context(bars())
        bundle = full_size_bundle(folder, arguments.experts, progress)
        report = measure(bundle, arguments.rounds, arguments.threads, progress)
        write_file(folder / "speed.json", msgspec.json.encode(report))
        write_file(folder / "speed.md", to_markdown(report).encode())
    print(to_markdown(report))


if __name__ == "__main__":
    main()
