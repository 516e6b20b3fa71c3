"""ExecuTorch on a network of two layers, lowered here."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib import metadata

import numpy as np
import pytest

from edge_moe import BackendError, MissingExtraError, UsageError
from edge_moe.backends import executorch, get, pte
from edge_moe.backends.executorch import ExecuTorch

torch = pytest.importorskip("torch")
pytest.importorskip("executorch.exir.schema")

X = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
NAMES = "logits features embedding"


class Tiny(torch.nn.Module):
    """Has the outputs of a base."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.linear = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, 5)

    def forward(self, x):
        features = self.convolution(x).relu()
        embedding = features.mean((2, 3), keepdim=True).flatten(1)
        return self.linear(embedding), features, embedding


def maps(x):
    """[1, H, W, C] as [1, C, H, W] in channels-last format."""
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def convert(module, x, names=NAMES, **methods):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(module.eval(), (x,))
        methods |= {} if names is None else {executorch.OUTPUT_NAMES: names}
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
        return bytes(edge.to_executorch().buffer)


@pytest.fixture(scope="module")
def artifact():
    return convert(Tiny(), maps(X))


@pytest.fixture
def part(artifact):
    opened = ExecuTorch().open(artifact)
    yield opened
    opened.close()


def expected(x=X):
    with torch.no_grad():
        logits, features, embedding = Tiny().eval()(maps(x))
    return {"logits": logits, "features": features.permute(0, 2, 3, 1), "embedding": embedding}


def test_outputs_by_name_equal_torch(part):
    part.invoke(X)
    for name, value in expected().items():
        found = part.output(name)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, value.numpy(), atol=1e-5)


def test_an_output_is_a_copy(part):
    part.invoke(X)
    first = {name: part.output(name) for name in NAMES.split()}
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
    for same in (frozen, X[0][np.newaxis], np.repeat(X, 2, axis=2)[:, :, ::2], X[:, ::-1].copy()[:, ::-1]):
        part.invoke(X * 0)
        part.invoke(same)
        np.testing.assert_array_equal(part.output("logits"), logits)
    assert not frozen.flags.writeable


