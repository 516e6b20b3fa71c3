"""Programs for the phone's processor run on it, by the kernel's own way and where the kernel has none."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from edge_moe.benchmarks import targets
from edge_moe.benchmarks.runner.work import Run, Work
from edge_moe.bundle import Bundle
from edge_moe.progress import Silent
from edge_moe.verify import relative_error
from tests.phone.phone import ROOT, Phone
from tests.phone.test_phone import TMP, sh

pytestmark = pytest.mark.devices

JOB = ROOT / "tests/data/job"


def leaves(code):
    """A static AArch64 program, an ELF file, that ends with an exit code."""
    words = struct.pack("<3I", 0xD2800BA8, 0xD2800000 | code << 5, 0xD4000001)  # mov x8, #93; mov x0, #code; svc
    start, base = 64 + 56, 0x400000
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(words)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + words


@pytest.mark.parametrize("binfmt", [True, False])
def test_programs_for_its_processor_run(tmp_path, binfmt):
    arm = targets.get("arm").set_up()
    arm.install(Silent())
    bundle = Bundle(JOB / "bundle")
    inputs, expected = (np.load(JOB / f"bundle/golden/{name}.npz") for name in ("inputs", "litert-int8"))
    only = {"base": bundle.manifest.find("litert", "int8").parts["base"]}
    work = Work(bundle.manifest.parts, only)
    (tmp_path / "work").mkdir()
    files = {"base": bundle.path / only["base"].file}
    runs = [Run(0, ("base",), whole=True)]
    given = {"library": "lib/libLiteRt.so", "files": files, "inputs": inputs["00"], "runs": runs}
    work.write(tmp_path / "work", keep=True, marks=False, **given)
    with Phone(tmp_path, binfmt=binfmt) as phone, phone.client() as client:
        device = client.device(phone.serial)
        assert phone.emulates == binfmt
        there = f"{TMP}/edge-moe-x"
        device.sync.push(leaves(42), f"{there}/keeper")
        assert sh(device, f"cd {there} && ./keeper; echo $?; {there}/keeper")[:2] == (42, "42\n")
        for file in (arm.folder / "root/lib").iterdir():
            device.sync.push(file, f"{there}/lib/{file.name}")
        device.sync.push(arm.folder / "litert/libLiteRt.so", f"{there}/lib/libLiteRt.so")
        device.sync.push(arm.folder / "runner/runner-litert", f"{there}/runner")
        for file in (tmp_path / "work").iterdir():
            device.sync.push(file, f"{there}/{file.name}", 0o644)
        command = f"cd {there} && taskset f0 ./lib/ld-linux-aarch64.so.1 --library-path lib ./runner work"
        code, said, why = sh(device, command, timeout=60)
        assert code == 0 and int(said) > 0, why
        (tmp_path / "work/keep.f32").write_bytes(device.sync.read_bytes(f"{there}/keep.f32"))
    (kept,) = work.read(tmp_path / "work/keep.f32", runs)
    assert relative_error(kept["base"]["logits"], expected["00/base.logits"]) < 0.01
