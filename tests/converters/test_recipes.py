from __future__ import annotations

import json

import pytest

from edge_moe.converters import recipes
from edge_moe.errors import UsageError


def test_names_are_unique_and_the_candidates_are_among_them():
    assert list(recipes.RECIPES) == [recipe.name for recipe in recipes._ALL]
    assert recipes.FLOAT in recipes.RECIPES
    assert set(recipes.CANDIDATES) < set(recipes.RECIPES) - {recipes.FLOAT}
    assert recipes.STOCK.name not in recipes.RECIPES  # its tensors come and go in int8


@pytest.mark.parametrize("name", ["", "int4", "INT8", "int8-stock"])
def test_an_unknown_recipe(name):
    with pytest.raises(UsageError, match=f"unknown recipe {name!r}; expected one of fp32, int8, "):
        recipes.get(name)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_settings_are_what_is_needed_to_do_it_again(name):
    recipe = recipes.get(name)
    settings = recipe.settings(77)
    json.dumps(settings)  # goes into the manifest
    if recipe.is_float:
        assert settings == {}
        return
    assert tuple(settings["quantize"]) == recipe.quantize
    assert settings["min_macs_per_conversion"] == recipe.min_macs_per_conversion
    assert ("calibration_images" in settings) == (recipe.ranges == "calibrated")
    assert "per output channel" in settings["weights"]
