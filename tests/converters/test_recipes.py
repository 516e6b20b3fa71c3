"""The named recipes: complete, unique, and chosen as asked."""

from __future__ import annotations

import json

import msgspec
import pytest

from edge_moe.backends import names, record
from edge_moe.converters import recipes
from edge_moe.errors import UsageError
from edge_moe.sets import patterns

BACKENDS = names()
EVERY = [(backend, name) for backend in BACKENDS for name in recipes.book(backend).recipes]


ROWS = ["x86 with AVX512-VNNI", "x86 with AVX2", "arm:cortex-a76", "arm:cortex-a53"]
# What runs one backend's artifacts alone: a browser, and an NPU, whose recipes are not a processor's.
MORE_ROWS = {"litert": ["browser"], "onnx": ["qnn"]}
ON_NPUS = {"onnx": {"qnn": ("int8-stock", "int8-a16")}}


def test_every_backend_has_recipes_and_the_candidates_are_among_them():
    for backend in BACKENDS:
        book = recipes.book(backend)
        assert recipes.FLOAT in book.recipes
        assert set(book.candidates) == set(book.recipes) - {recipes.FLOAT}
        if record(backend).npu is None:
            assert list(book.orders) == ROWS + MORE_ROWS.get(backend, [])
        npus = ON_NPUS.get(backend, {})
        own = {name for order in npus.values() for name in order} - set(book.orders[next(iter(book.orders))])
        for row, order in book.orders.items():  # all of them; some targets like others first
            assert book.order(row) == order
            assert len(set(order)) == len(order)
            assert set(order) == (set(npus[row]) if row in npus else set(book.candidates) - own)
        assert book.safest in book.candidates
        assert book.order("a chip that nobody knows") == next(iter(book.orders.values()))


def test_a_safer_recipe_is_one_that_runs_there():
    onnx = recipes.book("onnx")
    assert (onnx.safer("int8"), onnx.safer("int8-weights"), onnx.safer("int8-a16")) == ("int8-weights", None, None)


def test_the_stock_recipe_fits_parts_together():
    """What LiteRT's quantizer does by itself has int8 at the edges, and is for comparison only."""
    for backend in BACKENDS:
        book = recipes.book(backend)
        assert book.recipes["int8-stock"].name == book.stock.name
        assert (book.recipes["int8-stock"] == book.stock) is (backend != "litert")
    assert set(recipes.get("litert", "int8-stock").except_operators) == {"INPUT", "OUTPUT"}


@pytest.mark.parametrize(("backend", "name"), EVERY)
def test_a_recipe_says_what_it_is(backend, name):
    recipe = recipes.get(backend, name)
    assert recipe.name == name
    assert all((recipe.int8, recipe.floats, recipe.why, recipe.when))
    assert recipe.is_float is (name == "fp32") is (recipe.ranges == "none")
    assert recipe.keep_float == ()


@pytest.mark.parametrize(
    ("backend", "name"), [("onnx", ""), ("litert", "int4"), ("onnx", "INT8"), ("litert", "int8-own")]
)
def test_an_unknown_recipe(backend, name):
    words = f"unknown recipe {name!r} for {backend}; expected one of fp32, int8, .*'edge-moe recipes' explains them"
    with pytest.raises(UsageError, match=words):
        recipes.get(backend, name)


def test_an_unknown_backend():
    with pytest.raises(UsageError, match="unknown backend 'tpu'; expected one of litert, onnx, executorch"):
        recipes.get("tpu", "int8")


@pytest.mark.parametrize(("backend", "name"), EVERY)
def test_settings_are_what_is_needed_to_do_it_again(backend, name):
    recipe = recipes.get(backend, name)
    settings = recipe.settings(77)
    json.dumps(settings)  # goes into the manifest
    if recipe.is_float:
        assert settings == ({"opset": 20, "ir_version": 10} if backend == "onnx" else {})
        return
    words = {"name", "int8", "floats", "why", "when"}
    fields = set(recipe.__struct_fields__) - words - ({"statistic"} if recipe.ranges == "dynamic" else set())
    if recipe.ranges == "weights":
        fields = {"opset", "ir_version", "keep_float", "ranges"}
        assert not settings.keys() & {"activation_bits", "operators", "clip_ranges"}
    assert fields <= settings.keys()
    assert not words & settings.keys()
    assert ("calibration_images" in settings) == ("statistic" in settings) == (recipe.ranges == "calibrated")
    assert "per output channel" in settings["weights"]
    assert msgspec.structs.replace(recipe, keep_float=("a.b",)).settings(1)["keep_float"] == ("a.b",)


@pytest.mark.parametrize(
    ("wanted", "backends", "expected"),
    [
        ((), ("litert",), {"litert": ()}),
        ((), ("litert", "onnx"), {"litert": (), "onnx": ()}),
        (("int8",), ("litert", "onnx"), {"litert": ("int8",), "onnx": ("int8",)}),
        (("onnx/int8-heavy",), ("litert", "onnx"), {"litert": (), "onnx": ("int8-heavy",)}),
        (("int8", "onnx/int8-all", "int8"), ("onnx",), {"onnx": ("int8", "int8-all")}),
        (("onnx/int8-all", "int8"), ("litert", "onnx"), {"onnx": ("int8-all", "int8"), "litert": ("int8",)}),
    ],
)
def test_choosing(wanted, backends, expected):
    found = recipes.choose(patterns((), backends, wanted), backends)
    assert found == expected
    assert tuple(found) == backends


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (("litert/int8", "onnx"), {"litert": ("int8",), "onnx": ()}),
        (("onnx/int8", "litert", "onnx/fp32"), {"onnx": ("int8", "fp32"), "litert": ()}),
        (("onnx", "onnx/int8"), {"onnx": ("int8",)}),
    ],
)
def test_choosing_sets(sets, expected):
    assert recipes.choose(patterns(sets)) == expected
    assert tuple(recipes.choose(patterns(sets))) == tuple(expected)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("onnx/int8",), "recipe 'onnx/int8' is of backend 'onnx'; expected one of litert, or add --backend"),
        (("tpu/int8",), "recipe 'tpu/int8' is of backend 'tpu'; expected one of litert"),
        (("int8-heavy",), "unknown recipe 'int8-heavy' for litert"),
        (("litert/",), "'litert/' is no set of artifacts; expected backend/recipe"),
    ],
)
def test_choosing_what_is_not_there(wanted, message):
    with pytest.raises(UsageError, match=message):
        recipes.choose(patterns((), ("litert",), wanted), ("litert",))
