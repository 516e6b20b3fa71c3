"""Stand-ins for Arm's tools: a reference model that doubles what it is given, and a Vela with a price list.

They lie where the real ones are brought to, and are imported as these are, in processes of their own.
"""

from __future__ import annotations

from pathlib import Path

from edge_moe.backends.base import PartTensor, PartTensors
from edge_moe.backends.reference_model import KIND
from edge_moe.backends.tosa import Part, pack

# What a graph says after its mark decides what happens.
_MODEL = """
import enum, os, sys
import numpy as np

class GraphStatus(enum.Enum):
    TOSA_VALID, TOSA_ERROR = 0, 1

def run(graph, inputs):
    print("chatter")
    (x,) = inputs
    if b"abort" in graph:
        print("last words", file=sys.stderr, flush=True)
        os.abort()
    if b"refuse" in graph:
        raise ValueError("no such\\noperator")
    doubled = np.clip(x.astype(np.int32) * 2, -128, 127).astype(x.dtype)
    return [doubled.reshape(1, -1)[:, :2], x], GraphStatus.TOSA_ERROR if b"wrong" in graph else GraphStatus.TOSA_VALID
"""
_VELA = """
import csv, sys
from pathlib import Path

def main(arguments):
    print("chatter")
    graph, options = Path(arguments[0]).read_bytes(), arguments[1:]
    given = dict(zip(options[::2], options[1::2]))
    if b"refuse" in graph:
        raise ValueError("Error: no such operator")
    out = Path(given["--output-dir"]); out.mkdir()
    inside = given["--memory-mode"] == "Sram_Only"
    cycles = len(graph) * (10 if inside else 30)
    row = dict.fromkeys(COLUMNS, "0.0") | {
        "cycles_total": cycles, "inference_time": cycles / 500e6, "cycles_npu": len(graph), "core_clock": "500000000.0",
        "sram_memory_used": "2.5", "on_chip_flash_memory_used": "3" if inside else "0",
        "off_chip_flash_memory_used": "0" if inside else "3", "nn_macs": 7,
    }
    write(out / f"part_summary_{given['--system-config']}.csv", [row])
    layers = [dict.fromkeys(LAYERS, "1") | {"Name": name, "Target": "NPU", "NNG Operator": "Conv2D",
              "Staging Usage": size} for name, size in (("one", 100), ("two", 900))]
    if b"cpu" in graph:
        layers[1]["Target"] = "CPU"
    write(out / "part_per-layer.csv", layers)
    (out / "part_vela.npz").write_bytes(b"compiled " + graph)

def write(file, rows):
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
"""
_COLUMNS = (
    *("cycles_npu", "cycles_sram_access", "cycles_dram_access", "cycles_on_chip_flash_access", "cycles_total"),
    *("cycles_off_chip_flash_access", "sram_memory_used", "dram_memory_used", "on_chip_flash_memory_used"),
    *("off_chip_flash_memory_used", "sram_total_bytes", "dram_total_bytes", "on_chip_flash_total_bytes"),
    *("off_chip_flash_total_bytes", "nn_macs", "core_clock", "inference_time"),
)
_LAYERS = ("Op Cycles", "NPU", "SRAM AC", "DRAM AC", "OnFlash AC", "OffFlash AC", "Staging Usage", "MAC Count", "Name")


def write(cache: Path) -> None:
    """Write both where a set-up in the cache folder `cache` has them."""
    model, vela = cache / KIND / "tosa/tosa_reference_model", cache / KIND / "vela/ethosu/vela"
    for folder in (model, vela):
        folder.mkdir(parents=True)
    (model / "__init__.py").write_text(_MODEL)
    for folder in (vela, vela.parent):
        (folder / "__init__.py").write_text("")
    (vela / "vela.py").write_text(f"COLUMNS, LAYERS = {_COLUMNS!r}, {_LAYERS!r}\n{_VELA}")


def artifact(says: str = "", *, scale: float | None = 0.5, zero_point: int | None = 3) -> bytes:
    """Return a part that takes [1, 2, 1, 3] and gives logits [1, 2] and features as they came."""
    integer = {"dtype": "int8" if scale else "float32", "scale": scale, "zero_point": zero_point if scale else None}
    kinds = (("image", (1, 2, 1, 3)), ("logits", (1, 2)), ("features", (1, 2, 1, 3)))
    image, logits, features = (
        PartTensor(name=name, tensor=f"the {name}", shape=shape, layout="NHWC" if len(shape) == 4 else None, **integer)
        for name, shape in kinds
    )
    graph = b"\x08\0\0\0TOSA" + says.encode()
    return pack(Part(graph, PartTensors((image,), (logits, features)), "a test"))
