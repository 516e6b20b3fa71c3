from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

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
