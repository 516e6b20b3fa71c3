"""The table of the NPUs, by the stand-in for Vela with a price list."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec

from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.studies import npus
from edge_moe.bundle import RunsOn
from edge_moe.progress import Silent
from tests import ethos_u_tools
from tests.fixtures import JOB


def test_every_npu_in_both_modes_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path))
    ethos_u_tools.write(tmp_path)
    (one, *_) = read_job(JOB).sets
    recipe = msgspec.structs.replace(one.recipe, name="int8")
    as_npu = msgspec.structs.replace(one, backend="ethos-u", recipe=recipe, runs_on=RunsOn(npu="ethos-u"))
    # Graphs of 8 bytes and what they say: 20, 10 and 15 bytes, of 30 cycles each, and of 10 where all is in SRAM.
    says = {as_npu.parts[part].sha256: "x" * size for part, size in (("base", 12), ("gate", 2), ("expert_00", 7))}
    bundle = SimpleNamespace(
        manifest=SimpleNamespace(sets=[as_npu]), read=lambda artifact: ethos_u_tools.artifact(says[artifact.sha256])
    )
    lines = npus.to_markdown(bundle, "int8", Silent())
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| u")]
    assert [(row[0], row[2].split(", ")[1]) for row in rows] == [
        (npu, where) for npu in npus.NPUS for where in ("flash" if npu.startswith("u55") else "DRAM", "SRAM")
    ]
    flash, sram, *_ = rows
    assert flash[3:9] == ["0.001", "0.001", "0.000", "0.001", "0.75", "56%"]  # 25 of 45
    assert sram[7:9] == ["0.75", "56%"]
    assert (flash[9], flash[10], sram[10]) == ("2", "3 and 3", "3 and 3")
