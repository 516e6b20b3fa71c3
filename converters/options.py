"""What a person may choose about a conversion."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["Options"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The choices, with their defaults."""

    backends: tuple[str, ...] = ("litert",)  # the first is the bundle's default
    # "int8" for every backend, "onnx/int8" for one; a backend for which none is named ships the first of
    # recipes.CANDIDATES that misses no bar.
    recipes: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()  # names of torch modules that stay in float, with all that is inside them
    ship_float: bool = True
    calibration_images: int = 128
    validation_images: int | None = None  # None: all
    expect_accuracy: float | None = None  # per cent of the mixture in fp32; a point less is refused at the start
    min_agreement: float = 0.985  # least share of images on which a part, or the whole, answers as in fp32
    min_routing: float = 0.97  # least share of images that exit, or wake the same experts, as in fp32
    keep_going: bool = False
    debug_parity: bool = False  # rank the layers of every part by what quantizing them costs
    tau: float | None = None  # the bundle's default; None: chosen, see measure.default_tau
    max_experts: int = 1
    reuse: tuple[Path, ...] = ()  # earlier bundles, whose parts are taken where nothing they were made from changed
