"""Lay images of a data set side by side, a row a class, as a network gets to see them.

python -m edge_moe.benchmarks.studies.contact_sheet cluttered-digits -o docs/cluttered-digits.jpg --columns 12
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages, open_data

__all__ = ["lay_out", "main"]

_GAP = 1
_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def lay_out(data: LabelledImages, size: int, columns: int, seed: int = 0) -> Image.Image:
    """Return a sheet of images of `size` pixels drawn at random, `columns` of each class or as many as it has.

    Raises:
        DataError: a file is not a readable image.
    """
    spec = Preprocessing(image_size=size, resize=size, mean=_ZERO, std=_ONE)
    order = np.random.default_rng(seed).permutation(len(data))
    rows = [order[data.labels[order] == label][:columns] for label in np.unique(data.labels)]
    step = size + _GAP
    sheet = Image.new("RGB", (columns * step - _GAP, len(rows) * step - _GAP), "white")
    for down, row in enumerate(rows):
        for across, index in enumerate(row.tolist()):
            sheet.paste(Image.fromarray(data.pixels(index, spec)), (across * step, down * step))
    return sheet


def main() -> None:
    """Read the arguments and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("data", help="as 'edge-moe bench --data' takes it")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=32, help="pixels of an image")
    parser.add_argument("--columns", type=int, default=16)
    arguments = parser.parse_args()
    lay_out(open_data(arguments.data, "val"), arguments.size, arguments.columns).save(arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    main()
