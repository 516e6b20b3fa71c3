"""Cold start and memory: a process of its own that opens one set of a bundle and answers."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import msgspec

from edge_moe.backends import table
from edge_moe.errors import BackendError
from edge_moe.pool import python
from edge_moe.sets import SetKey

__all__ = ["Cold", "cold_start"]

# The peak is read where Linux keeps that of this program alone: ru_maxrss begins with the memory of who started it.
_PROGRAM = """
import sys
import msgspec
import numpy as np
from edge_moe import Runtime
from edge_moe.backends import table
bundle, backend, recipe, threads, file, record = sys.argv[1:]
if record:
    table.register(msgspec.json.decode(record, type=table.Record))
images = np.array(np.load(file, mmap_mode="r")[:1])
with Runtime(bundle, backend=backend, recipe=recipe, threads=int(threads)) as model:
    model.predict_tensor(images[0])
    print("answered", flush=True)
    model.tau, model.max_experts = 0.0, model.manifest.experts
    for image in images:
        model.predict_tensor(image)
try:
    status = open("/proc/self/status").read().split()
    print(int(status[status.index("VmHWM:") + 1]) * 1024)
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Cold(NamedTuple):
    """One process."""

    first_answer_ms: float  # from before the process was started until its first answer, at the bundle's default tau
    peak_rss_bytes: int  # with every expert loaded and used


def cold_start(bundle: Path, key: SetKey, threads: int, images: Path) -> Cold:
    """Start a Python that answers the first of `images` (an .npy of input tensors [T, H, W, 3]), and watch it.

    The files are in the system's cache, as they are when an app is opened for the second time.

    Raises:
        BackendError: the process failed.
    """
    record = table.record(key.backend)  # of a backend that this process was told of
    told = "" if record is None else msgspec.json.encode(record).decode()
    arguments = [str(bundle), *key, str(threads), str(images), told]
    start = perf_counter()
    with python(_PROGRAM, *arguments) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = perf_counter() - start
        rest, errors = process.communicate()
    if line != b"answered\n" or process.returncode != 0:
        last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise BackendError(f"a process that answers with {key} failed: {last}")
    return Cold(elapsed * 1000, int(rest))