def test_a_matrix_is_not_a_map():
    linear = torch.nn.Linear(4, 3)
    part = ExecuTorch().open(convert(linear, torch.zeros(1, 4), "logits"))
    x = X[:1, 0, :4, 0].copy()
    part.invoke(x)
    np.testing.assert_allclose(part.output("logits"), linear(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
    part.close()


@pytest.mark.parametrize("shape", [(1, 1, 5, 3), (1, 5, 1, 3)])
def test_maps_that_are_lines(shape):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    convolution = Tiny().convolution
    part = ExecuTorch().open(convert(convolution, maps(x), "features"))
    part.invoke(x)
    with torch.no_grad():
        features = convolution(maps(x)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(part.output("features"), features.numpy(), atol=1e-5)
    part.close()


def test_threads_change_nothing_for_open_parts_either(part, artifact):
    part.invoke(X)
    logits = part.output("logits")
    other = ExecuTorch().open(artifact, threads=2)
    for opened in (other, part, other):
        opened.invoke(X)
        np.testing.assert_allclose(opened.output("logits"), logits, rtol=1e-5)
    again = ExecuTorch().open(artifact)
    for opened in (part, again, other):
        opened.invoke(X)
        np.testing.assert_allclose(opened.output("logits"), logits, rtol=1e-5)
    other.close()
    again.close()


def test_a_part_keeps_its_bytes(artifact):
    data = bytes(bytearray(artifact))
    part = ExecuTorch().open(data)
    part.invoke(X)
    logits = part.output("logits")
    del data
    bytearray(b"\xff" * 2 * len(artifact))  # where they were, if they were freed
    executorch._generation += 1  # load once more
    part.invoke(X)
    np.testing.assert_array_equal(part.output("logits"), logits)
    part.close()


def test_the_tensors_of_the_artifact(part):
    found = part.tensors()
    assert [(one.name, one.tensor, one.shape, one.layout) for one in (*found.inputs, *found.outputs)] == [
        ("input_0", None, (1, 3, 8, 8), "NHWC_in_NCHW"),  # the format has no names
        ("logits", None, (1, 5), None),
        ("features", None, (1, 4, 8, 8), "NHWC_in_NCHW"),
        ("embedding", None, (1, 4), None),
    ]
    assert {one.dtype for one in (*found.inputs, *found.outputs)} == {"float32"}
    part.close()
    with pytest.raises(UsageError, match="closed"):
        part.tensors()


def test_a_program_that_takes_channels_first_is_refused():
    """It would take what it is given, in the wrong order, and compute numbers that mean nothing."""
    plain = convert(Tiny(), torch.from_numpy(X.transpose(0, 3, 1, 2).copy()))
    with pytest.raises(BackendError) as caught:
        ExecuTorch().open(plain)
    assert str(caught.value) == (
        "the .pte artifact has a map [1, 3, 8, 8] whose axes lie in memory in the order [0, 1, 2, 3]; expected "
        "[0, 2, 3, 1], channels last: make it with 'edge-moe convert'"
    )


def test_an_array_with_channels_first_is_refused(part):
    with pytest.raises(BackendError) as caught:
        part.invoke(X.transpose(0, 3, 1, 2).copy())
    assert str(caught.value) == (
        "ExecuTorch could not run the part: it takes float32 (1, 8, 8, 3), not float32 (1, 3, 8, 8), with channels "
        "last: give array.transpose(0, 2, 3, 1)"
    )


def test_the_order_of_axes_is_read_from_the_file(artifact):
    from executorch.exir._serialize._program import deserialize_pte_binary

    (plan,) = [one for one in deserialize_pte_binary(artifact).program.execution_plan if one.name == "forward"]
    found = pte.method_tensors(artifact, "forward")
    for indices, tensors in ((plan.inputs, found.inputs), (plan.outputs, found.outputs)):
        known = [plan.values[index].val for index in indices]
        assert tensors == tuple((tuple(one.sizes), tuple(one.dim_order)) for one in known)


@pytest.mark.parametrize("length", [0, 3, 8, 40, 200])
def test_a_file_that_ends_early_has_no_tensors(artifact, length):
    assert pte.method_tensors(artifact[:length], "forward") is None
    assert pte.method_tensors(artifact, "backward") is None


def test_errors_are_one_line(part):
    for wrong in (X[:, :4], X.astype(np.float64), X[0], X.transpose(0, 3, 1, 2)):
        with pytest.raises(BackendError, match=r"could not run the part: it takes float32 \(1, 8, 8, 3\), not "):
            part.invoke(wrong)
    with pytest.raises(BackendError, match="no output 'logits' yet: invoke it first"):
        part.output("logits")
    part.invoke(X)
    with pytest.raises(BackendError, match="no output 'scores'; it has embedding, features, logits"):
        part.output("scores")


@pytest.mark.parametrize("data", [b"", b"no flatbuffer", b"\x00" * 64])
def test_bytes_that_are_no_artifact(data):
    with pytest.raises(BackendError, match="ExecuTorch refuses the artifact: ") as caught:
        ExecuTorch().open(data)
    assert "\n" not in str(caught.value)


def test_bytes_that_were_cut(artifact):
    with pytest.raises(BackendError, match="ExecuTorch refuses the artifact: "):
        ExecuTorch().open(artifact[: len(artifact) // 2])


@pytest.mark.parametrize(
    ("names", "methods"), [(None, {}), ("logits features", {}), (None, {executorch.OUTPUT_NAMES: [1, 2, 3]})]
)
def test_artifacts_of_others(names, methods):
    with pytest.raises(BackendError, match="make it with 'edge-moe convert'"):
        ExecuTorch().open(convert(torch.nn.ReLU(), torch.zeros(1, 4), names, **methods))


def test_closed(artifact):
    part = ExecuTorch().open(artifact)
    part.close()
    part.close()
    for use in (lambda: part.invoke(X), lambda: part.output("logits")):
        with pytest.raises(UsageError, match="the part is closed"):
            use()


def test_registry_and_version(monkeypatch):
    backend = get("executorch")
    assert isinstance(backend, ExecuTorch)
    assert (backend.name, backend.suffix) == ("executorch", ".pte")
    assert backend.version() == f"executorch {metadata.version('executorch')}"
    monkeypatch.setattr(executorch, "_PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError):
        backend.version()


@pytest.mark.parametrize("module", ["torch", executorch._BINDINGS[0]])
def test_missing_package(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"needs executorch.*edge-moe\[executorch\]"):
        ExecuTorch().open(b"")


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_versions_that_do_not_fit(monkeypatch, error):
    def fail(name):
        raise error("_portable_lib.so: undefined symbol: _ZN5torch\nand more")

    monkeypatch.setattr(executorch.importlib, "import_module", fail)
    with pytest.raises(BackendError) as caught:
        ExecuTorch().open(b"")
    installed = f"executorch {metadata.version('executorch')} with torch {metadata.version('torch')} cannot be loaded"
    assert str(caught.value).startswith(installed)
    assert "undefined symbol: _ZN5torch and more" in str(caught.value)
    assert str(caught.value).endswith("pip install executorch==1.4.1 torch==2.13.0")


def run(code, *arguments):
    return subprocess.run([sys.executable, "-W", "error", "-c", code, *map(str, arguments)], capture_output=True)


def test_nothing_but_the_caller_s_own_words_on_stderr_and_no_exporter(artifact, tmp_path):
    (tmp_path / "tiny.pte").write_bytes(artifact)
    code = (
        "import os, pathlib, sys\n"
        "import edge_moe.backends.executorch as backend\n"
        "assert 'torch' not in sys.modules\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "for n in range(3):\n"
        "    backend.ExecuTorch().open(data, threads=1 + n % 2)\n"
        "    os.write(2, b'after %d\\n' % n)\n"
        "try:\n"
        "    backend.ExecuTorch().open(b'nothing')\n"
        "except backend.BackendError:\n"
        "    pass\n"
        "assert not {'executorch.exir', 'torchao', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "with backend._without_log():\n"
        "    os.write(2, b'WARNING: mine\\n[threadpool.cpp:66] Resetting.\\n[and] mine\\n')\n"
    )
    done = run(code, tmp_path / "tiny.pte")
    assert (done.returncode, done.stderr) == (0, b"after 0\nafter 1\nafter 2\nWARNING: mine\n[and] mine\n")


def test_open_works_without_a_stderr(artifact, tmp_path):
    (tmp_path / "tiny.pte").write_bytes(artifact)
    code = (
        "import os, pathlib, sys\nos.close(2)\n"
        "from edge_moe.backends.executorch import ExecuTorch\n"
        "print(ExecuTorch().open(pathlib.Path(sys.argv[1]).read_bytes())._shape)\n"
    )
    assert run(code, tmp_path / "tiny.pte").stdout == b"(1, 8, 8, 3)\n"
