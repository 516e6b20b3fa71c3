"""One artifact on Qualcomm's HTP: opened, compiled and, where it is asked for, run by QNN's simulator.

It is done in a process of its own, which alone loads the vendor's libraries. Python code of the vendor's is not run.

Axis letters: N inputs.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np

from edge_moe.records import Strict

__all__ = ["PROGRAM", "PROVIDER", "Task"]

PROGRAM = f"from {__name__} import main\nmain()"
PROVIDER = "QNNExecutionProvider"
_ERRORS = 3  # and nothing below them, of ONNX Runtime's levels


class Task(Strict, frozen=True, omit_defaults=True):
    """What to do; empty: not that."""

    artifact: str  # .onnx
    plugin: str  # the vendor's libraries
    backend: str
    soc_model: int
    context: str = ""  # where the context's .onnx is written, and its binary beside it
    profile: str = ""  # where what QNN says of the compilation is written, .csv
    inputs: str = ""  # .npy, float32 [N, ...]
    outputs: str = ""  # .npz to write: name -> [N, ...]


def main() -> None:
    """Do the task in the first argument."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    session = _opened(task)
    if not task.inputs:
        return
    (given,), names = session.get_inputs(), [one.name for one in session.get_outputs()]
    rows = [session.run(names, {given.name: x[np.newaxis]}) for x in np.load(task.inputs)]
    found: Any = {name: np.concatenate([row[place] for row in rows]) for place, name in enumerate(names)}
    np.savez(task.outputs, **found)


def _opened(task: Task) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(_ERRORS)
    onnxruntime.register_execution_provider_library(PROVIDER, task.plugin)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = 1
    # Every layer on the NPU or none: what ONNX Runtime would do on a phone's CPU is in no estimate, and no context.
    entries = {"session.disable_cpu_ep_fallback": "1"}
    if task.context:
        entries |= {"ep.context_enable": "1", "ep.context_file_path": task.context, "ep.context_embed_mode": "0"}
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    given = {
        "backend_path": task.backend,
        "soc_model": str(task.soc_model),
        "htp_performance_mode": "burst",
        "htp_graph_finalization_optimization_mode": "3",  # the longest compilation, the best graph
    }
    if task.profile:
        given |= {"profiling_level": "basic", "profiling_file_path": task.profile}
    devices = [one for one in onnxruntime.get_ep_devices() if one.ep_name == PROVIDER]
    options.add_provider_for_devices(devices, given)
    return onnxruntime.InferenceSession(task.artifact, options)
