"""What the tests of other processors share: a bundle of every recipe, made once."""

from __future__ import annotations

import pytest

from edge_moe.backends import native
from edge_moe.converters import recipes
from edge_moe.converters.convert import ConversionOptions, convert
from tests.devices import network

SETS = {f"{backend}/{name}" for backend in native() for name in recipes.book(backend).recipes}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """Every recipe of every backend, made on this processor."""
    folder = tmp_path_factory.mktemp("devices")
    checkpoint, out = network.write_checkpoint(folder / "checkpoint"), folder / "bundle"
    wanted = tuple(sorted(SETS - {f"{backend}/{recipes.FLOAT}" for backend in native()}))
    # A recipe that falls apart into partitions on this network has to answer alike as well.
    options = ConversionOptions(
        backends=native(), recipes=wanted, calibration_images=8, validation_images=8, keep_going=True
    )
    convert(checkpoint, "noise", out, options, jobs=2)
    return out
