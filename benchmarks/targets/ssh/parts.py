"""Parts that are run on a board: what they compute, and what they cost before they are in a bundle.

Axis letters: N inputs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_moe.backends import Tensor
from edge_moe.benchmarks.answer import INPUTS, PARTS
from edge_moe.benchmarks.elsewhere import split_outputs
from edge_moe.benchmarks.target import Prices
from edge_moe.benchmarks.targets.ssh.connection import Connection, packed
from edge_moe.benchmarks.targets.ssh.sources import sources
from edge_moe.benchmarks.units import MS
from edge_moe.benchmarks.wire import Cost
from edge_moe.bundle import ArtifactSet, Bundle
from edge_moe.errors import BackendError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["Parts", "price"]


_AT_ONCE = 8 << 20  # bytes of inputs in a message


class Parts:
    """A process on the board which runs parts as long as somebody asks."""

    def __init__(self, way: Connection, backends: Sequence[str]) -> None:
        """Begin it; `backends`: those that are set up."""
        package, unpacked = packed(sources())
        self._name, self._known = way.name, set[str]()
        self._line = way.begin("answer", package, kind="parts", unpacked=unpacked, paths=["core", *backends])
        try:
            self._line.line()
        except BaseException:
            self.close()
            raise

    def run(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run one part on N inputs; see `Target.outputs`."""
        count = max(1, _AT_ONCE // max(1, inputs[:1].nbytes))
        some = [self._run(bundle, artifacts, part, inputs[at : at + count]) for at in range(0, len(inputs), count)]
        return {name: np.concatenate([one[name] for one in some]) for name in some[0]}

    def _run(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        artifact, spec = artifacts.parts[part], bundle.manifest.parts[part]
        data, x = b"", np.ascontiguousarray(inputs, "<f4")
        asked: dict[str, Any] = {
            "backend": artifacts.backend,
            "sha256": artifact.sha256,
            "shape": x.shape,
            "names": [one.name for one in spec.outputs],
        }
        if artifact.sha256 not in self._known:
            data = bundle.read(artifact)
            asked["artifact"] = len(data)
        asked["bytes"] = len(data) + x.nbytes
        self._line.write([msgspec.json.encode(asked), b"\n", data, x.tobytes()])
        count = msgspec.json.decode(self._line.line())["bytes"]
        found = self._line.read(count)
        self._known.add(artifact.sha256)
        return split_outputs(self._name, part, spec, len(inputs), found)

    def close(self) -> None:
        """End it."""
        self._line.end()


def price(
    way: Connection,
    files: Mapping[SetKey, Mapping[str, Path]],
    inputs: Mapping[str, Tensor],
    rounds: int,
    progress: Progress,
) -> Prices:
    """Time parts of several sets on the board, in turns; see `Target.price`."""
    if not files:
        return Prices(MS, {})
    contents: dict[str, Path | bytes] = dict(sources())
    named: dict[str, dict[str, str]] = {}
    for key, parts in files.items():
        for part, file in parts.items():
            name = f"{len(named)}-{part}{file.suffix}"
            contents[f"{PARTS}/{name}"] = file
            named.setdefault(str(key), {})[part] = name
    for part, x in inputs.items():
        array = io.BytesIO()
        np.save(array, np.ascontiguousarray(x, np.float32))
        contents[f"{INPUTS}/{part}.npy"] = array.getvalue()
    package, unpacked = packed(contents)
    step = f"timing {', '.join(map(str, files))} on {way.name}"
    progress.start(step, 1)
    line = way.begin(
        "answer",
        package,
        progress,
        kind="prices",
        unpacked=unpacked,
        paths=["core", *dict.fromkeys(key.backend for key in files)],
        sets=named,
        inputs=list(inputs),
        rounds=rounds,
    )
    try:
        found = msgspec.json.decode(line.line(), type=dict[str, dict[str, list[list[Cost]]]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BackendError(f"{way.name} answered what was not asked: {error}; report this") from None
    finally:
        line.end()
    progress.advance(step)
    return Prices(MS, {SetKey.parse(name): samples for name, samples in found.items()})
