"""How many layers have to stay in float? It is tried out on what the part is calibrated on.

What layers add can be summed, but the sum does not see what lies between them, such as the products of a swish, nor
that a layer in float takes along whatever computes its input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import torch
from torch import nn

from edge_moe import backends
from edge_moe.converters.interface import Floats, Kind, channels_first
from edge_moe.converters.layers import InFloat, LayerNoise
from edge_moe.converters.noise import NO_NOISE_DB, sqnr_db
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.sharing import WHOLE_PART, is_within
from edge_moe.converters.toolchain import Toolchain
from edge_moe.errors import BackendError, ConversionError

__all__ = ["enough", "tried_in_float", "worth_trying"]

# Of less than a tenth of the noise that a layer receives, nobody can tell whether it is its own.
_TELLING_DB = 10.0
_COUNTING_DB = 20.0  # what adds a hundredth of the worst's noise does not matter yet
_AT_LEAST = 3  # layers, of a part that has few


def worth_trying(layers: Sequence[LayerNoise], kept: Sequence[str]) -> list[str]:
    """Return the layers to try in float, the noisiest first; not those that are `kept` already. Empty: none is noisy.

    Behind the noisy ones come their neighbours: what a layer receives is measured beside all of its signal, and a large
    channel that nobody reads hides noise in the others. They are a half of all layers, or _AT_LEAST.

    Args:
        layers: of a part, the noisiest first.
        kept: names of layers, and of modules around some, that are in float.
    """
    rest = [one for one in layers if one.layer != WHOLE_PART and not is_within(one.layer, kept)]
    telling = [one for one in rest if one is layers[0] or one.own_sqnr_db < one.input_sqnr_db + _TELLING_DB]
    noisy = [one for one in telling if one.is_noisy and one.own_sqnr_db < telling[0].own_sqnr_db + _COUNTING_DB]
    if not noisy:
        return []
    places = [one.position for one in noisy]
    rest = sorted(
        (one for one in rest if one not in noisy),
        key=lambda one: min((abs(one.position - place), one.position > place) for place in places),
    )
    return [one.layer for one in (*noisy, *rest)][: max(_AT_LEAST, len(layers) // 2)]


@torch.no_grad()
def tried_in_float(
    tools: Toolchain, traced: bytes, part: nn.Module, kind: Kind, samples: Floats, recipe: Recipe, names: Sequence[str]
) -> dict[int, InFloat]:
    """Return how the part's logits follow torch with none, 1, 2, 4 ... and all of the layers `names` in float.

    Args:
        tools: of the backend, which computes the logits.
        traced: the graph of the part.
        part: with its weights.
        kind: of the part.
        samples: [N, 1, ...], what it is calibrated on, and answers.
        recipe: how it is quantized otherwise.
        names: layers of the part.

    Returns:
        By the number of layers; up to where the quantizer takes the part.
    """
    counts = [0, *(2**n for n in range(len(names).bit_length()) if 2**n < len(names)), len(names)]
    wanted = [msgspec.structs.replace(recipe, keep_float=(*recipe.keep_float, *names[:n])) for n in counts]
    outputs = [part(channels_first(sample)) for sample in samples]
    exact = np.stack([getattr(one, "logits", one)[0].numpy() for one in outputs]).astype(np.float64)
    found: dict[int, InFloat] = {}
    with contextlib.suppress(ConversionError, BackendError):  # such as where nothing is left to calibrate
        for count, artifact in zip(counts, tools.build(traced, part, kind, samples, wanted), strict=True):
            logits = _answered(tools.backend, artifact, samples)
            found[count] = InFloat(
                sqnr_db=sqnr_db(logits - exact, exact),
                changed=int((logits.argmax(axis=1) != exact.argmax(axis=1)).sum()),
            )
    return found


def _answered(backend: str, artifact: bytes, samples: Floats) -> Floats:
    """Return the logits [N, Y] of an artifact."""
    opened = backends.get(backend).open(artifact)
    try:
        rows = []
        for sample in samples:
            opened.invoke(sample)
            rows.append(opened.output("logits")[0].copy())
        return np.stack(rows)
    finally:
        opened.close()


def enough(in_float: Mapping[int, InFloat], times: float) -> int | None:
    """Return how many layers in float bring within reach a bar that was missed `times`; None: no number does.

    That is where no answer changes any more, if some did, or where noise is low enough. Where it is small, the share of
    images that are answered otherwise grows as its amplitude: they are those whose two largest logits lie closer
    together than it, and close to 0 the margins are about evenly spread. So `times` as many as the bar allows are to
    have 1 / times of the amplitude.

    Args:
        in_float: by the number of layers in float, 0 among them.
        times: how many times as many images as the bar allows are answered otherwise.
    """
    if not in_float:
        return None
    changed, before = in_float[0].changed > 0, in_float[0].sqnr_db
    wanted = before + 20 * np.log10(max(times, 1.0)) if before > -NO_NOISE_DB else np.inf  # no numbers at all
    return next(
        (
            count
            for count, one in sorted(in_float.items())
            if count and ((changed and not one.changed) or one.sqnr_db >= wanted)
        ),
        None,
    )
