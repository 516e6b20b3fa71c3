"""What a person may choose about a conversion."""

from __future__ import annotations

import msgspec

__all__ = ["Options"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The choices, with their defaults."""

    recipes: tuple[str, ...] | None = None  # None: the first of recipes.CANDIDATES that misses no bar
    ship_float: bool = True
    calibration_images: int = 128
    validation_images: int | None = None  # None: all
    min_agreement: float = 0.95  # least share of images on which a part agrees with fp32
    keep_going: bool = False
    tau: float | None = None  # the bundle's default; None: chosen, see measure.default_tau
    max_experts: int = 1
