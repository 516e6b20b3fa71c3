#!/usr/bin/env python3
"""Make the pictures in docs/android smaller: 128 colours are enough. Needs Pillow; small ones stay."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

for file in sorted((Path(__file__).resolve().parents[4] / "docs/android").glob("*.png")):
    with Image.open(file) as image:
        if image.mode != "P":
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
