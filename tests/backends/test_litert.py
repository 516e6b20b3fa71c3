"""LiteRT on a network of two layers, converted here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_moe import BackendError, MissingExtraError, UsageError
from edge_moe.backends import get
from edge_moe.backends.litert import LiteRT, Partitions

pytest.importorskip("ai_edge_litert")

X = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)


def convert(module, x):
    torch = pytest.importorskip("torch")
    pytest.importorskip("edge_moe.nn.torchvision")  # torchvision with a CPU torch; litert_torch imports it
    litert_torch = pytest.importorskip("litert_torch")
    return bytes(litert_torch.convert(module.eval(), (torch.from_numpy(x),)).model_content())


def tiny(delegated=True):
    """Return a torch module with the outputs of a base."""
    torch = pytest.importorskip("torch")

    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.convolution, self.linear = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, 5)

        def forward(self, x):
            features = self.convolution(x.permute(0, 3, 1, 2)).relu()
            if not delegated:
                features = features.cumsum(3)
            embedding = features.mean((2, 3))
            features = features.permute(0, 2, 3, 1)
            return {"logits": self.linear(embedding), "features": features, "embedding": embedding}

    return Tiny()


def quantized_linear(outputs, ranges):
    """Return a linear layer with int8 weights, and as many scales as outputs."""
    torch = pytest.importorskip("torch")
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
    from ai_edge_quantizer import qtyping

    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((1, 32)).astype(np.float32)
    quantize = quantizer.Quantizer(convert(torch.nn.Linear(32, outputs), x))
    linear = qtyping.TFLOperationName.FULLY_CONNECTED
    if ranges == "dynamic":
        quantize.add_dynamic_config(".*", linear, num_bits=8)
        return bytes(quantize.quantize().quantized_model)
    what = qtyping.TFLOperationName.ALL_SUPPORTED if ranges == "everything" else linear  # inputs and outputs too
    quantize.add_static_config(".*", what, activation_num_bits=8, weight_num_bits=8)
    seen = quantize.calibrate({"serving_default": [{"args_0": x}]})
    return bytes(quantize.quantize(seen).quantized_model)


@pytest.fixture(scope="module")
def artifact():
    return convert(tiny(), X)


@pytest.fixture
def part(artifact):
    opened = LiteRT().open(artifact)
    yield opened
    opened.close()


def test_outputs_by_name_equal_torch(part):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        expected = tiny().eval()(torch.from_numpy(X))
    part.invoke(X)
    for name, value in expected.items():
        found = part.output(name)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, value.numpy(), atol=1e-5)


def test_an_output_is_a_copy(part):
    part.invoke(X)
    first = part.output("logits")
    kept = first.copy()
    part.invoke(X * 2)
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(part.output("logits"), kept)


def test_threads_change_nothing(part, artifact):
    other = LiteRT().open(artifact, threads=2)
    for opened in (part, other):
        opened.invoke(X)
    np.testing.assert_allclose(other.output("logits"), part.output("logits"), rtol=1e-6)
    other.close()


def test_partitions(part):
    assert part.partitions() == Partitions(delegates=1, outside=0)


def test_partitions_of_a_graph_that_is_not_wholly_delegated():
    found = LiteRT().open(convert(tiny(delegated=False), X)).partitions()
    assert found.outside >= 1
    assert found.delegates == 2  # before and after the cumulative sum


def test_the_tensors_of_the_artifact(part):
    """Names are the signature's; the exact ones, and their order, those of the graph."""
    found = part.tensors()
    (given,) = found.inputs
    assert (given.name, given.shape, given.layout, given.dtype) == ("args_0", (1, 8, 8, 3), "NHWC", "float32")
    details = part._interpreter.get_output_details()
    assert [(one.tensor, one.shape) for one in found.outputs] == [(d["name"], tuple(d["shape"])) for d in details]
    assert {one.name: one.layout for one in found.outputs} == {"logits": None, "features": "NHWC", "embedding": None}
    part.close()
    with pytest.raises(UsageError, match="closed"):
        part.tensors()


def test_the_tensors_of_an_artifact_with_integers_outside():
    """Inputs and outputs in int8, as an NPU wants them: with the scale by which they are real numbers."""
    quantized = quantized_linear(5, "everything")
    found = LiteRT().open(quantized).tensors()
    for one in (*found.inputs, *found.outputs):
        assert (one.dtype, one.layout) == ("int8", None)
        assert one.scale is not None
        assert 0 < one.scale < 1
        assert -128 <= one.zero_point <= 127


