"""The one place that opens ONNX Runtime sessions, and the product that shows whether this processor needs help."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edge_moe.backends import onnx_session
from edge_moe.backends.onnx import Onnx
from edge_moe.errors import BackendError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

ROOT = Path(__file__).parents[2]
OPTION = "session.x64quantprecision"


@pytest.fixture
def asked_anew():
    """What was found out stays in the process; these tests find out something else."""
    onnx_session.saturates.cache_clear()
    yield
    onnx_session.saturates.cache_clear()


def product():
    """y = A b, as MatMulInteger."""
    a, b = TensorProto.UINT8, numpy_helper.from_array(np.full((64, 16), 127, np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", a, [16, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [16, 16])],
        [b],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


def test_the_probe_is_the_file_that_onnx_would_write():
    tensor = helper.make_tensor_value_info
    inputs = ["x", "one", "zero_u8", "w", "one", "zero_i8", "step", "zero_u8"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", inputs, ["y"])],
        "probe",
        [tensor("x", TensorProto.UINT8, [1, 64, 1, 1])],
        [tensor("y", TensorProto.UINT8, [1, 64, 1, 1])],
        [
            numpy_helper.from_array(np.array(value), name)
            for name, value in (
                ("one", np.float32(1)),
                ("step", np.float32(16384)),
                ("zero_u8", np.uint8(0)),
                ("zero_i8", np.int8(0)),
                ("w", np.full((64, 64, 1, 1), 127, np.int8)),
            )
        ],
    )
    expected = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    written = onnx_session.probe_model()
    assert written == expected.SerializeToString()
    onnx.checker.check_model(expected, full_check=True)
    assert len(written) < 5000


def test_the_right_answer_by_hand():
    exact, step = 64 * 255 * 127, 16384
    saturated = 32 * min(2 * 255 * 127, 2**15 - 1)  # two products, added up in 16 bits
    assert (exact, round(exact / step) * step, round(saturated / step) * step) == (2_072_640, 2_080_768, 1_048_576)
    assert round(exact / step) == onnx_session.RIGHT


def test_it_is_asked_once_a_process(asked_anew, monkeypatch):
    made = []
    monkeypatch.setattr(onnx_session, "probe_model", lambda real=onnx_session.probe_model: made.append(1) or real())
    for _ in range(2):
        onnx_session.open_session(product())
    assert made == [1]


class Saturated:
    """A session on a processor where half of the products are lost."""

    def __init__(self, *_, **__):
        pass

    def run(self, outputs, feed):
        return [np.full((1, 64, 1, 1), 64, np.uint8)]


def refuses(*_, **__):
    raise RuntimeError("no kernel for QLinearConv")


@pytest.mark.parametrize(("session", "expected"), [(Saturated, True), (refuses, True)])
def test_what_the_product_says(asked_anew, monkeypatch, session, expected):
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert onnx_session.saturates() is expected


def entry(session):
    try:
        return session.get_session_options().get_session_config_entry(OPTION)
    except RuntimeError:  # it is not set
        return None


@pytest.mark.parametrize(("saturates", "expected"), [(True, "1"), (False, None)])
def test_the_option_is_set_where_products_saturate_only(monkeypatch, saturates, expected):
    monkeypatch.setattr(onnx_session, "saturates", lambda: saturates)
    session = onnx_session.open_session(product())
    assert entry(session) == expected
    (found,) = session.run(None, {"a": np.full((16, 64), 1, np.uint8)})
    np.testing.assert_array_equal(found, 64 * 127)


def test_every_product_is_right_on_this_machine():
    (found,) = onnx_session.open_session(product()).run(None, {"a": np.full((16, 64), 255, np.uint8)})
    np.testing.assert_array_equal(found, 64 * 255 * 127)


def test_nobody_else_opens_a_session():
    """Of ours; onnxruntime.quantization opens its own, of float models."""
    words = re.compile(r"InferenceSession\(|^\s*import onnxruntime\b(?!\.)", re.MULTILINE)
    files = [file for folder in ("edge_moe", "converters", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    found = {file.relative_to(ROOT).as_posix() for file in files if words.search(file.read_text())}
    # And the NPU's, which runs the vendor's plug-in and nothing of ours, in a process of its own.
    assert found == {"edge_moe/backends/onnx_session.py", "benchmarks/targets/qnn/child.py"}


def test_all_four_get_the_option(monkeypatch):
    from edge_moe.benchmarks.peers import one_graph
    from edge_moe.benchmarks.targets.host import limits
    from edge_moe.converters.onnx.toolchain import _reader

    monkeypatch.setattr(limits, "SHAPE", (4, 8, 4))
    onnx_session.saturates()
    opened = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
    monkeypatch.setattr(onnx_session, "saturates", lambda: True)
    Onnx().open(product())
    one_graph.OneGraph(product())
    _reader(onnx.load_from_string(product()), ["y"])
    limits._onnxruntime(1)  # two of them
    assert [entry(session) for session in opened] == ["1"] * 5


def test_an_error_says_what_was_refused():
    with pytest.raises(BackendError, match=r"^ONNX Runtime refuses the graph: .*"):
        onnx_session.open_session(b"nothing", what="graph")
