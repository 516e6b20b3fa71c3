"""What parts cost by QNN's estimate, to rank recipes by: every artifact compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edge_moe.benchmarks.target import Prices
from edge_moe.benchmarks.targets.qnn.tool import RefusedError, Tool
from edge_moe.benchmarks.units import MS
from edge_moe.errors import BackendError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["ESTIMATED_MS", "price"]

ESTIMATED_MS = msgspec.structs.replace(MS, symbol="ms by QNN's estimate")


def price(tool: Tool, files: Mapping[SetKey, Mapping[str, Path]], progress: Progress) -> Prices:
    """Compile every part of every set; arguments as `Target.price`.

    Of a set some of whose operations QNN has no cost for the estimate is too low to be compared: it has no price.

    Raises:
        BackendError: the NPU takes no set as a whole; or the tool failed.
    """
    step, found, refused = f"compiling {', '.join(map(str, files))}", dict[SetKey, dict[str, list[list[float]]]](), []
    progress.start(step, len(files))
    for key, parts in files.items():
        try:
            estimates = {part: tool.compile(file, f"{part} of {key}") for part, file in parts.items()}
        except RefusedError as error:
            refused.append(error)
        else:
            known = {part: one for part, one in estimates.items() if one is not None and not one.left_out}
            if len(known) == len(parts):
                found[key] = {part: [[one.us.value / 1000]] for part, one in known.items()}
        progress.advance(step, str(key))
    if files and len(refused) == len(files):
        raise BackendError(str(refused[0]))
    return Prices(ESTIMATED_MS, found)