def test_errors_are_one_line(part):
    with pytest.raises(BackendError, match=r"LiteRT could not run the part: .*Dimension mismatch") as caught:
        part.invoke(X[:, :4])
    assert "\n" not in str(caught.value)
    for wrong in (X.astype(np.float64), X.transpose(0, 3, 1, 2)):
        with pytest.raises(BackendError, match="could not run the part"):
            part.invoke(wrong)
    with pytest.raises(BackendError, match="no output 'scores'; it has embedding, features, logits"):
        part.output("scores")


@pytest.mark.parametrize("data", [b"", b"no flatbuffer", b"\x00" * 64])
def test_bytes_that_are_no_artifact(data):
    with pytest.raises(BackendError, match="LiteRT refuses the artifact: ") as caught:
        LiteRT().open(data)
    assert "\n" not in str(caught.value)


def test_closed(artifact):
    part = LiteRT().open(artifact)
    part.close()
    part.close()
    for use in (lambda: part.invoke(X), lambda: part.output("logits")):
        with pytest.raises(UsageError, match="the part is closed"):
            use()


def test_registry_and_version():
    backend = get("litert")
    assert isinstance(backend, LiteRT)
    assert (backend.name, backend.suffix) == ("litert", ".tflite")
    assert backend.version().startswith("ai-edge-litert ")
    with pytest.raises(UsageError, match="unknown backend 'tpu'; expected one of litert"):
        get("tpu")


def test_missing_package(monkeypatch):
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (lambda: LiteRT().open(b""), LiteRT().version):
        with pytest.raises(MissingExtraError, match=r"needs ai-edge-litert.*edge-moe\[litert\]"):
            use()


# The real one is in test_tflite_runtime.py; this one computes what it should, and is treated all the same.
@pytest.fixture
def as_tflite_runtime(monkeypatch):
    from ai_edge_litert import interpreter

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)


def test_tflite_runtime_is_used_where_ai_edge_litert_is_not_there(as_tflite_runtime, artifact):
    part = LiteRT().open(artifact)
    part.invoke(X)
    assert part.output("logits").shape == (1, 5)
    assert part.partitions() == Partitions(delegates=1, outside=0)
    part.close()
    assert LiteRT().version() == "tflite-runtime unknown version"


@pytest.mark.parametrize(
    ("outputs", "ranges", "refused"), [(5, "dynamic", True), (1, "dynamic", False), (5, "static", False)]
)
def test_tflite_runtime_is_not_given_what_it_computes_wrongly(as_tflite_runtime, outputs, ranges, refused):
    quantized = quantized_linear(outputs, ranges)
    if not refused:
        LiteRT().open(quantized).close()
        return
    with pytest.raises(BackendError, match=r"tflite-runtime cannot compute .*choose recipe fp32 or int8-all, or run: "):
        LiteRT().open(quantized)


def test_nothing_but_the_caller_s_own_words_on_stderr(artifact, tmp_path):
    (tmp_path / "tiny.tflite").write_bytes(artifact)
    code = (
        "import os, sys\n"
        "from edge_moe.backends.litert import LiteRT\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "for n in range(3):\n"
        "    LiteRT().open(data)\n"
        "    os.write(2, b'after %d\\n' % n)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "tiny.tflite")], capture_output=True, check=True)
    assert done.stderr == b"after 0\nafter 1\nafter 2\n"


def test_what_others_write_while_the_greeting_is_kept_off_is_not_lost():
    code = (
        "import os\n"
        "from edge_moe.backends import litert\n"
        "with litert._without_greeting():\n"
        "    os.write(2, b'WARNING: mine\\n' + litert._GREETING + b'and mine\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"WARNING: mine\nand mine\n"


def test_open_works_without_a_stderr(artifact, tmp_path):
    (tmp_path / "tiny.tflite").write_bytes(artifact)
    code = (
        "import os, sys\nos.close(2)\n"
        "from edge_moe.backends.litert import LiteRT\n"
        "print(LiteRT().open(open(sys.argv[1], 'rb').read()).partitions().delegates)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "tiny.tflite")], capture_output=True, check=True)
    assert done.stdout == b"1\n"
