"""Simulating: every figure against the runtime, one image after the other, and what cannot be simulated."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_moe import Runtime
from edge_moe.benchmarks import prices
from edge_moe.benchmarks.decide import simulate as module
from edge_moe.benchmarks.decide.simulate import SimulationOptions, simulate
from edge_moe.benchmarks.decide.simulation import SCHEMA_VERSION, Simulation, write
from edge_moe.benchmarks.recorded import StoredTrace
from edge_moe.benchmarks.results import load
from edge_moe.bundle import Bundle, expert_name
from edge_moe.data import open_data
from edge_moe.digest import answers_digest
from edge_moe.errors import BackendError, BundleError, DataError, MissingExtraError, OutputError, UsageError
from edge_moe.intervals import accuracy_interval, wilson
from edge_moe.sets import Pattern
from edge_moe.trace import record
from tests.benchmarks.fitted import edited, fitted, replace, save
from tests.cli.conftest import small_disk
from tests.fakes import FakeBackend
from tests.tiny import tree

TAUS = (0.0, 0.1, 0.2, 0.3, 1.0)
COSTS = {"base": 4.0, "gate": 0.5, "expert_00": 2.0, "expert_01": 3.0, "expert_02": 5.0}
# Two samples each, whose mean is COSTS: a drawn sum lies COSTS' sum -1, 0 or +1 for each part.
SAMPLES = {part: (cost - 0.25, cost + 0.25) for part, cost in COSTS.items()}


def once(costs):
    return {part: (cost,) for part, cost in costs.items()}


@pytest.fixture
def bundle(make_bundle):
    return make_bundle(tau=0.1)


@pytest.fixture
def data(tmp_path):
    """Twelve photographs of nothing, of two of the five classes."""
    draw = np.random.default_rng(2)
    for index in range(12):
        folder = tmp_path / "data/val" / ("class 3" if index % 3 else "class 1")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(folder / f"{index:02d}.png")
    return tmp_path / "data"


@pytest.fixture
def profile(bundle, tmp_path):
    results = fitted(bundle, images=7, timed=3, rounds=1, taus=TAUS, machine="a phone", threads=2)
    points = [(tau, 1, None) for tau in TAUS]  # a target that runs parts only
    return save(edited(results, parts=once(COSTS), points=points), tmp_path / "profile.json")


def run(bundle, profile, data, compare=None, **options):
    return simulate(bundle, profile, str(data), SimulationOptions(**options), compare=compare, backend=FakeBackend())


def predictions(bundle, data, tau, max_experts):
    manifest = Bundle(bundle).manifest
    images = open_data(data, "val").with_classes(manifest.labels)
    with Runtime(bundle, tau=tau, max_experts=max_experts, backend=FakeBackend()) as model:
        return [model.predict_tensor(x) for x in images.tensors(manifest.preprocessing)], images.labels


def parts_of(prediction):
    return ["base", *["gate"] * prediction.gate_ran, *map(expert_name, prediction.experts)]


def test_against_the_runtime_image_by_image(bundle, data, profile):
    found = run(bundle, profile, data, max_experts=(2, 1))
    assert [(one.point.max_experts, one.point.tau) for one in found.points] == list(itertools.product((1, 2), TAUS))
    seen = set()
    for one in found.points:
        alone, labels = predictions(bundle, data, one.point.tau, one.point.max_experts)
        costs = [sum(COSTS[part] for part in parts_of(p)) for p in alone]
        right = sum(p.index == label for p, label in zip(alone, labels, strict=True))
        assert one.point.exit_rate == pytest.approx(np.mean([p.exited for p in alone]))
        assert one.point.mean_macs == pytest.approx(np.mean([p.macs for p in alone]))
        assert one.point.accuracy == right / 12
        assert (one.point.accuracy_low, one.point.accuracy_high) == wilson(right, 12)
        assert one.mean == pytest.approx(np.mean(costs))
        # One sample a part: a draw is the cost itself.
        assert (one.p10, one.median, one.p90) == pytest.approx(tuple(np.quantile(costs, [0.1, 0.5, 0.9])))
        seen |= {(p.gate_ran, p.experts) for p in alone}
    assert {(False, ()), (True, ())} < seen
    assert {len(experts) for _, experts in seen} == {0, 1, 2}


def test_intervals_over_originals(bundle, data, profile, monkeypatch):
    groups = np.arange(12) // 3
    monkeypatch.setattr(module, "open_data", lambda *given: dataclasses.replace(open_data(*given), groups=groups))
    found = run(bundle, profile, data)
    assert found.groups == 4
    for one in found.points:
        alone, labels = predictions(bundle, data, one.point.tau, 1)
        right = [p.index == label for p, label in zip(alone, labels, strict=True)]
        assert (one.point.accuracy_low, one.point.accuracy_high) == accuracy_interval(right, groups)


def test_what_it_says_about_itself(bundle, data, profile):
    found = run(bundle, profile, data, taus=(0.5, 0.25), seed=3)
    assert (found.schema_version, found.unit, found.seed, found.images) == (SCHEMA_VERSION, "ms", 3, 12)
    assert (found.data, found.backend, found.recipe, found.bundle.name) == ("data", "fake", "int8", "bundle")
    manifest = Bundle(bundle).manifest
    assert found.digest == answers_digest(manifest, manifest.sets[0])
    assert (found.profile.machine.name, found.profile.threads, found.profile.complete) == ("a phone", 2, True)
    assert [(one.point.tau, one.point.max_experts) for one in found.points] == [(0.25, 1), (0.5, 1)]
    assert found.comparison is None


def test_a_distribution_is_of_sums_of_samples(bundle, data, tmp_path):
    points = ((0.0, 1, None), (1.0, 1, None))
    results = edited(fitted(bundle, images=7, timed=3, rounds=1), parts=SAMPLES, points=points)
    profile = save(results, tmp_path / "profile.json")
    first, again, other = (run(bundle, profile, "noise", taus=(0.0, 1.0), seed=seed) for seed in (0, 0, 1))
    assert first.points == again.points != other.points
    always, never = first.points
    # Never an expert: 3.75 or 4.25 with the same chance, 256 times.
    assert (never.p10, never.p90, never.mean) == (3.75, 4.25, 4.0)
    assert never.median in (3.75, 4.0, 4.25)
    # Always one: base, gate and the expert that the runtime wakes; every sum that an image can have is as likely.
    alone, _ = predictions(bundle, "noise", 0.0, 1)
    sums = [sum(drawn) for p in alone for drawn in itertools.product(*(SAMPLES[part] for part in parts_of(p)))]
    np.testing.assert_allclose((always.p10, always.median, always.p90), np.quantile(sums, [0.1, 0.5, 0.9]), atol=0.5)
    assert {always.p10, always.p90} <= set(sums)
    assert always.mean == pytest.approx(np.mean([sum(COSTS[part] for part in parts_of(p)) for p in alone]))


def test_draws_of_a_part_are_its_samples_and_its_own(bundle):
    measured = edited(fitted(bundle, images=7, timed=3, rounds=1), parts=SAMPLES).sets[0]
    draws = prices.draws(measured.samples, 10_000, 0)
    for part, samples in SAMPLES.items():
        assert set(draws[part].tolist()) == set(samples)
        assert draws[part].mean() == pytest.approx(COSTS[part], abs=0.01)
    assert abs(np.corrcoef(draws["base"], draws["gate"])[0, 1]) < 0.05
    fewer = prices.draws({part: raw for part, raw in measured.samples.items() if part != "base"}, 10_000, 0)
    assert all(np.array_equal(fewer[part], draws[part]) for part in fewer)


def test_without_labels_or_with_a_sample(bundle, data, profile):
    found = run(bundle, profile, "noise", validation_images=9, seed=4)
    assert (found.images, found.data) == (9, "noise")
    assert {(one.point.accuracy, one.point.accuracy_low) for one in found.points} == {(None, None)}
    assert run(bundle, profile, data, validation_images=99).images == 12


def test_what_the_runtime_adds(bundle, data, profile, tmp_path):
    # At tau = 1 predictions took 0.25 more than their parts, at tau = 0 1.5 more; in between by who exits.
    plain = run(bundle, profile, data).points
    results = edited(load(profile), points=[(tau, 1, ((99.0,) * 3,)) for tau in TAUS])
    predicted = {one.point.tau: one.predicted for one in results.sets[0].points}  # of the images that are timed
    raw = {tau: 99.0 for tau in TAUS} | {0.0: predicted[0.0] + 1.5, 1.0: predicted[1.0] + 0.25}
    points = [(tau, 1, ((cost,) * 3,)) for tau, cost in raw.items()]
    file = save(edited(results, points=points), tmp_path / "with.json")
    for one, before in zip(run(bundle, file, data).points, plain, strict=True):
        exits = one.point.exit_rate
        assert one.mean - before.mean == pytest.approx(0.25 * exits + 1.5 * (1 - exits))
        assert before.p10 + 0.25 <= one.p10 + 1e-9 and one.p90 <= before.p90 + 1.5 + 1e-9


def measured_run(bundle, data, tmp_path, timed, means, taus=TAUS, **changes):
    """Results of a sweep on `data` itself: routing from the artifacts, `means` as measured."""
    manifest = Bundle(bundle).manifest
    images = open_data(data, "val")
    with Runtime(bundle, backend=FakeBackend()) as model:
        trace = record(model.part, 3, manifest.ensemble, manifest.space, images.tensors(manifest.preprocessing))
    results = fitted(bundle, images=len(images), timed=len(timed), rounds=1, taus=taus, threads=2)
    points = [(tau, 1, ((mean,) * len(timed),)) for tau, mean in zip(taus, means, strict=True)]
    results = edited(results, trace=StoredTrace.of(trace), points=points)
    return save(replace(results, timed=timed, **changes), tmp_path / "measured.json")


def test_a_comparison_on_the_same_images_is_for_those_that_were_timed(bundle, data, profile, tmp_path):
    timed = (1, 4, 7, 9)
    other = measured_run(bundle, data, tmp_path, timed, (8.0, 8.0, 5.0, 4.0), (0.0, 0.2, 0.3, 1.0))
    found = run(bundle, profile, data, compare=other).comparison
    assert (found.same_images, found.images, found.remarks) == (True, 4, ())
    assert found.missing == ((0.1, 1),)
    for one, measured in zip(found.points, (8.0, 8.0, 5.0, 4.0), strict=True):
        alone, _ = predictions(bundle, data, one.tau, 1)
        predicted = np.mean([sum(COSTS[part] for part in parts_of(alone[index])) for index in timed])
        assert one.predicted == pytest.approx(predicted)
        assert (one.tau, one.measured) in ((0.0, 8.0), (0.2, 8.0), (0.3, 5.0), (1.0, 4.0))
        assert one.ratio == pytest.approx(predicted / measured)
    assert found.points[-1].ratio == 1.0
    assert found.errors == tuple(abs(one.ratio - 1) for one in found.points)


def test_a_comparison_on_other_images_is_for_all(bundle, data, profile, tmp_path):
    other = measured_run(bundle, "noise", tmp_path, (0, 1), (8.0,) * 5)
    simulation = run(bundle, profile, data, compare=other)
    found = simulation.comparison
    assert (found.same_images, found.images, found.missing) == (False, 12, ())
    assert [one.predicted for one in found.points] == [one.mean for one in simulation.points]


def test_as_many_other_images_are_not_the_same(bundle, data, profile, tmp_path):
    other = measured_run(bundle, "noise", tmp_path, (0, 1), (8.0,) * 5)
    raw = msgspec.json.decode(other.read_bytes()) | {"images": 12, "labels": None, "fingerprints": None}
    raw["sets"][0]["trace"] = {name: rows[:12] for name, rows in raw["sets"][0]["trace"].items()}
    other.write_bytes(msgspec.json.encode(raw))
    assert not run(bundle, profile, data, compare=other).comparison.same_images


def test_a_comparison_that_has_no_measurement(bundle, data, profile, tmp_path):
    other = save(fitted(bundle, images=7, timed=3, taus=TAUS, raw=False), tmp_path / "npu.json")
    found = run(bundle, profile, data, compare=other).comparison
    assert (found.points, found.errors) == ((), ())
    assert [tau for tau, _ in found.missing] == list(TAUS)


def test_doubts_of_a_comparison(bundle, data, profile, tmp_path):
    other = fitted(bundle, images=7, timed=3, rounds_asked=9, threads=1, remarks=("it was hot",))
    remarks = run(bundle, profile, data, compare=save(other, tmp_path / "other.json")).comparison.remarks
    assert all(word in line for word, line in zip(("1 thread", "last round", "hot"), remarks, strict=True))
    (itself,) = run(bundle, profile, data, compare=profile).comparison.remarks
    assert "the profile itself" in itself


def test_written_and_read(bundle, data, profile, tmp_path):
    other = measured_run(bundle, data, tmp_path, (1, 2), (8.0,) * 3, (0.0, 0.2, 1.0))
    found = run(bundle, profile, data, compare=other)
    files = write(found, tmp_path / "out")
    assert [file.name for file in files] == ["simulation.json", "simulation.csv"]
    assert msgspec.json.decode(files[0].read_bytes(), type=Simulation) == found
    with files[1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["tau"]) for row in rows] == list(TAUS)
    for row, one in zip(rows, found.points, strict=True):
        assert [float(row[n]) for n in ("mean", "median", "p10", "p90")] == [one.mean, one.median, one.p10, one.p90]
        assert (float(row["accuracy"]), int(row["samples"]), row["unit"]) == (one.point.accuracy, 12, "ms")
    assert [row["compared_measured"] for row in rows] == ["8.0", "", "8.0", "", "8.0"]
    with pytest.raises(OutputError, match="exists already"):
        write(found, tmp_path / "out")


def test_a_full_disk(bundle, data, profile, tmp_path):
    found = run(bundle, profile, data)
    before = tree(tmp_path)
    with small_disk(1000), pytest.raises(OutputError, match="cannot write"):
        write(found, tmp_path / "out")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("number", ["NaN", "-1.0", "1e999", '"fast"', "null"])
def test_a_profile_with_numbers_that_cannot_be(bundle, data, profile, number):
    text = profile.read_text()
    assert '"base":{"ms":[4.0]}' in text
    profile.write_text(text.replace('"base":{"ms":[4.0]}', f'"base":{{"ms":[{number}]}}'))
    with pytest.raises(DataError, match=r"profile\.json is not a results file: .*; measure again"):
        run(bundle, profile, data)


def test_a_comparison_in_another_unit(bundle, data, profile, tmp_path):
    other = save(fitted(bundle, images=7, timed=3, unit="cycles"), tmp_path / "npu.json")
    with pytest.raises(DataError, match=r"npu\.json is in cycles, .*profile\.json in ms; compare with results of the"):
        run(bundle, profile, data, compare=other)


def test_a_comparison_of_another_bundle(bundle, data, profile, make_bundle, tmp_path):
    other = save(fitted(make_bundle("other", seed=1), images=7, timed=3), tmp_path / "other.json")
    with pytest.raises(DataError, match=r"other\.json was measured on another bundle"):
        run(bundle, profile, data, compare=other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"taus": (math.nan,)}, "tau is nan"),
        ({"taus": (0.1, 1.1)}, "tau is 1.1"),
        ({"max_experts": (4,)}, "max_experts is 4; expected an integer from 1 to 3"),
        ({"max_experts": (0,)}, "max_experts is 0"),
        ({"validation_images": 0}, "validation_images is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"wanted": (Pattern((), "int4"),)}, "it has fake/int8"),
    ],
)
def test_options_out_of_range(bundle, data, profile, options, words):
    with pytest.raises(UsageError, match=words):
        run(bundle, profile, data, **options)


def test_data_and_bundles_that_cannot_be_used(bundle, data, profile, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no class folders"):
        run(bundle, profile, tmp_path / "empty")
    (data / "val/class 9").mkdir()
    Image.new("RGB", (4, 4)).save(data / "val/class 9/a.png")
    with pytest.raises(DataError, match="'class 9', which the model does not know"):
        run(bundle, profile, data)
    with pytest.raises(BundleError, match="not a folder"):
        run(tmp_path / "nothing", profile, data)


class NotInstalled(FakeBackend):
    def open(self, data, *, threads=1):
        raise MissingExtraError("fake-runtime", "fake", "running .npz")


def test_a_backend_that_is_not_installed_here(bundle, profile):
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-moe\[fake\]'"):
        simulate(bundle, profile, "noise", SimulationOptions(), backend=NotInstalled())
    assert not issubclass(MissingExtraError, BackendError)
