"""The large matrix products: right, on as many threads as asked, and whatever is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools

import numpy as np
import onnxruntime
import pytest
import threadpoolctl
import torch

from edge_moe.backends import onnx_session
from edge_moe.benchmarks.targets.host import limits


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(limits, "SHAPE", (32, 48, 24))


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def names(found):
    return sorted((product.library.split()[0], product.dtype) for product in found)


def test_every_product_is_the_product(stack):
    found = limits.products(1, stack)
    both = [(name, dtype) for name in ("onnxruntime", "torch") for dtype in ("fp32", "int8")]
    assert names(found) == [("numpy", "fp32"), *both]
    expected = {
        "fp32": [np.matmul(*(one.astype(np.float64) for one in limits._floats()))],
        "int8": [
            np.matmul(*(one.astype(np.int64) for one in limits._bytes(*of)))
            for of in ((-127, 128, np.int8), (0, 256, np.uint8))
        ],
    }
    for product in found:
        result = product.call()
        result = np.asarray(result[0] if isinstance(result, list) else result)
        assert result.shape == (32, 24)
        same = [np.allclose(result, right, rtol=1e-4, atol=1e-4) for right in expected[product.dtype]]
        assert any(same), product.library
        assert result.dtype == (np.float32 if product.dtype == "fp32" else np.int32)


def test_what_is_multiplied_is_not_trivial():
    for a, b in (limits._floats(), limits._bytes(-127, 128, np.int8), limits._bytes(0, 256, np.uint8)):
        assert (a.shape, b.shape) == ((32, 48), (48, 24))
        assert len(np.unique(a)) > 100
        assert len(np.unique(b)) > 100
    assert limits._bytes(0, 256, np.uint8)[0].max() > 127


def test_torch_s_threads_are_set_and_set_back():
    before = torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        limits.products(before + 1, stack)
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_numpy_s_threads_are_limited_inside_a_call(stack, monkeypatch):
    def threads():
        return {one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"}

    seen, matmul = [], np.matmul
    product = limits._numpy(1)
    monkeypatch.setattr(np, "matmul", lambda *given, **out: seen.append(threads()) or matmul(*given, **out))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        outside = threads()
        product.call()
        assert threads() == outside == {2}
    assert seen == [{1}]


def test_onnxruntime_s_threads(stack, monkeypatch):
    onnx_session.saturates()  # which opens a session of its own, once a process
    seen, session = [], onnxruntime.InferenceSession

    def opened(model, options, **more):
        seen.append(options.intra_op_num_threads)
        return session(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    limits.products(3, stack)
    assert seen == [3, 3]


@pytest.mark.parametrize(
    ("hidden", "left"),
    [
        ({"torch"}, {"numpy", "onnxruntime"}),
        ({"onnx"}, {"numpy", "torch"}),
        ({"onnxruntime"}, {"numpy", "torch"}),
        ({"torch", "onnx"}, {"numpy"}),
    ],
)
def test_what_is_not_installed_has_no_turn(stack, monkeypatch, hidden, left):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else real(name))
    assert {name for name, _ in names(limits.products(1, stack))} == left


def test_what_is_timed_is_a_call_without_the_warm_up(monkeypatch):
    calls, clock = [], itertools.count()
    product = limits.Product("fp32", "x", lambda: calls.append(next(clock)))
    now = iter([0.0, 1.5, 2.0, 2.25, 3.0, 3.125])
    monkeypatch.setattr(limits, "perf_counter", lambda: next(now))
    assert limits.time_product(product) == [1500.0, 250.0, 125.0]
    assert len(calls) == 5
    assert next(now, None) is None
