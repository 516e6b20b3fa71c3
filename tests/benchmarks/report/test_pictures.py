"""The PNG files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_moe.benchmarks.report import pictures
from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.words import LIGHT, look
from tests.benchmarks.made import make

TWO = (("litert", "int8"), ("litert", "fp32"))


def drawn(folder, *results):
    folder.mkdir()
    found = {}
    for name in pictures.draw(collect(results), folder):
        with Image.open(folder / name) as image:
            assert image.format == "PNG"
            found[name] = np.asarray(image.convert("RGB")).astype(int)
    return found


def test_pictures(tmp_path):
    found = drawn(tmp_path / "a", make(sets=TWO))
    assert list(found) == ["cost.png", "accuracy.png", "parts.png"]
    for pixels in found.values():
        assert pixels.shape == (750, 1200, 3)
        for place in range(2):
            colour = LIGHT[look(place).colour]
            rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(pixels - rgb).max(axis=2) < 8).sum() > 100


def test_an_untrained_network_is_labelled(tmp_path):
    trained = drawn(tmp_path / "a", make(sets=TWO, labels=False))
    untrained = drawn(tmp_path / "b", make(sets=TWO, labels=False, trained=False))
    assert list(trained) == list(untrained) == ["cost.png", "parts.png"]
    changed = (trained["cost.png"] != untrained["cost.png"]).any(axis=2)
    # Big grey letters across the middle, nothing elsewhere.
    assert changed.sum() > 5000
    rows, columns = np.nonzero(changed)
    assert 250 < rows.min() < rows.max() < 550
    assert columns.max() - columns.min() > 300


@pytest.mark.parametrize(
    "results",
    [
        [make(name="鳥 $x$ <b>", machine="a $ machine"), make(unit="instructions", raw=False)],
        [make(taus=(0.3,), experts=1, sets=TWO[:1])],
    ],
    ids=["units and odd names", "one point"],
)
def test_what_is_odd_is_drawn(tmp_path, results):
    found = drawn(tmp_path / "a", *results)
    units = len({one.unit for one in results})
    shapes = {name: pixels.shape for name, pixels in found.items()}
    beside_base = units > 1  # one view more: each beside its own base
    assert shapes.pop("cost.png") == (750 * (units + beside_base), 1200, 3)
    assert set(shapes.values()) == {(750 * units, 1200, 3)}
