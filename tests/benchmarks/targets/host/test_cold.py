"""Cold starts, in real processes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.targets.host import cold
from edge_moe.sets import SetKey

HELD = 300 << 20


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).normal(size=(3, 1, 32, 32, 3)).astype(np.float32))
    return tmp_path / "images.npy"


def test_first_answer_and_peak_are_those_of_the_process(tiny_bundle, images):
    held = np.ones(HELD, np.uint8)  # where the peak begins with that of the parent, it shows
    start = time.perf_counter()
    found = cold.cold_start(tiny_bundle, SetKey("litert", "int8"), 1, images)
    elapsed = (time.perf_counter() - start) * 1000
    assert held[::4096].all()
    assert 20 < found.first_answer_ms < elapsed  # no Python imports numpy faster
    artifacts = sum(file.stat().st_size for file in (tiny_bundle / "litert/int8").glob("*.tflite"))
    assert artifacts + (15 << 20) < found.peak_rss_bytes < HELD


def test_both_lines_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(cold, "_PROGRAM", "print('answered\\n12345')")
    assert cold.cold_start(tmp_path, SetKey("onnx", "fp32"), 1, tmp_path).peak_rss_bytes == 12345


@pytest.mark.parametrize(
    ("backend", "threads", "reason"), [("litert", 0, "threads is 0"), ("tpu", 1, "no artifacts for tpu/int8")]
)
def test_a_process_that_fails(tiny_bundle, images, backend, threads, reason):
    with pytest.raises(BackendError, match=f"answers with {backend}/int8 failed: .*{reason}"):
        cold.cold_start(tiny_bundle, SetKey(backend, "int8"), threads, images)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os._exit(3)", "it said nothing"),
        ("print('answered', flush=True); raise SystemExit('out of memory')", "out of memory"),
        ("print('something else')", "it said nothing"),
    ],
)
def test_a_process_that_dies_before_during_or_without_an_answer(tmp_path, monkeypatch, program, reason):
    monkeypatch.setattr(cold, "_PROGRAM", program)
    with pytest.raises(BackendError, match=f"onnx/fp32 failed: {reason}"):
        cold.cold_start(tmp_path, SetKey("onnx", "fp32"), 1, tmp_path)
