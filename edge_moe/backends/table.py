"""The table of backends: one record each, of strings, so that reading it imports nothing.

A new backend is a record here, a file beside this one with what executes its artifacts, and a folder in `converters/`
with its toolchain, its quantizer and its recipes. Everything else that names the backends reads this table.
"""

from __future__ import annotations

import msgspec

__all__ = ["Record", "record", "records", "register"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One backend. `module:Class` is imported when it is asked for."""

    name: str
    suffix: str  # of its artifacts
    runtime: str  # "module:Class" of the edge_moe.backends.Backend
    toolchain: str  # "module:Class" of the edge_moe.converters.toolchain.Toolchain
    recipes: str  # the module with RECIPES, ORDERS, STOCK and SEEN
    extra: str  # of edge-moe, which brings what executes
    executes: tuple[str, ...]  # packages that may execute, as pip names them, the better first
    imports: dict[str, str]  # module -> the extra that brings it: what a conversion imports, beside torch
    runs_on: str  # for a person
    # The NPU that its artifacts are for, as a manifest's runs_on has it; here an emulator answers. None: they run here.
    npu: str | None = None
    missing: str | None = (
        None  # "module:function" that returns what has to be done before it can be used; None: nothing
    )


_RECORDS = {
    one.name: one
    for one in (
        Record(
            name="litert",
            suffix=".tflite",
            runtime="edge_moe.backends.litert:LiteRT",
            toolchain="edge_moe.converters.litert.toolchain:LiteRTToolchain",
            recipes="edge_moe.converters.litert.recipes",
            extra="litert",
            executes=("ai-edge-litert", "tflite-runtime"),
            imports={"litert_torch": "convert", "ai_edge_quantizer": "convert", "ai_edge_litert": "litert"},
            runs_on="CPU, by XNNPACK",
        ),
        Record(
            name="onnx",
            suffix=".onnx",
            runtime="edge_moe.backends.onnx:Onnx",
            toolchain="edge_moe.converters.onnx.toolchain:OnnxToolchain",
            recipes="edge_moe.converters.onnx.recipes",
            extra="onnx",
            executes=("onnxruntime",),
            imports={"onnx": "convert", "onnxscript": "convert", "onnxruntime": "onnx"},
            runs_on="CPU, by ONNX Runtime's own kernels",
        ),
        Record(
            name="executorch",
            suffix=".pte",
            runtime="edge_moe.backends.executorch:ExecuTorch",
            toolchain="edge_moe.converters.executorch.toolchain:ExecuTorchToolchain",
            recipes="edge_moe.converters.executorch.recipes",
            extra="executorch",
            executes=("executorch", "torch"),
            imports={"executorch": "executorch", "torchao": "convert"},
            runs_on="CPU, by XNNPACK",
        ),
        Record(
            name="ethos-u",
            suffix=".tosa",
            runtime="edge_moe.backends.ethos_u:EthosU",
            toolchain="edge_moe.converters.ethos_u.toolchain:EthosUToolchain",
            recipes="edge_moe.converters.ethos_u.recipes",
            extra="convert",
            executes=(),
            imports={"executorch": "executorch", "torchao": "convert"},
            runs_on="Arm's Ethos-U, for which Vela compiles it; here by the reference model of TOSA",
            npu="ethos-u",
            missing="edge_moe.backends.ethos_u:missing",
        ),
    )
}


def records() -> tuple[Record, ...]:
    """Return every record, the default backend's first."""
    return tuple(_RECORDS.values())


def record(name: str) -> Record | None:
    """Return the record of the backend called `name`; None for an unknown one."""
    return _RECORDS.get(name)


def register(one: Record) -> None:
    """Add a record, or replace that of the same name: of a backend that lives elsewhere, in each of its processes."""
    _RECORDS[one.name] = one
