"""What int8 is worth: base and expert at full size, by every backend and recipe, on this host.

    python -m edge_moe.benchmarks.studies.recipes -o build/speed

Torch eager and what each quantizer does by itself are measured along. All ratios are taken inside one run.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from edge_moe import backends
from edge_moe.benchmarks import machine
from edge_moe.benchmarks.conditions import Conditions, judge
from edge_moe.benchmarks.peers.stock import PARTS, make_stock, stock_call
from edge_moe.benchmarks.samples import Summary
from edge_moe.benchmarks.studies.full_size import TITLE, full_size_bundle, full_size_checkpoint, inputs, workplace
from edge_moe.benchmarks.studies.turns import Goal, at_least, goals_table, take_turns
from edge_moe.benchmarks.watch import Watch
from edge_moe.bundle import Bundle
from edge_moe.converters import recipes
from edge_moe.output import write_file
from edge_moe.progress import Progress
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import load_checkpoint

__all__ = ["main", "measure", "to_markdown"]

_Floats = npt.NDArray[np.float32]
_EAGER = "torch eager"
_STOCK = "{}, the quantizer's own"  # of a backend; a bundle may have its stock recipe as well


def measure(
    bundle: Path, checkpoint: Path, folder: Path, rounds: int, threads: Sequence[int], progress: Progress
) -> dict[str, Any]:
    """Return the timings of base and expert by threads and recipe, with the bars on one thread.

    Artifacts of the quantizers' own recipes are made in `folder`.
    """
    load_before = machine.load_average()
    opened = Bundle(bundle)
    images, features = inputs(opened)
    samples = {"base": images, "expert": features}
    wanted = {one.backend for one in opened.manifest.sets}
    stock = make_stock(wanted, checkpoint, samples, folder, progress)
    timings: dict[int, dict[str, dict[str, Summary]]] = {}
    before, conditions = torch.get_num_threads(), {}
    for count in threads:
        torch.set_num_threads(count)
        timings[count], seen = {}, []
        for part in PARTS:
            with contextlib.ExitStack() as stack:
                cpus = stack.enter_context(machine.pinned(count))
                calls = _calls(opened, checkpoint, part, samples[part][0], stock[part], count, stack)
                watch = Watch(cpus)
                timings[count][part] = take_turns(calls, rounds, f"timing {part}, {count} thread(s)", progress)
                seen.append(watch.round())
        conditions[count] = judge(seen, cpus=cpus, load=load_before)
    torch.set_num_threads(before)
    return {
        "machine": machine.this_machine(),
        "conditions": conditions,
        "rounds": rounds,
        "versions": opened.manifest.tools,
        "timings": timings,
        "goals": _goals(timings[threads[0]], threads[0]),
        "bytes": {
            str(one.key): {part: one.parts[name].bytes for part, name in PARTS.items()} for one in opened.manifest.sets
        },
    }


def _calls(
    bundle: Bundle,
    checkpoint: Path,
    part: str,
    x: _Floats,
    stock: dict[SetKey, Path],
    threads: int,
    stack: contextlib.ExitStack,
) -> dict[str, Callable[[], Any]]:
    artifacts = {s.key: bundle.read(s.parts[PARTS[part]]) for s in bundle.manifest.sets}
    calls: dict[str, Callable[[], Any]] = {_EAGER: _eager(checkpoint, part, x)}
    calls |= {_STOCK.format(key.backend): stock_call(key, file, threads, x) for key, file in stock.items()}
    for key in sorted(artifacts):
        opened = backends.get(key.backend).open(artifacts[key], threads=threads)
        stack.callback(opened.close)
        calls[str(key)] = _call(opened, x)
    return calls


def _call(part: backends.OpenPart, x: _Floats) -> Callable[[], None]:
    def call() -> None:
        part.invoke(x)
        part.output("logits")

    return call


def _eager(checkpoint: Path, part: str, x: _Floats) -> Callable[[], None]:
    mixture = load_checkpoint(checkpoint).mixture
    module = mixture.base if part == "base" else mixture.experts[0]
    given = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())

    def call() -> None:
        with torch.inference_mode():
            module(given)

    return call


def _goals(timings: dict[str, dict[str, Summary]], threads: int) -> list[Goal]:
    found = []
    for backend in backends.native():
        book = recipes.book(backend)
        for part, least in book.goals.items():
            fp32, int8 = str(SetKey(backend, recipes.FLOAT)), str(SetKey(backend, book.candidates[0]))
            times = timings[part]
            if int8 not in times:
                continue
            what = f"{backend} {part}, fp32 / int8, {threads} thread(s)"
            found.append(at_least(what, times[fp32].median / times[int8].median, least))
            if book.stock_goal is not None:
                what = f"{backend} {part}, stock int8 / int8, {threads} thread(s)"
                stock = times[_STOCK.format(backend)]
                found.append(at_least(what, stock.median / times[int8].median, book.stock_goal))
    return found


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page that a person can read."""
    conditions: dict[int, Conditions] = report["conditions"]
    lines = [
        f"# {TITLE}",
        "",
        f"{report['machine'].processor}, {report['rounds']} rounds.",
        *(f"{count} thread(s): {'; '.join(one.remarks) or 'quiet'}." for count, one in conditions.items()),
    ]
    for threads, parts in report["timings"].items():
        for part, timings in parts.items():
            lines += ["", f"## {part}, {threads} thread{'s' if threads > 1 else ''}", ""]
            lines += [
                "| | median ms | p10 ms | p90 ms | times faster than fp32 of the backend | than torch eager | KiB |"
            ]
            lines += ["|---|---:|---:|---:|---:|---:|---:|"]
            for name, s in timings.items():
                fp32 = timings.get(f"{re.split('[/,]', name)[0]}/{recipes.FLOAT}")
                faster = f"{fp32.median / s.median:.2f}" if fp32 else ""
                eager = f"{timings[_EAGER].median / s.median:.2f}"
                size = report["bytes"].get(name, {}).get(part)
                lines += [
                    f"| {name} | {s.median:.3f} | {s.p10:.3f} | {s.p90:.3f} | {faster} | {eager} "
                    f"| {'' if size is None else f'{size / 1024:.0f}'} |"
                ]
    return "\n".join([*lines, "", *goals_table(report["goals"])]) + "\n"


def main() -> None:
    """Read the arguments, measure, print and write the report."""
    parser = argparse.ArgumentParser(description="Measure every backend and recipe at full size.")
    parser.add_argument("-o", "--output", type=Path, help="folder for recipes.json, recipes.md and the bundle")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backends", nargs="+", default=list(backends.native()), choices=backends.native())
    arguments = parser.parse_args()
    with workplace(arguments.output) as (folder, progress), tempfile.TemporaryDirectory() as made:
        bundle = full_size_bundle(folder, 1, progress, tuple(arguments.backends))
        checkpoint = full_size_checkpoint(folder, 1)
        report = measure(bundle, checkpoint, Path(made), arguments.rounds, arguments.threads, progress)
        write_file(folder / "recipes.json", msgspec.json.encode(report))
        write_file(folder / "recipes.md", to_markdown(report).encode())
    print(to_markdown(report))


if __name__ == "__main__":
    main()
