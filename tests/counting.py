"""A target in one file: another process, which counts cycles and bytes, and has no memory, no clock and no peers.

It compiles artifacts, answers jobs, and hands out what parts compute. `python counting.py answer JOB` is the process.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import numpy as np

from edge_moe import backends
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.stream import Streamed
from edge_moe.benchmarks.target import Availability, Target
from edge_moe.benchmarks.units import UNITS
from edge_moe.benchmarks.wire import Compiled, Machine, Opening, Round, SetRound
from edge_moe.records import sha256


class Counting(Target):
    """`counting:N` takes N cycles for a multiply-accumulate."""

    kind = "counting"

    def available(self):
        return [Availability("counting", True, "1 cycle a multiply-accumulate, or as many as the parameter says")]

    def open(self, job, progress):
        return Streamed([sys.executable, "-m", __name__, "answer", str(job.folder), self.parameter or "1"], self.name)

    def outputs(self, bundle, artifacts, part, inputs):
        specs, file = bundle.manifest.parts[part].outputs, bundle.path / artifacts.parts[part].file
        command = [
            sys.executable,
            "-m",
            __name__,
            "outputs",
            artifacts.backend,
            str(file),
            *[one.name for one in specs],
        ]
        done = subprocess.run(command, input=inputs.tobytes(), capture_output=True, check=True)
        flat, found = np.frombuffer(done.stdout, np.float32), {}
        for one in specs:
            size = len(inputs) * int(np.prod(one.shape))
            found[one.name], flat = flat[:size].reshape(len(inputs), *one.shape[1:]), flat[size:]
        return found


def answer(folder, cycles):
    job, compiled = read_job(Path(folder)), {}
    for artifacts in job.sets:
        for part, artifact in artifacts.parts.items():
            data = zlib.compress(job.bundle.read(artifact))
            one = Compiled(file=f"{part}.z", bytes=len(data), sha256=sha256(data), tool="zlib", version="1")
            compiled.setdefault(str(artifacts.key), {})[part] = one
    units, told = (UNITS["cycles"], UNITS["sram_bytes"]), {"cycles": "estimated", "sram_bytes": "estimated"}
    machine, names = Machine(name="a counter", facts={"fingers": 10}), {one.set: "zlib 1" for one in job.plan.sets}
    header = {"target": f"counting:{cycles}", "versions": names, "provenance": told, "compiled": compiled}
    say(Opening(schema_version=3, units=units, machine=machine, **header))
    for _ in range(int(sys.stdin.readline()), job.plan.rounds):
        macs = job.bundle.manifest.macs
        parts = {part: {"cycles": (cycles * count,), "sram_bytes": (count / 8,)} for part, count in macs.items()}
        bounds = {part: {"cycles": (0.5 * cycles * count, 2.0 * cycles * count)} for part, count in macs.items()}
        say(Round(sets=(SetRound(parts=parts, bounds=bounds),) * len(job.sets)))


def outputs(backend, file, *names):
    part = backends.get(backend).open(Path(file).read_bytes())
    given, rows = np.frombuffer(sys.stdin.buffer.read(), np.float32), {name: [] for name in names}
    for x in given.reshape(-1, *part.tensors().inputs[0].shape):
        part.invoke(x)
        for name in names:
            rows[name].append(part.output(name))
    sys.stdout.buffer.write(b"".join(np.concatenate(rows[name]).tobytes() for name in names))


def say(line):
    print(msgspec.json.encode(line).decode(), flush=True)


if __name__ == "__main__":
    answer(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == "answer" else outputs(*sys.argv[2:])
