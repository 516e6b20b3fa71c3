"""What this machine reaches on a large matrix product, where nothing but arithmetic counts: the parts' ceiling.

Every library that is installed has its turn; the best of them is the limit, whoever runs the parts.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np

from edge_moe.backends.onnx_session import open_session, version

__all__ = ["SHAPE", "Product", "products", "time_product"]

SHAPE = (1024, 1024, 1024)  # M, K, N: far larger than any layer of a MobileNet, and still in the cache
_REPEATS, _WARM_UP = 3, 2


class Product(NamedTuple):
    """A matrix product that can be called again and again."""

    dtype: Literal["int8", "fp32"]
    library: str
    call: Callable[[], Any]


def products(threads: int, stack: contextlib.ExitStack) -> list[Product]:
    """Return the products that can be computed here on `threads` threads; `stack` undoes what had to be set."""
    found = [_numpy(threads)]
    if importlib.util.find_spec("torch"):
        found += _torch(threads, stack)
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        found += _onnxruntime(threads)
    return found


def time_product(product: Product) -> list[float]:
    """Return the milliseconds that a few calls took, after some that warm up."""
    for _ in range(_WARM_UP):
        product.call()
    elapsed = []
    for _ in range(_REPEATS):
        start = perf_counter()
        product.call()
        elapsed.append((perf_counter() - start) * 1000)
    return elapsed


def _floats() -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.float32]]]:
    m, k, n = SHAPE
    draw = np.random.default_rng(0)
    return draw.standard_normal((m, k), dtype=np.float32), draw.standard_normal((k, n), dtype=np.float32)


def _bytes(low: int, high: int, dtype: type[Any]) -> tuple[Any, Any]:
    m, k, n = SHAPE
    draw = np.random.default_rng(0)
    return draw.integers(low, high, (m, k)).astype(dtype), draw.integers(-127, 128, (k, n)).astype(np.int8)


def _numpy(threads: int) -> Product:
    import threadpoolctl

    a, b = _floats()
    out = np.empty((SHAPE[0], SHAPE[2]), np.float32)
    limiter = threadpoolctl.ThreadpoolController()

    def call() -> Any:
        with limiter.limit(limits=threads):
            return np.matmul(a, b, out=out)

    return Product("fp32", f"numpy {np.__version__}", call)


def _torch(threads: int, stack: contextlib.ExitStack) -> list[Product]:
    import torch

    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(threads)
    a, b = (torch.from_numpy(one) for one in _floats())
    c, d = (torch.from_numpy(one) for one in _bytes(-127, 128, np.int8))
    name = f"torch {torch.__version__.split('+')[0]}"
    return [Product("fp32", name, lambda: torch.mm(a, b)), Product("int8", name, lambda: torch._int_mm(c, d))]


def _onnxruntime(threads: int) -> list[Product]:
    from onnx import TensorProto, helper, numpy_helper

    found = []
    kinds: list[tuple[Literal["int8", "fp32"], str, Any, int, int]] = [
        ("fp32", "MatMul", _floats(), TensorProto.FLOAT, TensorProto.FLOAT),
        ("int8", "MatMulInteger", _bytes(0, 256, np.uint8), TensorProto.UINT8, TensorProto.INT32),
    ]
    for dtype, operator, (a, b), given, result in kinds:
        # The second matrix is a constant, as weights are, so that it may be packed once.
        graph = helper.make_graph(
            [helper.make_node(operator, ["a", "b"], ["c"])],
            "product",
            [helper.make_tensor_value_info("a", given, list(a.shape))],
            [helper.make_tensor_value_info("c", result, [SHAPE[0], SHAPE[2]])],
            [numpy_helper.from_array(b, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = open_session(model.SerializeToString(), threads=threads, what="product")
        found.append(Product(dtype, f"onnxruntime {version()}", _run(session, a)))
    return found


def _run(session: Any, a: Any) -> Callable[[], Any]:
    return lambda: session.run(["c"], {"a": a})
