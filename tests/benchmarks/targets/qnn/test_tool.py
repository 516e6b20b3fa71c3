"""What is read of QNN's words, as 2.7.0 wrote them, and what is never read: how long a simulated run took."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.targets.qnn import tool
from edge_moe.benchmarks.targets.qnn.tool import Range, Tool, estimate
from tests.benchmarks.targets.qnn import graphs

HEAD = "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier"
SIMULATED = [
    "0,BACKEND,0,US,BACKEND,ROOT,Performance Estimates",
    "0,BACKEND,340696,CYCLES,BACKEND,SUB-EVENT,Simulated (Accelerator exec cycles)",
    "0,BACKEND,301356,CYCLES,BACKEND,SUB-EVENT,Simulated (Accelerator exec cycles (lower estimate))",
    "0,BACKEND,386922,CYCLES,BACKEND,SUB-EVENT,Simulated (Accelerator exec cycles (upper estimate))",
    "0,BACKEND,227,US,BACKEND,SUB-EVENT,Simulated (Accelerator exec time us)",
    "0,BACKEND,201,US,BACKEND,SUB-EVENT,Simulated (Accelerator exec time us (lower estimate))",
    "0,BACKEND,258,US,BACKEND,SUB-EVENT,Simulated (Accelerator exec time us (upper estimate))",
    "0,BACKEND,3,US,BACKEND,SUB-EVENT,Missing Ops (Number of Ops with no Costs associated)",
]
OF_THIS_MACHINE = [
    "0,FINALIZE,209169,US,BACKEND,ROOT,QNN (finalize) time",
    "0,BACKEND,279226,US,BACKEND,ROOT,Accelerator (execute) time",
    "0,BACKEND,72751195,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)",
    "0,EXECUTE,279280,US,BACKEND,ROOT,QNN (execute) time",
]


def test_the_estimate_and_its_bounds():
    found = estimate([HEAD, *SIMULATED, *OF_THIS_MACHINE])
    assert found.us == Range(227, 201, 258)
    assert found.cycles == Range(340696, 301356, 386922)
    assert found.left_out == 3


def test_what_a_simulated_run_took_is_no_estimate():
    assert estimate([HEAD, *OF_THIS_MACHINE]) is None
    assert estimate([]) is None


@pytest.mark.parametrize("wrong", [SIMULATED[1:5], [SIMULATED[1].replace("340696", "many")], [f"{SIMULATED[4]} x)"]])
def test_another_version_may_write_otherwise(wrong):
    with pytest.raises(BackendError, match=r"QNN's profile is not what its version writes .*; report this"):
        estimate([HEAD, *wrong])


@pytest.fixture
def says(monkeypatch):
    """says(code, words): the process of the tool ends so, and has said that."""

    def said(code, words):
        @contextmanager
        def python(program, *arguments):
            asked.append(arguments)
            yield SimpleNamespace(communicate=lambda: (b"", words.encode()), returncode=code)

        asked = []
        monkeypatch.setattr(tool, "python", python)
        return asked

    return said


def run(file, what="base of onnx/int8"):
    Tool(file.parent, 77, "qnn:QCS9100").compile(file, what)


def test_nodes_that_the_npu_does_not_take(tmp_path, says):
    nodes = "{ name: Relu_2, type: Relu }{ name: Conv_1_token_0, type: Conv }"
    says(1, f"\x1b[1;31m[E:onnxruntime] Unsupported nodes in QNN EP: {nodes}\x1b[m\nTraceback\nFail: fallback")
    file = graphs.whole(tmp_path / "part.onnx")
    with pytest.raises(
        BackendError,
        match=r"^base of onnx/int8 cannot run on qnn:QCS9100: the HTP does not take Relu behind layer head.0, Conv in "
        r"layer head.0 as it is; choose a set that is int8 throughout, with --set: 'edge-moe convert --for qnn' makes "
        r"one$",
    ):
        run(file)
    for name in ("int8-stock", "int8-a16"):
        with pytest.raises(BackendError, match=r"; replace that layer in the network, or choose another device$"):
            run(file, f"base of onnx/{name}")


def test_floats_on_a_chip_without_them(tmp_path, says):
    says(1, "Fail: Node 'Conv_1_token_0' OpType:Conv with domain:com.ms.internal.nhwc was inserted using the NHWC")
    with pytest.raises(BackendError, match=r"the HTP does not take Conv in layer head\.0 as it is"):
        run(graphs.whole(tmp_path / "part.onnx"))


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (1, "Traceback\nOSError: no libc++\n", "OSError: no libc\\+\\+"),
        (-11, "", r"it said nothing \(signal SIGSEGV\)"),
    ],
)
def test_a_process_that_fails(tmp_path, says, code, words, told):
    says(code, words)
    with pytest.raises(BackendError, match=f"^base of onnx/int8 failed on qnn:QCS9100: {told}$"):
        run(graphs.whole(tmp_path / "part.onnx"))


def test_what_would_be_misread_is_not_even_tried(tmp_path, says):
    asked = says(0, "")
    file = graphs.by_two_scales(tmp_path / "part.onnx")
    for do in (lambda one: one.compile(file, "base"), lambda one: one.run(file, "base", np.zeros((1, *graphs.SHAPE)))):
        with pytest.raises(
            BackendError, match=r"Add behind layer head\.0 reads integers by another scale than they we"
        ):
            do(Tool(tmp_path, 77, "qnn:QCS9100"))
    assert asked == []
