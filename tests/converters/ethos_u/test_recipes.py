"""What is particular to the recipes of an NPU: nothing stays in float, and how wide its integers are."""

from __future__ import annotations

from edge_moe.converters import recipes


def test_nothing_stays_in_float():
    book = recipes.book("ethos-u")
    assert {one.floats for one in book.recipes.values() if not one.is_float} == {"nothing"}


def test_the_safest_has_activations_of_16_bits_and_says_so():
    book = recipes.book("ethos-u")
    settings = book.recipes[book.safest].settings(8)
    assert (settings["activation_bits"], settings["activations"]) == (16, "int16, symmetric, per tensor")
    first = book.recipes[book.candidates[0]].settings(8)
    assert (first["activation_bits"], first["activations"]) == (8, "int8, asymmetric, per tensor")
    assert (first["wide_layers"], first["wide_logits"]) == (2, True)


def test_the_stock_recipe_is_the_quantizers_own():
    stock = recipes.book("ethos-u").stock
    assert (stock.statistic, stock.wide_layers, stock.wide_logits, stock.activation_bits) == ("histogram", 0, False, 8)
