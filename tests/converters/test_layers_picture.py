"""The picture of the layers hides nothing of what it shows."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from edge_moe.converters import layers_picture
from edge_moe.converters.layers import LayerNoise


def noises(count, db):
    return [
        LayerNoise(layer=f"stage.{i}", position=i, sqnr_db=db, input_sqnr_db=db, own_sqnr_db=db) for i in range(count)
    ]


@pytest.mark.parametrize("parts", [1, 3])
def test_the_legend_covers_no_panel(parts):
    """Bars and curve at the top, where nothing is lost, reach every corner."""
    figure = layers_picture.painted({f"part {i}": noises(30, 90.0) for i in range(parts)})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 2
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert all(axes.get_legend() is None for axes in figure.axes)
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_a_png():
    with Image.open(io.BytesIO(layers_picture.draw({"base": noises(5, 20.0)}))) as image:
        assert image.format == "PNG"
