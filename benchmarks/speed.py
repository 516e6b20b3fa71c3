"""What int8 and the runtime are worth at full size: MobileNetV3-Small, 224 pixels, 1000 classes, this host.

    python -m edge_moe.benchmarks.speed -o build/speed

Latency does not depend on what a network has learned, so the network is untrained. All ratios are taken inside one
run: the variants take turns in blocks of calls, in an order drawn anew each round.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import Runtime, backends
from edge_moe.benchmarks import host
from edge_moe.benchmarks.results import Summary, summary
from edge_moe.benchmarks.sweep import Options as SweepOptions
from edge_moe.benchmarks.sweep import sweep
from edge_moe.bundle import Bundle, Preprocessing
from edge_moe.converters import recipes
from edge_moe.converters.convert import Options, convert
from edge_moe.converters.litert import calibrate_and_quantize
from edge_moe.data import NOISE, open_data
from edge_moe.nn import Architecture
from edge_moe.output import write_file
from edge_moe.progress import Progress, bars
from edge_moe.training.checkpoint import save_checkpoint
from edge_moe.training.untrained import new_untrained

__all__ = ["Bar", "full_size_bundle", "main", "measure"]

_BLOCK, _WARM_UP = 20, 3
_SIZE = 224
_RECIPES = tuple(name for name in recipes.RECIPES if name != recipes.FLOAT)


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio and what it should be."""

    what: str
    ratio: float
    bar: str
    met: bool


