from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import tiny
from tests.fakes import FakeBackend, write_bundle

settings.register_profile("edge-moe", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("edge-moe")


@pytest.fixture(scope="session", autouse=True)
def _own_weight_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of what tests run is left in the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_MOE_WEIGHT_CACHE", str(tmp_path_factory.mktemp("weights")))
        yield


@pytest.fixture
def fake_backend() -> FakeBackend:
    """Pass it as `backend=`: executes what `make_bundle` writes."""
    return FakeBackend()


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """make_bundle(name="bundle", **options of fakes.write_bundle) -> the folder of a bundle for FakeBackend."""

    def make(name: str = "bundle", **options: Any) -> Path:
        return write_bundle(tmp_path / name, **options)

    return make


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in the ImageFolder layout, see `tests.tiny`."""
    return tiny.write_images(tmp_path_factory.mktemp("tiny") / "images")


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_images: Path) -> Path:
    """A checkpoint that learned `tiny_images`, the same everywhere. Not to be written to."""
    return tiny.write_checkpoint(tiny_images.parent / "checkpoint", tiny_images)


@pytest.fixture(scope="session")
def own_checkpoint(tiny_images: Path) -> Path:
    """One of the small network in `tests.own`. Not to be written to."""
    from tests import own

    return tiny.write_checkpoint(tiny_images.parent / "own", tiny_images, own.NAME)


@pytest.fixture(scope="session")
def ruined_checkpoint(own_checkpoint: Path) -> Path:
    """The same with a layer made bad on purpose, see `own.ruin`. Not to be written to."""
    from edge_moe.training.checkpoint import load_checkpoint, save_checkpoint
    from tests import own

    loaded = load_checkpoint(own_checkpoint)
    for part in (loaded.mixture.base, *loaded.mixture.experts):
        own.ruin(part)
    save_checkpoint(own_checkpoint.with_name("ruined"), loaded)
    return own_checkpoint.with_name("ruined")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tiny_images: Path) -> Path:
    """Its bundle, see `tiny.SETS`, through the real converter and its processes. Not to be written to."""
    from edge_moe.converters.convert import ConversionOptions, convert

    out = tiny_images.parent / "bundle"
    options = ConversionOptions(backends=("litert", "onnx"), recipes=("int8",))  # and the bars that users have
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    convert(tiny_checkpoint, str(tiny_images), out, options, jobs=min(cores, 2))
    return out


@pytest.fixture(scope="session")
def _made_before() -> tiny.PartsMadeHere:
    return tiny.PartsMadeHere()


@pytest.fixture(scope="session")
def own_bundle(own_checkpoint: Path, tiny_images: Path, _made_before: tiny.PartsMadeHere) -> Path:
    """A bundle of `own_checkpoint` with the sets of `tiny_bundle`, a hundredth of its size. Not to be written to."""
    from edge_moe.converters import convert

    out = own_checkpoint.with_name("own_bundle")
    options = convert.ConversionOptions(
        backends=("litert", "onnx"), recipes=("int8",), calibration_images=8, min_agreement=0, min_routing=0
    )
    with pytest.MonkeyPatch.context() as patch, tiny.one_thread():
        patch.setattr("edge_moe.converters.make.carry_out", _made_before)
        convert.convert(own_checkpoint, str(tiny_images), out, options)
    return out


@pytest.fixture
def made_here(monkeypatch: pytest.MonkeyPatch, _made_before: tiny.PartsMadeHere) -> tiny.PartsMadeHere:
    """`convert` works in this process for the length of the test."""
    here = tiny.PartsMadeHere()
    here.made, here.graphs = _made_before.made, _made_before.graphs
    monkeypatch.setattr("edge_moe.converters.make.carry_out", here)
    return here


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser, for tests that are marked `devices`; pages of one test are gone in the next."""
    from tests import chromium

    opened = chromium.start(tmp_path_factory.mktemp("user"))
    yield opened
    opened.quit()
