"""What the tests run on each processor: `python -m tests.devices.look BUNDLE` prints a JSON of what it found."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import Any

from edge_moe import Runtime, backends
from edge_moe.backends import onnx_session
from edge_moe.benchmarks.peers.one_graph import EXITED, OneGraph, early_exit_graph
from edge_moe.bundle import Bundle
from edge_moe.verify import relative_error, verify


def checks(bundle: Bundle, backend: str) -> list[dict[str, Any]]:
    """The golden sample's checks of every set of `backend`."""
    return [dataclasses.asdict(check) for check in verify(bundle, backend=backend)]


def one_graph(bundle: Bundle) -> dict[str, float]:
    """How far the whole mixture in one graph is from the runtime, for each set of ONNX Runtime: on the same expert."""
    found = {}
    for artifacts in bundle.manifest.sets:
        if artifacts.backend == "onnx":
            image, recipe = next(iter(bundle.golden_inputs().values())), artifacts.recipe.name
            scores, expert = OneGraph(early_exit_graph(bundle, artifacts))(image, 0.0)
            with Runtime(bundle, backend="onnx", recipe=recipe, tau=0.0, max_experts=1) as runtime:
                answer = runtime.predict_tensor(image)
            assert answer.experts == ((expert,) if expert != EXITED else ())
            found[f"onnx/{recipe}"] = relative_error(scores, answer.scores)
    return found


def look(path: str) -> dict[str, Any]:
    bundle = Bundle(path)
    found: dict[str, Any] = {"saturates": onnx_session.saturates(), "version": backends.get("onnx").version()}
    found["checks"] = {}
    for name in dict.fromkeys(one.backend for one in bundle.manifest.sets):
        start = time.perf_counter()
        found["checks"][name] = checks(bundle, name)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    found["one_graph"] = one_graph(bundle)
    onnx_session.saturates = lambda: False  # type: ignore[assignment]  # as if nobody had looked
    found["unmended"] = checks(bundle, "onnx")
    return found


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
