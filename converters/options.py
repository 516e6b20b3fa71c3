"""What a person may choose about a conversion, and what makes no sense, said before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec

from edge_moe import backends
from edge_moe.anytime import check_max_experts, check_tau
from edge_moe.bundle import Bundle
from edge_moe.checks import check_at_least_one
from edge_moe.converters import recipes
from edge_moe.data import DIGITS, NOISE
from edge_moe.errors import UsageError
from edge_moe.sets import patterns
from edge_moe.training.checkpoint import Checkpoint
from edge_moe.training.preflight import check_expectation

__all__ = ["ConversionOptions", "Wanted", "check"]

Wanted: TypeAlias = dict[str, tuple[str, ...]]  # backend -> recipes asked for; none: its candidates, in turn


class ConversionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The choices, with their defaults."""

    # Which sets: "litert/int8", or "onnx" for the first of its candidates that misses no bar. The first backend is the
    # bundle's default.
    sets: tuple[str, ...] = ()
    # The short forms: backends (none: the first there is), and "int8" for every one of them or "onnx/int8" for one.
    backends: tuple[str, ...] = ()
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
    max_experts: int = 1  # of a plain network 0
    reuse: tuple[Path, ...] = ()  # earlier bundles, whose parts are taken where nothing they were made from changed

    def wanted(self) -> Wanted:
        """Return the backends, in order, with the recipes that were asked for.

        Raises:
            UsageError: no such backend or recipe, or one that contradicts another.
        """
        named = self.backends or (() if self.sets else backends.names()[:1])
        return recipes.choose(patterns(self.sets, named, self.recipes), named)


def check(options: ConversionOptions, loaded: Checkpoint, data: str, jobs: int) -> None:
    """Raise UsageError, or BundleError for what is to be reused, where a conversion should not begin."""
    if len(set(options.backends)) != len(options.backends):
        raise UsageError(f"backends are {', '.join(options.backends)}; expected each at most once")
    if not options.ship_float and any(set(names) == {recipes.FLOAT} for names in options.wanted().values()):
        raise UsageError("nothing is left to put into the bundle; choose a --recipe other than fp32, or drop --no-fp32")
    parts = (loaded.mixture.base, *loaded.mixture.experts[:1])
    there = [name for part in parts for name, _ in part.named_modules()]
    for name in options.keep_float:
        if name not in there:
            near = [one for one in dict.fromkeys(there) if one and "." not in one]
            raise UsageError(f"keep_float is {name!r}, which is no module of the network; it has {', '.join(near)} ...")
    for path in options.reuse:
        Bundle(path)  # raises where there is none
    if options.tau is not None:
        check_tau(options.tau)
    check_max_experts(options.max_experts, loaded.config.experts)
    check_expectation(options.expect_accuracy)
    for share in ("min_agreement", "min_routing"):
        if not 0 <= getattr(options, share) <= 1:
            raise UsageError(f"{share} is {getattr(options, share)}; expected a share from 0 to 1")
    check_at_least_one(
        jobs=jobs, calibration_images=options.calibration_images, validation_images=options.validation_images
    )

    if data == NOISE and loaded.config.origin != "untrained":
        raise UsageError(
            f"the data is '{NOISE}', but the checkpoint is {loaded.config.origin}, and would be calibrated and judged "
            f"on images that mean nothing; give --data a folder of images like those that it will see, or '{DIGITS}' "
            f"if it learned them ('{NOISE}' is for what 'edge-moe init' made; a folder of that name is ./{NOISE})"
        )
