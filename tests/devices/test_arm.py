"""Emulated Arm cores, set up and used for real: what is counted, that it repeats, and that the answers are right."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from edge_moe.benchmarks import targets
from edge_moe.benchmarks.decide.simulate import SimulationOptions, simulate
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.report import write_report
from edge_moe.benchmarks.request import check
from edge_moe.benchmarks.runner.work import Run
from edge_moe.benchmarks.sweep import sweep
from edge_moe.benchmarks.targets.arm.cores import CORES
from edge_moe.bundle import Bundle
from edge_moe.errors import BackendError
from edge_moe.progress import Silent
from edge_moe.sets import Pattern, SetKey
from edge_moe.verify import relative_error, verify
from tests.devices.conftest import SETS

pytestmark = pytest.mark.devices

ROUNDS = 1000
# The encodings are an assembler's (GNU as 2.40), in a loop of ROUNDS; below each what it counts as, by hand.
LOADS = {
    "ldr q0, [sp]": 0x3DC003E0,
    "ldp q1, q2, [sp, #16]": 0xAD408BE1,
    "ldrb w10, [sp]": 0x394003EA,
    "ldr x11, [sp, xzr]": 0xF87F6BEB,
    "ldursw x12, [sp]": 0xB88003EC,
    "ld1 {v3.16b}, [sp]": 0x4C4073E3,
    "ldr x13, the next instruction but three": 0x5800006D,
    "ldxr x14, [sp]": 0xC85F7FEE,
}
STORES = {
    "str q0, [sp]": 0x3D8003E0,
    "stp x10, x11, [sp]": 0xA9002FEA,
    "stur w12, [sp]": 0xB80003EC,
    "st1 {v3.16b}, [sp]": 0x4C0073E3,
    "strb w10, [sp, #5]": 0x390017EA,
}
COMPUTE = {
    "fadd v6.4s, v4.4s, v5.4s": 0x4E25D486,
    "smlal v7.8h, v1.8b, v2.8b": 0x0E228027,
    "fmadd s8, s1, s2, s3": 0x1F020C28,
    "mul v9.4s, v1.4s, v2.4s": 0x4EA29C29,
}
DOT_PRODUCTS = {
    "sdot v4.4s, v1.16b, v2.16b": 0x4E829424,
    "udot v4.4s, v1.16b, v2.4b[1]": 0x6FA2E024,
    "sdot v5.2s, v1.8b, v2.8b": 0x0E829425,
}


def program(*kinds):
    """A static AArch64 program, an ELF file: the instructions ROUNDS times, between marks."""
    inside = [code for kind in kinds for code in kind.values()]
    mark = lambda what: [0xD29C1C08, 0xD2800000 | what << 5, 0xD4000001]  # noqa: E731  mov x8, #57568; mov x0; svc
    branch = 0x54000001 | (-(len(inside) + 1) & 0x7FFFF) << 5  # b.ne to the loop's first instruction
    loop = [0xD2800009 | ROUNDS << 5, *inside, 0xF1000529, branch]  # mov x9, #ROUNDS; ...; subs x9, x9, #1; b.ne
    leave = [0xD2800BA8, 0xD2800000, 0xD4000001]  # exit(0)
    code = struct.pack(f"<{3 + len(loop) + 3 + 3 + 1}I", 0xD10103FF, *mark(1)[:3], *loop, *mark(0), *leave)
    start, base = 64 + 56, 0x400000
    header = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, start + len(code), start + len(code), 0x1000)
    return header + segment + code


@pytest.fixture(scope="session", autouse=True)
def ready():
    """As `edge-moe devices setup arm` does it."""
    needed = targets.get("arm").set_up()
    needed.install(Silent())
    assert needed.complete


def counted(folder, core, *kinds):
    folder.mkdir()
    (folder / "runner").write_bytes(program(*kinds))
    (folder / "runner").chmod(0o755)
    targets.get(f"arm:{core}").emulator._start(folder, marks=True)
    return np.loadtxt(folder / "counts", np.int64).tolist()


@pytest.mark.parametrize("core", CORES)
def test_instructions_are_counted_as_what_they_are(core, tmp_path):
    around = 4  # mov x9 before the loop; mov, mov, svc after it
    for place, (kinds, simd, dots, loads, stores) in enumerate(
        [
            ([LOADS], 0, 0, 8, 0),
            ([STORES], 0, 0, 0, 5),
            ([COMPUTE], 4, 0, 0, 0),
            ([], 0, 0, 0, 0),
            ([LOADS, STORES, COMPUTE], 4, 0, 8, 5),
            *([([LOADS, DOT_PRODUCTS, STORES, COMPUTE], 7, 3, 8, 5)] if core == "cortex-a76" else []),
        ]
    ):
        inside = sum(map(len, kinds)) + 2
        expected = [ROUNDS * inside + around, ROUNDS * simd, ROUNDS * dots, ROUNDS * loads, ROUNDS * stores]
        assert counted(tmp_path / str(place), core, *kinds) == expected


def test_a_core_refuses_what_it_has_not(tmp_path):
    with pytest.raises(BackendError, match=r"on the emulated cortex-a53 failed: .*SIGILL"):
        counted(tmp_path / "dot", "cortex-a53", DOT_PRODUCTS)


@pytest.mark.parametrize("core", CORES)
def test_the_golden_samples_come_out_by_every_recipe(bundle, core):
    """Each part reads what the base gave there: one process a set."""
    emulator, opened = targets.get(f"arm:{core}").emulator, Bundle(bundle)
    manifest = opened.manifest
    for one in manifest.sets:
        golden = [sample for sample in opened.golden(one).values() if "input" in sample]
        runs = [Run(place, tuple(one.parts), whole=True) for place in range(len(golden))]
        files = {part: opened.path / artifact.file for part, artifact in one.parts.items()}
        inputs = np.concatenate([sample["input"] for sample in golden])
        answer = emulator.run(one.backend, manifest.parts, one.parts, files, inputs, runs, keep=True, marks=False)
        allowed = max((one.golden.tolerance, *one.golden.part_tolerances.values()))
        for sample, found in zip(golden, answer.outputs, strict=True):
            for part, outputs in found.items():
                for name, value in outputs.items():
                    if f"{part}.{name}" in sample:
                        error = relative_error(value, sample[f"{part}.{name}"])
                        assert error <= allowed, (one.key, part, name, error)
    assert {str(one.key) for one in manifest.sets} == SETS


def test_verify_asks_the_core(bundle):
    target, opened = targets.get("arm:cortex-a53"), Bundle(bundle)
    found = verify(opened, sets=[SetKey("litert", "int8")], engines=lambda name: target.backend(opened, name))
    assert [(one.set, one.what, one.detail) for one in found if not one.passed] == []
    assert {one.set for one in found} == {"network", "bundle", "litert/int8"}


# One set at least of each backend, and on each core one of int8 and one of floats.
MEASURED = {
    "cortex-a76": ("litert/fp32", "litert/int8-all", "onnx/int8-all", "executorch/int8-all"),
    "cortex-a53": ("litert/fp32", "litert/int8"),
}


def measure(bundle, core, **options):
    given = {"sets": MEASURED[core], "timed_images": 6, "validation_images": 200, "rounds": 2, "checked_images": 200}
    request = check(bundle, "noise", BenchOptions(device=f"arm:{core}", **{**given, **options}))
    return sweep(request)


@pytest.fixture(scope="module", params=CORES)
def results(request, bundle):
    return measure(bundle, request.param)


def test_two_rounds_count_alike_to_the_last_digit(results):
    first, second = results.lines
    assert first == second


def test_so_do_two_runs_wherever_they_lie(results, bundle, tmp_path, monkeypatch):
    core = results.target.partition(":")[2]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("SOMETHING_ELSE", "x" * 1000)
    again = measure(bundle, core, rounds=1, checked_images=0)
    assert again.lines[0] == results.lines[0]


def test_what_is_counted_makes_sense(results):
    dot = results.target == "arm:cortex-a76"
    for line in results.lines:
        for place, one in enumerate(line.sets):
            key = results.recorded[place].key
            base = {unit: values[0] for unit, values in one.parts["base"].items()}
            assert base["instructions"] > base["loads"] > base["stores"] > 0
            assert base["instructions"] > base["simd"] > 0
            assert (base["dot_products"] > 0) == (dot and not key.is_float)


def test_the_core_answers_and_routes_as_the_host(results):
    """Of random weights, where near ties are many; the images are those that both answered."""
    for one in results.recorded:
        there, here = one.there.trace.restored(), one.trace.restored().rows(np.array(one.there.images))
        assert len(there) == 200
        assert np.mean(there.answers[:, 0] == here.answers[:, 0]) >= 0.97, one.set
        assert np.mean(there.gate.argmax(axis=1) == here.gate.argmax(axis=1)) >= 0.97, one.set


def test_simulated_instructions_are_within_a_percent_of_the_direct_sweep(results, bundle, tmp_path):
    write_report([results], tmp_path / "report")
    profile = tmp_path / "report/results.json"
    for one in results.recorded:
        for most in (1, 2):
            assert len(one.settings) >= 10
            wanted = (Pattern((one.key.backend,), one.key.recipe),)
            options = SimulationOptions(wanted=wanted, max_experts=(most,), validation_images=200)
            compared = simulate(bundle, profile, "noise", options, compare=profile).comparison
            assert compared.same_images
            assert max(map(abs, compared.errors)) <= 0.01, (one.set, most, compared.points)
