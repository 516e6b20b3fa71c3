"""Its recipes."""

from __future__ import annotations

from edge_moe.converters.recipe import FLOAT, NOTHING, STOCK_WORDS, Recipe, Seen

RECIPES = (
    Recipe(name=FLOAT, why="the reference", when="to compare with", **NOTHING),
    Recipe(name="int8", int8="weights", floats="activations", why="it is one", when="by default", ranges="dynamic"),
)
ORDERS = {"any processor": ("int8",)}
STOCK = Recipe(name="int8-stock", int8="weights", ranges="dynamic", **STOCK_WORDS)
SEEN = Seen(fp32=1e-6, int8=1e-6, processors=("the one that tests run on",))
