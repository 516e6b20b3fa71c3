"""The layers of each part in a picture: where the signal is lost on its way through the network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edge_moe.converters.layers import LayerNoise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "painted"]

_TOP_DB = 80.0  # above, nothing is lost that could be seen
_NAMED = 3
_BAR = "#9db8d2"


def draw(layers: Mapping[str, Sequence[LayerNoise]]) -> bytes:
    """Return a PNG with a panel for each part: SQNR by layer, in the order of execution, the worst by name."""
    picture = io.BytesIO()
    painted(layers).savefig(picture, format="png", dpi=130)
    return picture.getvalue()


def painted(layers: Mapping[str, Sequence[LayerNoise]]) -> Figure:
    """Return the figure of `draw`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(10, 1 + 3.2 * len(layers)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(layers), 1, squeeze=False)[:, 0]
    for axes, (name, ranked) in zip(panels, layers.items(), strict=True):
        ordered = sorted(ranked, key=lambda one: one.position)
        places = range(len(ordered))
        worst = {one.layer for one in ranked[:_NAMED] if one.is_noisy}
        axes.bar(
            places,
            [min(one.own_sqnr_db, _TOP_DB) for one in ordered],
            color=["#c0392b" if one.layer in worst else _BAR for one in ordered],
        )
        (curve,) = axes.plot(
            places, [min(one.sqnr_db, _TOP_DB) for one in ordered], "k.-", label="what comes out of the layer"
        )
        axes.set_xticks(places, [one.layer for one in ordered], rotation=90, fontsize=6)
        axes.set_title(f"{name}: quantized against float", loc="left", fontsize=10)
        axes.set_ylabel(f"SQNR, dB (higher is better,\ncut at {_TOP_DB:.0f})", fontsize=8)
        axes.set_ylim(0, _TOP_DB * 1.05)
    # The same for all panels, above them: bars and curve may reach the top anywhere.
    added = "noise that the layer adds (in red: the three worst, of those that add more than 8 bits cost)"
    figure.legend(
        handles=[curve, Patch(color=_BAR, label=added)], fontsize=7, loc="outside upper right", ncols=2, frameon=False
    )
    return figure
