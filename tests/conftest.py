from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import tiny
from tests.fakes import FakeBackend, write_bundle

settings.register_profile("edge-moe", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("edge-moe")


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
    """A checkpoint that learned `tiny_images`. Not to be written to."""
    return tiny.train_checkpoint(tiny_images.parent / "checkpoint", tiny_images)


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tiny_images: Path) -> Path:
    """Its LiteRT bundle, int8 and fp32, through the real converter and its processes. Not to be written to."""
    from edge_moe.converters.convert import Options, convert

    out = tiny_images.parent / "bundle"
    # Accuracy is not the point, and training differs from machine to machine: no bar on agreement.
    convert(tiny_checkpoint, str(tiny_images), out, Options(recipes=("int8",), min_agreement=0), jobs=2)
    return out


@pytest.fixture
def copied_parts(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, tiny_bundle: Path) -> tiny.CopiedParts:
    """`convert` takes the parts of `tiny_checkpoint` from `tiny_bundle` for the length of the test."""
    copied = tiny.CopiedParts(tiny_checkpoint, tiny_bundle)
    monkeypatch.setattr("edge_moe.converters.convert.convert_parts", copied)
    return copied
