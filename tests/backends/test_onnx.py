"""ONNX Runtime on a network of two layers, written down here operator by operator."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_moe import BackendError, MissingExtraError, UsageError
from edge_moe.backends import get, onnx_session
from edge_moe.backends.onnx import UNSIGNED, Onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 8, 8, 3)).astype(np.float32)
POINT = RNG.standard_normal((3, 4)).astype(np.float32)  # a convolution with a kernel of 1 x 1
LINEAR = RNG.standard_normal((4, 5)).astype(np.float32)


def model(inputs=("image",)):
    tensor = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["image", "point"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["features"]),
        helper.make_node("ReduceMean", ["features", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "linear"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor(name, TensorProto.FLOAT, X.shape) for name in inputs],
        [
            tensor("logits", TensorProto.FLOAT, [1, 5]),
            tensor("features", TensorProto.FLOAT, [1, 8, 8, 4]),
            tensor("embedding", TensorProto.FLOAT, [1, 4]),
        ],
        [
            numpy_helper.from_array(POINT, "point"),
            numpy_helper.from_array(LINEAR, "linear"),
            numpy_helper.from_array(np.array([1, 2]), "axes"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def expected(x):
    features = np.maximum(x @ POINT, 0)
    embedding = features.mean((1, 2))
    return {"features": features, "embedding": embedding, "logits": embedding @ LINEAR}


@pytest.fixture(scope="module")
def artifact():
    return model()


@pytest.fixture
def part(artifact):
    opened = Onnx().open(artifact)
    yield opened
    opened.close()


def test_outputs_by_name_equal_numpy(part):
    part.invoke(X)
    for name, value in expected(X).items():
        found = part.output(name)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, value, atol=1e-5)


def test_an_output_is_a_copy(part):
    part.invoke(X)
    first = {name: part.output(name) for name in ("logits", "features")}
    kept = {name: value.copy() for name, value in first.items()}
    part.invoke(X * 2)
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])
        assert not np.array_equal(part.output(name), kept[name])
    part.close()
    np.testing.assert_array_equal(first["features"], kept["features"])


def test_any_array_of_the_right_shape_will_do(part):
    part.invoke(X)
    logits = part.output("logits")
    frozen = X.copy()
    frozen.setflags(write=False)
    for same in (frozen, np.repeat(X, 2, axis=2)[:, :, ::2], X[:, ::-1].copy()[:, ::-1]):
        part.invoke(X * 0)
        part.invoke(same)
        np.testing.assert_array_equal(part.output("logits"), logits)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_asked_for_and_change_nothing(part, artifact, monkeypatch, threads):
    import onnxruntime

    onnx_session.saturates()  # which opens a session of its own, once a process
    given = []
    real = onnxruntime.InferenceSession

    def record(data, options, **more):
        given.append((options.intra_op_num_threads, options.inter_op_num_threads, more["providers"]))
        return real(data, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    other = Onnx().open(artifact, threads=threads)
    assert given == [(threads, 1, ["CPUExecutionProvider"])]
    for opened in (part, other):
        opened.invoke(X)
    np.testing.assert_allclose(other.output("logits"), part.output("logits"), rtol=1e-6)
    other.close()


def test_the_threads_of_a_part_rest_when_it_has_run(part):
    # Those of the base would keep the CPUs that the expert needs.
    options = part._session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_the_tensors_of_the_artifact(part):
    found = part.tensors()
    assert [(one.name, one.tensor, one.shape, one.layout) for one in (*found.inputs, *found.outputs)] == [
        ("image", "image", (1, 8, 8, 3), "NHWC"),
        ("logits", "logits", (1, 5), None),
        ("features", "features", (1, 8, 8, 4), "NHWC"),
        ("embedding", "embedding", (1, 4), None),
    ]
    assert {(one.dtype, one.scale, one.zero_point) for one in (*found.inputs, *found.outputs)} == {
        ("float32", None, None)
    }
    part.close()
    with pytest.raises(UsageError, match="closed"):
        part.tensors()


def test_errors_are_one_line(part):
    for wrong in (X[:, :4], X.astype(np.float64), X[0], X.transpose(0, 3, 1, 2)):
        with pytest.raises(BackendError, match="ONNX Runtime could not run the part: ") as caught:
            part.invoke(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(BackendError, match="the part was not run yet; call invoke first"):
        part.output("logits")
    part.invoke(X)
    with pytest.raises(BackendError, match="no output 'scores'; it has embedding, features, logits"):
        part.output("scores")


@pytest.mark.parametrize("data", [b"", b"no protobuf", b"\x00" * 64])
def test_bytes_that_are_no_artifact(data, capfd):
    with pytest.raises(BackendError, match=r"ONNX Runtime refuses the artifact: .*; convert it again$") as caught:
        Onnx().open(data)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_bytes_that_were_cut(artifact):
    with pytest.raises(BackendError, match="ONNX Runtime refuses the artifact: "):
        Onnx().open(artifact[: len(artifact) // 2])


def test_artifacts_of_others():
    with pytest.raises(BackendError, match="should have one input, but has 2; make it with 'edge-moe convert'"):
        Onnx().open(model(inputs=("image", "mask")))


def test_closed(artifact):
    part = Onnx().open(artifact)
    part.close()
    part.close()
    for use in (lambda: part.invoke(X), lambda: part.output("logits")):
        with pytest.raises(UsageError, match="the part is closed"):
            use()


def test_registry_and_version(monkeypatch):
    backend = get("onnx")
    assert isinstance(backend, Onnx)
    assert (backend.name, backend.suffix) == ("onnx", ".onnx")
    assert backend.version().startswith("onnxruntime 1.")
    for saturates in (False, True):
        monkeypatch.setattr("edge_moe.backends.onnx.saturates", lambda answer=saturates: answer)
        assert (UNSIGNED in backend.version()) is saturates


def test_the_version_is_the_modules(monkeypatch):
    """Of onnxruntime-gpu, -openvino and their like, which are this module under another package's name."""
    monkeypatch.setattr("onnxruntime.__version__", "9.8.7")
    monkeypatch.setattr("importlib.metadata.version", lambda name: 1 / 0)
    assert Onnx().version().startswith("onnxruntime 9.8.7")


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for use in (lambda: Onnx().open(b""), Onnx().version):
        with pytest.raises(MissingExtraError, match=r"needs onnxruntime.*edge-moe\[onnx\]"):
            use()


def test_nothing_but_the_caller_s_own_words_on_stderr(artifact, tmp_path):
    (tmp_path / "tiny.onnx").write_bytes(artifact)
    code = (
        "import os, pathlib, sys\n"
        "import edge_moe.backends.onnx as backend\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "for n in range(2):\n"
        "    backend.Onnx().open(data, threads=1 + n)\n"
        "    os.write(2, b'after %d\\n' % n)\n"
        "assert not {'onnx', 'torch', 'onnxscript'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "tiny.onnx")]
    done = subprocess.run(command, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"after 0\nafter 1\n")


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        (
            TensorProto.DOUBLE,
            [1, 3],
            r"has 'x' as tensor\(double\); expected one of tensor\(float\)",
        ),
        (TensorProto.FLOAT, ["batch", 3], r"has 'x' in shape \['batch', 3\]; expected lengths of at least 1"),
        (TensorProto.FLOAT, [None, 3], r"has 'x' in shape \[None, 3\]"),
    ],
)
def test_tensors_of_others(kind, shape, words):
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["logits"])], "g", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    opened = Onnx().open(made.SerializeToString())
    with pytest.raises(BackendError, match=words):
        opened.tensors()
