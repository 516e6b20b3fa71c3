"""Memory of a bundle with many experts, and what `import edge_moe` costs.

    python -m edge_moe.benchmarks.studies.footprint -o build/speed

A process of its own opens a bundle, answers with its base and one expert, and tells its memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edge_moe.benchmarks.studies.full_size import full_size_bundle
from edge_moe.output import write_file
from edge_moe.pool import python
from edge_moe.progress import shown_progress

__all__ = ["import_ms", "main", "memory_bytes"]

_MANY = 20
_ALLOWED_BYTES = 2 << 20
_ALLOWED_IMPORT_MS = 150.0

# Private memory: what the process would give back. Pages of libraries are among it unless another process has them too.
_PROBE = """
import sys, psutil
import numpy as np
from edge_moe import Runtime
with Runtime(sys.argv[1], recipe="int8", tau=0.0) as model:
    shape = model.manifest.parts["base"].inputs[0].shape
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for _ in range(5):
        model.predict_tensor(x)
    assert len(model.loaded_experts) == 1, model.loaded_experts
    print(psutil.Process().memory_full_info().uss)
"""


def memory_bytes(bundle: Path, repeats: int = 5) -> list[int]:
    """Return the private memory of processes that have used one expert of `bundle`."""
    return [int(_watched(_PROBE, str(bundle))) for _ in range(repeats)]


def import_ms(repeats: int = 20) -> dict[str, float]:
    """Return the median time of a Python that imports edge_moe, of one that imports nothing, and the difference.

    Importing it is to ask for what it offers: the name alone costs nothing.
    """
    programs = {"import edge_moe": "from edge_moe import Runtime", "pass": "pass"}
    elapsed: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, times in elapsed.items():
            start = time.perf_counter()
            _python(programs[name])
            times.append((time.perf_counter() - start) * 1000)
    medians = {program: statistics.median(times) for program, times in elapsed.items()}
    return {**medians, "difference": medians["import edge_moe"] - medians["pass"]}


def _watched(program: str, *arguments: str) -> str:
    with python(program, *arguments) as process:
        out, errors = process.communicate()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, program, out, errors)
    return out.decode()


def _python(program: str) -> None:
    """Run `program` with nothing around it that would cost time."""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def main() -> None:
    """Read the arguments, measure, print and write footprint.json."""
    parser = argparse.ArgumentParser(description="Measure memory and import time.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for footprint.json and the bundles")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with shown_progress() as progress:
        bundles = {k: full_size_bundle(arguments.output, k, progress) for k in (1, _MANY)}
    memory = {k: statistics.median(memory_bytes(bundle)) for k, bundle in bundles.items()}
    more = memory[_MANY] - memory[1]
    imported = import_ms()
    report: dict[str, Any] = {
        "private_memory_bytes": memory,
        "more_bytes": more,
        "more_bytes_met": more <= _ALLOWED_BYTES,
        "import_ms": imported,
        "import_met": imported["difference"] <= _ALLOWED_IMPORT_MS,
    }
    write_file(arguments.output / "footprint.json", json.dumps(report, indent=2).encode())
    print("| what | found | bar | met |\n|---|---:|---:|---|")
    for k, value in memory.items():
        print(f"| private memory, K = {k}, one expert used | {value / 2**20:.2f} MiB | | |")
    print(f"| K = {_MANY} more than K = 1 | {more / 2**20:+.2f} MiB | <= +2 MiB | {_yes(report['more_bytes_met'])} |")
    print(f"| import edge_moe | {imported['difference']:.0f} ms | <= 150 ms | {_yes(report['import_met'])} |")


def _yes(met: bool) -> str:
    return "yes" if met else "NO"


if __name__ == "__main__":
    main()