def full_size_bundle(folder: Path, experts: int, progress: Progress) -> Path:
    """Make an untrained MobileNetV3-Small with `experts` experts, and a bundle of it with every recipe."""
    checkpoint, bundle = folder / f"checkpoint-{experts}", folder / f"bundle-{experts}"
    if not bundle.exists():
        architecture = Architecture(base="mobilenet_v3_small", classes=1000, image_size=_SIZE)
        spec = Preprocessing(image_size=_SIZE, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        save_checkpoint(checkpoint, new_untrained(architecture, experts, spec, seed=0), force=True)
        options = Options(recipes=_RECIPES, calibration_images=32, validation_images=64)
        convert(checkpoint, NOISE, bundle, options, jobs=min(os.cpu_count() or 1, 4), progress=progress)
    return bundle


def measure(bundle: Path, rounds: int, threads: int, progress: Progress) -> dict[str, Any]:
    """Return timings of base and expert by recipe, the runtime's overhead, and the sweep over tau, with the bars."""
    load_before = host.load_average()
    timings = _recipes(bundle, rounds, threads, progress)
    overhead = _overhead(bundle, rounds, threads)
    options = SweepOptions(recipe=recipes.CANDIDATES[0], threads=threads, timed_images=64, rounds=max(5, rounds // 4))
    points = sweep(bundle, NOISE, options, progress=progress).sets[0].points

    def ratio(part: str, slow: str, fast: str) -> float:
        return timings[part][slow].median_ms / timings[part][fast].median_ms

    int8, stock = recipes.CANDIDATES[0], recipes.STOCK.name
    found = [
        _at_least("base, fp32 / int8", ratio("base", recipes.FLOAT, int8), 1.4),
        _at_least("expert, fp32 / int8", ratio("expert", recipes.FLOAT, int8), 1.7),
        _at_least("base, stock int8 / int8", ratio("base", stock, int8), 3.0),
        _at_least("expert, stock int8 / int8", ratio("expert", stock, int8), 3.0),
        _at_most(
            "exit path: predict_tensor / raw call", overhead["predict"].median_ms / overhead["raw"].median_ms, 1.05
        ),
    ]
    for point in points:
        what = f"tau {point.point.tau:.3g} (exit rate {point.point.exit_rate:.0%}): mean / sum of parts"
        found.append(_at_most(what, point.mean_ms / point.sum_of_parts_ms, 1.05))
    return {
        "machine": host.describe(load_before),
        "threads": threads,
        "rounds": rounds,
        "versions": Bundle(bundle).manifest.tools,
        "timings": timings,
        "overhead": overhead,
        "bars": found,
    }


def _recipes(bundle: Path, rounds: int, threads: int, progress: Progress) -> dict[str, dict[str, Summary]]:
    opened = Bundle(bundle)
    backend = backends.get("litert")
    image, features = _inputs(opened)
    timings = {}
    for name, part, x in (("base", "base", image), ("expert", "expert_00", features)):
        models = {s.recipe.name: opened.read(s.parts[part]) for s in opened.manifest.sets}
        # The quantizer draws a progress bar of its own.
        with contextlib.redirect_stderr(io.StringIO()):
            stock = calibrate_and_quantize(models[recipes.FLOAT], x, recipes.STOCK)
        calls: dict[str, Callable[[], None]] = {}
        for recipe, model in models.items():
            calls[recipe] = _call(backend.open(model, threads=threads), x[0])
        calls[recipes.STOCK.name] = _raw_call(stock, threads, x[0])
        timings[name] = _take_turns(calls, rounds, f"timing {name}", progress)
    return timings


def _inputs(bundle: Bundle) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return images [N, 1, H, W, 3] and their features at the branch point [N, 1, H, W, C]."""
    images = list(open_data(NOISE, "val").sample(8).tensors(bundle.manifest.preprocessing))
    with Runtime(bundle, recipe=recipes.FLOAT) as runtime:
        features = []
        for image in images:
            runtime.part("base").invoke(image)
            features.append(runtime.part("base").output("features"))
    return np.stack(images), np.stack(features)


def _call(part: backends.OpenPart, x: npt.NDArray[np.float32]) -> Callable[[], None]:
    def call() -> None:
        part.invoke(x)
        part.output("logits")

    return call


def _raw_call(model: bytes, threads: int, x: npt.NDArray[np.float32]) -> Callable[[], None]:
    """Call an artifact whose input and outputs are int8, which the backend does not take."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    scale, zero = given["quantization"]
    quantized = np.clip(np.round(x / scale) + zero, -128, 127).astype(given["dtype"])
    logits = interpreter.get_output_details()[0]["index"]

    def call() -> None:
        interpreter.set_tensor(given["index"], quantized)
        interpreter.invoke()
        interpreter.get_tensor(logits)

    return call


def _take_turns(
    calls: dict[str, Callable[[], None]], rounds: int, name: str, progress: Progress, block: int = _BLOCK
) -> dict[str, Summary]:
    """Time blocks of calls, every variant once a round, in an order drawn anew."""
    raw: dict[str, list[float]] = {variant: [] for variant in calls}
    draw = np.random.default_rng(0)
    progress.start(name, rounds)
    for _ in range(rounds):
        for variant in draw.permutation(list(calls)):
            call = calls[str(variant)]
            for _ in range(_WARM_UP):
                call()
            for _ in range(block):
                start = perf_counter()
                call()
                raw[str(variant)].append((perf_counter() - start) * 1000)
        progress.advance(name)
    return {variant: summary(tuple(samples)) for variant, samples in raw.items()}


def _overhead(bundle: Path, rounds: int, threads: int) -> dict[str, Summary]:
    """Time the runtime's exit path against the bare interpreter that it holds, call by call.

    On the same interpreter: a second copy of the model would measure the processor's caches.
    """
    with Runtime(bundle, recipe=recipes.CANDIDATES[0], tau=1.0, threads=threads) as runtime:
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

        with contextlib.redirect_stderr(io.StringIO()), bars() as quiet:
            return _take_turns({"raw": raw, "predict": predict}, rounds, "overhead", quiet)


def _at_least(what: str, ratio: float, bar: float) -> Bar:
    return Bar(what=what, ratio=ratio, bar=f">= {bar:g}", met=ratio >= bar)


def _at_most(what: str, ratio: float, bar: float) -> Bar:
    return Bar(what=what, ratio=ratio, bar=f"<= {bar:g}", met=ratio <= bar)


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as a page that a person can read."""
    machine = report["machine"]
    lines = [
        "# MobileNetV3-Small, 224 pixels, 1000 classes, UNTRAINED",
        "",
        f"{machine.processor}, {report['threads']} thread(s), {report['rounds']} rounds; load before and after: "
        f"{machine.load_before}, {machine.load_after}.",
        "",
        "| part | recipe | median ms | p10 ms | p90 ms | times faster than fp32 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for part, timings in report["timings"].items():
        for recipe, s in timings.items():
            faster = timings[recipes.FLOAT].median_ms / s.median_ms
            lines += [f"| {part} | {recipe} | {s.median_ms:.3f} | {s.p10_ms:.3f} | {s.p90_ms:.3f} | {faster:.2f} |"]
    lines += ["", "| ratio inside this run | found | bar | met |", "|---|---:|---:|---|"]
    lines += [f"| {b.what} | {b.ratio:.3f} | {b.bar} | {'yes' if b.met else 'NO'} |" for b in report["bars"]]
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
