"""The sweep: what it measures agrees with the bundle's operating points and with parts that take known times."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, DataError, UsageError
from edge_moe.benchmarks import results, sweep
from edge_moe.benchmarks.sweep import Options
from edge_moe.bundle import sha256
from edge_moe.evaluate import Routed
from tests.fakes import FakeBackend, write_bundle
from tests.tiny import SETS, VALIDATION_IMAGES


@pytest.fixture(scope="module")
def found(tiny_bundle, tiny_images):
    return sweep.sweep(tiny_bundle, str(tiny_images), Options(timed_images=8, rounds=3))


def test_what_was_measured_is_written_down(found, tiny_bundle, tiny_images):
    assert (found.trained, found.images, found.timed_images, found.rounds) == (True, VALIDATION_IMAGES, 8, 3)
    assert (found.threads, found.seed, found.experts) == (1, 0, 2)
    assert (found.data, found.bundle) == (tiny_images.name, "bundle")
    assert found.bundle_sha256 == sha256((tiny_bundle / "manifest.json").read_bytes())
    assert found.versions.keys() == {"edge-moe", "numpy"}
    assert [f"{one.backend}/{one.recipe}" for one in found.sets] == list(SETS)
    runtimes = {"litert": "ai-edge-litert ", "onnx": "onnxruntime "}
    assert all(one.backend_version.startswith(runtimes[one.backend]) for one in found.sets)
    assert msgspec.json.decode(msgspec.json.encode(found), type=results.Results) == found


def test_every_point_is_the_bundle_s(found, tiny_bundle):
    for one in found.sets:
        points = Bundle(tiny_bundle).manifest.find(one.backend, one.recipe).operating_points
        assert [timing.point for timing in one.points] == [p for p in points if p.max_experts == 1]
        assert (one.points[0].point.tau, one.points[-1].point.tau) == (0.0, 1.0)


def test_there_is_a_raw_sample_for_every_image_and_round(found):
    for one in found.sets:
        for timing in one.points:
            assert [len(rounds) for rounds in timing.raw_ms] == [3] * 8
            assert timing.mean_ms == pytest.approx(np.median(timing.raw_ms, axis=1).mean(), abs=1e-3)
        samples = {part.part: len(part.raw_ms) for part in one.parts}
        assert list(samples) == ["base", "expert_00", "expert_01", "gate"]
        # Each image's own expert in each round, and a part that no image needs on all of them once more.
        assert samples["base"] == samples["gate"] >= 8 * 3
        assert samples["expert_00"] + samples["expert_01"] == samples["base"]


def test_larger_tau_is_cheaper(found):
    for one in found.sets:
        macs = [timing.point.mean_macs for timing in one.points]
        assert macs == sorted(macs, reverse=True)
        assert one.points[0].sum_of_parts_ms > one.points[-1].sum_of_parts_ms


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """fake(**options of write_bundle) -> a bundle that the sweep runs on FakeBackend."""
    monkeypatch.setattr("edge_moe.backends.get", lambda name: FakeBackend())
    return lambda **options: write_bundle(tmp_path / "bundle", **options)


@pytest.mark.parametrize("timed_images", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("experts", [1, 3, 12])
def test_few_images_and_experts_that_none_of_them_needs(fake, timed_images, experts):
    options = Options(timed_images=timed_images, rounds=2, validation_images=20)
    one = sweep.sweep(fake(experts=experts), "noise", options).sets[0]
    samples = {part.part: len(part.raw_ms) for part in one.parts}
    assert samples.keys() == {"base", "gate", *(f"expert_{k:02d}" for k in range(experts))}
    assert min(samples.values()) >= 2
    assert all(timing.sum_of_parts_ms > 0 for timing in one.points)
    assert all(len(timing.raw_ms) == timed_images for timing in one.points)


def test_taus_of_a_bundle_without_operating_points_spread_the_exit_rate(fake):
    one = sweep.sweep(fake(), "noise", Options(timed_images=4, rounds=1)).sets[0]
    rates = [timing.point.exit_rate for timing in one.points]
    assert len(rates) == 7
    assert rates == pytest.approx([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1], abs=0.05)
    assert {timing.point.accuracy for timing in one.points} == {None}


@pytest.mark.parametrize("taus", [(0.3,), (0.0, 0.3), (0.3, 1.0), (1.0, 0.3, 0.0)])
def test_0_and_1_are_always_among_the_taus(fake, taus):
    options = Options(taus=taus, max_experts=2, timed_images=4, rounds=1)
    points = sweep.sweep(fake(), "noise", options).sets[0].points
    assert [timing.point.tau for timing in points] == [0.0, 0.3, 1.0]
    assert {timing.point.max_experts for timing in points} == {2}


def test_sum_of_parts_by_hand():
    """Four images are timed, of six. Two exit before the gate; of the others one needs expert 1, one both."""
    active = np.array([[0, 0], [1, 1], [0, 0], [0, 0], [0, 1], [1, 1]], dtype=bool)
    gate_ran = np.array([False, True, False, True, True, True])
    routed = Routed(np.zeros(6, int), np.zeros((6, 2)), ~active.any(axis=1), active, gate_ran)
    parts = {"base": 10.0, "gate": 1.0, "expert_00": 3.0, "expert_01": 8.0}
    timed = np.array([0, 1, 2, 4])
    # base 10 + gate 2/4 * 1 + expert 0 1/4 * 3 + expert 1 2/4 * 8
    assert sweep._sum_of_parts(parts, routed, timed) == pytest.approx(10 + 0.5 + 0.75 + 4)


def test_parts_are_timed_in_the_order_of_an_image(fake, monkeypatch):
    """With a clock that counts calls, every part takes one tick."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(sweep, "perf_counter", lambda: next(ticks) / 1000)
    one = sweep.sweep(fake(experts=3), "noise", Options(timed_images=5, rounds=1)).sets[0]
    assert {value for part in one.parts for value in part.raw_ms} == {1.0}
    for timing in one.points:
        assert {value for rounds in timing.raw_ms for value in rounds} == {1.0}
    always, never = one.points[0], one.points[-1]
    # base, gate, expert; base alone
    assert (always.sum_of_parts_ms, never.sum_of_parts_ms) == (pytest.approx(3), pytest.approx(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taus": (0.1, float("nan"))}, "tau is nan"),
        ({"taus": (1.1,)}, "tau is 1.1"),
        ({"max_experts": 4}, "max_experts is 4; expected an integer from 1 to 3"),
        ({"max_experts": 0}, "max_experts is 0"),
        ({"threads": 0}, "threads is 0; expected at least 1"),
        ({"timed_images": 0}, "timed_images is 0"),
        ({"rounds": -1}, "rounds is -1"),
        ({"validation_images": 0}, "validation_images is 0"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"recipe": "int4"}, "no artifacts for any backend/int4; it has fake/int8"),
    ],
)
def test_options_out_of_range(fake, options, message):
    with pytest.raises(UsageError, match=message):
        sweep.sweep(fake(), "noise", Options(**options))


def test_classes_that_the_model_does_not_know(tiny_bundle, tiny_images, tmp_path):
    shutil.copytree(tiny_images / "val", tmp_path / "data")
    (tmp_path / "data/down").rename(tmp_path / "data/sideways")
    with pytest.raises(DataError, match="'sideways', which the model does not know"):
        sweep.sweep(tiny_bundle, str(tmp_path / "data"), Options())


def test_labels_do_not_count_for_an_untrained_network(tiny_bundle, tiny_images, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    raw = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(raw | {"trained": False}))
    options = Options(recipe="int8", timed_images=2, rounds=1, taus=(0.5,), validation_images=9)
    found = sweep.sweep(bundle, str(tiny_images), options)
    assert not found.trained
    assert {timing.point.accuracy for timing in found.sets[0].points} == {None}
