from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from edge_moe.cli.app import run_app
from edge_moe.converters.ranking import Cost, Costs
from tests import tiny

PROGRESS = re.compile(r".+ \d+/\d+( .*)?")


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    with tiny.one_thread():
        yield


@pytest.fixture(autouse=True)
def _costs_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command's outcome depends on how fast this machine is: by every set an image costs the same."""

    def alike(self: Any, candidates: Any, progress: Any) -> Costs:
        return Costs("ms", dict.fromkeys(candidates.files, Cost(0.9, 1.0, 1.1)))

    monkeypatch.setattr("edge_moe.benchmarks.ranking.TargetRanker.costs", alike)


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def refused(self, code: int, *words: str, progress: bool = False) -> None:
        """Assert one clear line on stderr, after progress where there was some."""
        *before, line = self.err.splitlines()
        assert (self.code, line[:17]) == (code, "edge-moe: error: "), self
        assert progress or not before
        assert all(PROGRESS.fullmatch(text) for text in before), self.err
        for word in words:
            assert word in line


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """cli("run", bundle, ...) -> what the command did, in this process, native code's output included."""

    def call(*arguments: Any) -> Done:
        monkeypatch.setattr(sys, "argv", ["edge-moe", *map(str, arguments)])
        capfd.readouterr()
        code = run_app()
        return Done(code, *capfd.readouterr())

    return call


@contextmanager
def small_disk(most_bytes: int) -> Iterator[None]:
    """No file may grow beyond `most_bytes`: the kernel refuses the write as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
