"""Layers or kernels: numbers worked by hand, right kernels of every backend, and one that saturates."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.converters import recipes, toolchain
from edge_moe.converters.kernels import KernelNoise, kernel_noise
from tests.converters.conftest import run, run_torch


def row(*values):
    return np.array([values], np.float32)


def test_by_hand():
    """Float 3-4: 25 of power. The graph is off by 1/2, the artifact by another 1 from that."""
    found = kernel_noise([(row(3, 4), row(3, 4.5), row(4, 4.5))])
    assert found.graph_sqnr_db == pytest.approx(10 * np.log10(25 / 0.25))
    assert found.kernel_sqnr_db == pytest.approx(10 * np.log10(25 / 1))
    both = kernel_noise([(row(3, 4), row(3, 4.5), row(4, 4.5)), (row(0, 0), row(0, 0), row(0, 2))])
    assert (both.graph_sqnr_db, both.kernel_sqnr_db) == pytest.approx((20, 10 * np.log10(25 / 5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_all_noise(bad):
    found = kernel_noise([(row(3, 4), row(3, 4.5), row(bad, 4))])
    assert found.kernel_sqnr_db == -200
    assert found.is_suspect


@pytest.mark.parametrize(
    ("graph", "kernel", "suspect"),
    [
        (18.4, 7.8, True),  # EfficientNet-Lite0 where uint8 by int8 saturates
        (18.4, 12.3, True),
        (18.4, 12.5, False),  # within 6 dB: another way of rounding
        (18.4, 150.0, False),
        (0.7, -3.0, False),  # a layer is broken, and what is left is noise
        (200.0, 140.0, False),  # sums in another order
        (200.0, 49.0, False),  # no more than 8 bits cost
        (200.0, 48.0, True),
    ],
)
def test_when_a_kernel_is_the_suspect(graph, kernel, suspect):
    assert KernelNoise(graph_sqnr_db=graph, kernel_sqnr_db=kernel).is_suspect is suspect


CASES = [(b, n, k) for b in ("litert", "onnx") for n in recipes.book(b).recipes for k in ("base", "gate", "expert")]


def rows(tools, artifact, traced, part, kind, x, recipe):
    emulated = list(tools.emulate(artifact, traced, part, x, recipe))
    assert len(emulated) == toolchain.COMPARED
    found = run(tools.backend, artifact, kind, x)["logits"]
    return list(zip(run_torch(part, kind, x)["logits"][:, np.newaxis], emulated, found[:, np.newaxis], strict=False))


@pytest.mark.parametrize(("backend", "name", "kind"), CASES)
def test_right_kernels_are_not_suspected(make_artifact, traced, parts, samples, backend, name, kind):
    tools, recipe = toolchain.get(backend), recipes.get(backend, name)
    (artifact,) = make_artifact(backend, kind, recipe)
    found = kernel_noise(rows(tools, artifact, traced[backend, kind], parts[kind], kind, samples[kind], recipe))
    assert not found.is_suspect
    assert (found.graph_sqnr_db > 100) is (name == "fp32")  # the graph that is run is the quantized one
    assert found.kernel_sqnr_db > 20


def test_right_kernels_of_executorch_are_not_suspected(parts, samples):
    pytest.importorskip("executorch.exir.schema")
    tools, x = toolchain.get("executorch"), samples["expert"]
    traced = tools.trace(parts["expert"], "expert", x[0])
    for name in ("int8-dynamic", "int8-all"):
        recipe = recipes.get("executorch", name)
        (artifact,) = tools.build(traced, parts["expert"], "expert", x, [recipe])
        found = kernel_noise(rows(tools, artifact, traced, parts["expert"], "expert", x, recipe))
        assert not found.is_suspect
        assert 20 < found.graph_sqnr_db < 60


def test_a_kernel_that_saturates_is_suspected(make_artifact, traced, parts, samples):
    """Logits that end at half of the largest."""
    tools, recipe = toolchain.get("onnx"), recipes.get("onnx", "int8-all")
    (artifact,) = make_artifact("onnx", "expert", recipe)
    right = rows(tools, artifact, traced["onnx", "expert"], parts["expert"], "expert", samples["expert"], recipe)
    most = max(abs(logits).max() for _, _, logits in right) / 2
    assert kernel_noise([(a, b, c.clip(-most, most)) for a, b, c in right]).is_suspect
