"""An image of a data set as a golden sample: a PNG of bounded size, which is the sample from then on."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_moe.bundle import Preprocessing
from edge_moe.decode import Source, to_rgb
from edge_moe.preprocess import prepare

__all__ = ["golden_image"]

_LARGER = 1.25  # than what it is resized to, so that a port's resizing is tried too
_LONGEST = 2  # sides


def golden_image(source: Source, spec: Preprocessing) -> tuple[bytes, npt.NDArray[np.float32]]:
    """Return `source` as the bytes of a PNG, made smaller where it is large, and the tensor [1, H, W, 3] of that file.

    Raises:
        DataError: the source is not an image.
    """
    image = _bounded(to_rgb(source), spec)
    written = io.BytesIO()
    Image.frombytes("RGB", image.size, image.tobytes()).save(written, "png", optimize=True)  # without what else it held
    return written.getvalue(), prepare(Image.open(io.BytesIO(written.getvalue())), spec)


def _bounded(image: Image.Image, spec: Preprocessing) -> Image.Image:
    """Shrink a picture that is much larger than what it is resized to; cut one that is much longer than wide."""
    width, height = image.size
    if isinstance(spec.resize, int):
        longest = _LONGEST * min(width, height)
        if max(width, height) > longest:
            across, down = min(width, longest), min(height, longest)
            left, top = (width - across) // 2, (height - down) // 2
            image = image.crop((left, top, left + across, top + down))
            width, height = image.size
        factor = _LARGER * spec.resize / min(width, height)
    else:
        factor = _LARGER * max(spec.resize[0] / height, spec.resize[1] / width)
    if factor >= 1:
        return image
    return image.resize((math.ceil(width * factor), math.ceil(height * factor)), Image.Resampling.BILINEAR)
