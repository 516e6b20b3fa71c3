"""The sweep: operating points and costs agree with what other ways to compute them give, on any target."""

from __future__ import annotations

import dataclasses
import json
import shutil

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, DataError, Runtime, UsageError, backends
from edge_moe.benchmarks import request as asking
from edge_moe.benchmarks import results, routing, sweep, targets
from edge_moe.benchmarks.journal import journal
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.request import check
from edge_moe.benchmarks.units import MS
from edge_moe.data import open_data
from edge_moe.digest import answers_digest
from edge_moe.evaluate import collect, route
from edge_moe.intervals import accuracy_interval, wilson
from edge_moe.ledger import keep
from tests.benchmarks.conftest import hurry
from tests.benchmarks.core import COSTS, FAST, Core
from tests.fakes import BASE_MACS, EXPERT_MACS, GATE_MACS, FakeBackend, write_bundle
from tests.tiny import CLASSES, SETS, VALIDATION_IMAGES, tree

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def found(tiny_bundle, tiny_images):
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        return sweep.sweep(
            check(
                tiny_bundle, str(tiny_images), BenchOptions(max_experts=(1,), timed_images=8, rounds=3, cold_starts=0)
            )
        )


@pytest.fixture(scope="module")
def outputs(tiny_bundle, tiny_images):
    """label of a set -> what every part answers to every validation image."""
    bundle = Bundle(tiny_bundle)
    manifest = bundle.manifest
    tensors = list(open_data(str(tiny_images), "val").tensors(manifest.preprocessing))
    made = {}
    for one in manifest.sets:
        with Runtime(bundle, backend=one.backend, recipe=one.recipe.name) as runtime:
            made[f"{one.backend}/{one.recipe.name}"] = collect(runtime.part, manifest.experts, tensors)
    return made


def test_what_was_measured_is_written_down(found, tiny_bundle, tiny_images):
    assert (found.schema_version, found.target, found.unit, found.complete) == (3, "host", MS, True)
    assert (found.bundle.trained, found.images, len(found.timed)) == (True, VALIDATION_IMAGES, 8)
    assert (found.rounds, found.rounds_asked, found.sittings, found.threads, found.seed) == (3, 3, 1, 1, 0)
    assert (found.data, found.bundle.name, found.bundle.experts, found.bundle.classes) == ("images", "bundle", 2, 3)
    assert found.labels == tuple(k for k in range(len(CLASSES)) for _ in range(VALIDATION_IMAGES // len(CLASSES)))
    assert found.versions.keys() == {"python", "edge-moe", "numpy"}
    assert [one.label for one in found.sets] == list(SETS)
    runtimes = {"litert": "ai-edge-litert ", "onnx": "onnxruntime "}
    assert all(one.backend_version.startswith(runtimes[one.backend]) for one in found.sets)
    assert len(found.conditions.probe) == 3
    manifest = Bundle(tiny_bundle).manifest
    for one, artifacts in zip(found.sets, manifest.sets, strict=True):
        assert one.artifacts == {name: part.plain for name, part in artifacts.parts.items()}
        assert one.digest == answers_digest(manifest, artifacts)
        assert {part.part: part.macs for part in one.parts} == {n: spec.macs for n, spec in manifest.parts.items()}
        assert (one.cold_start_ms, one.peak_rss_bytes) == ((), ())
    assert found.peers == ()
    assert {(one.library.split()[0], one.dtype) for one in found.limits} >= {("numpy", "fp32")}
    assert all(len(one.raw) == 3 * 3 for one in found.limits)


def test_noise_is_told_where_the_network_is_trained(monkeypatch, make_bundle):
    """What it costs is real; how often it exits says nothing about its images."""
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    for trained in (True, False):
        bundle = make_bundle(str(trained), edit=lambda raw, trained=trained: raw.update(trained=trained))
        measured = sweep.sweep(check(bundle, "noise", BenchOptions(**FAST, validation_images=8)))
        told = [remark for remark in measured.conditions.remarks if "noise" in remark]
        assert len(told) == trained
        assert measured.labels is None
        assert {one.point.accuracy for one in measured.sets[0].points} == {None}


def test_what_is_written_can_be_read(found, tmp_path):
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(found))
    assert results.load(tmp_path / "results.json") == found


def test_every_point_is_the_bundle_s(found, tiny_bundle):
    for one in found.sets:
        points = Bundle(tiny_bundle).operating_sets[one.label].operating_points
        assert [point.point for point in one.points] == [p for p in points if p.max_experts == 1]
        assert (one.points[0].point.tau, one.points[-1].point.tau) == (0.0, 1.0)


def test_every_point_is_what_routing_all_outputs_gives(found, outputs, tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    labels = np.array(found.labels)
    macs = {name: spec.macs for name, spec in manifest.parts.items()}
    for one in found.sets:
        for point in (each.point for each in one.points):
            routed = route(outputs[one.label], point.tau, 1, manifest.ensemble, manifest.space)
            spent = [
                macs["base"] + ran * macs["gate"] + sum(macs[f"expert_{k:02d}"] for k in np.flatnonzero(active))
                for ran, active in zip(routed.gate_ran, routed.active, strict=True)
            ]
            right = int((routed.predictions == labels).sum())
            assert point.exit_rate == pytest.approx((~routed.active.any(axis=1)).mean())
            assert point.mean_macs == pytest.approx(np.mean(spent))
            assert point.accuracy == right / VALIDATION_IMAGES
            assert (point.accuracy_low, point.accuracy_high) == wilson(right, VALIDATION_IMAGES)


def test_the_trace_is_every_answer(found, outputs, tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    for one in found.sets:
        for tau, most in ((0.0, 2), (0.15, 2), (0.15, 1)):
            at = one.trace.restored().at(tau, most)
            routed = route(outputs[one.label], tau, most, manifest.ensemble, manifest.space)
            np.testing.assert_array_equal(at.predictions, routed.predictions)
            np.testing.assert_array_equal(at.active, routed.active)


def test_there_is_a_raw_sample_for_every_image_and_round(found):
    for one in found.sets:
        for point in one.points:
            assert [len(row) for row in point.raw] == [8] * 3
            assert point.mean == pytest.approx(np.median(point.raw, axis=0).mean())
        samples = {part.part: {len(row) for row in part.raw} for part in one.parts}
        assert list(samples) == ["base", "expert_00", "expert_01", "gate"]
        assert all(len(part.raw) == 3 for part in one.parts)
        (base,), (gate,), (first,), (second,) = (samples[n] for n in ("base", "gate", "expert_00", "expert_01"))
        # Each image's own expert, and one that no image needs on all of them once more; the base twice between two.
        assert 2 * (first + second) == base == 2 * gate >= 16


def test_predicted_is_the_sum_of_the_parts_that_run(found, outputs, tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    for one in found.sets:
        cost = {part.part: np.median(part.raw, axis=0).mean() for part in one.parts}
        for point in one.points:
            routed = route(outputs[one.label], point.point.tau, 1, manifest.ensemble, manifest.space)
            spent = []
            for i in found.timed:
                ms = cost["base"] + (cost["gate"] if routed.gate_ran[i] else 0)
                spent.append(ms + sum(cost[f"expert_{k:02d}"] for k in np.flatnonzero(routed.active[i])))
            assert point.predicted == pytest.approx(np.mean(spent))
        predicted = [point.predicted for point in one.points]
        assert predicted == sorted(predicted, reverse=True)
        assert predicted[0] > predicted[-1] == pytest.approx(cost["base"])


def test_the_whole_is_about_the_sum_of_its_parts(found):
    """Loosely: that both are of the same thing, and in milliseconds."""
    for one in found.sets:
        for point in one.points:
            least = min(min(row) for row in point.raw)  # whatever else the machine did meanwhile
            assert 0.1 < least / point.predicted < 5


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """fake(**options of write_bundle) -> a bundle that the sweep runs on FakeBackend."""
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    return lambda **options: write_bundle(tmp_path / "bundle", **options)


def noise(bundle, **options):
    return sweep.sweep(check(bundle, "noise", BenchOptions(**(FAST | options))))


@pytest.mark.parametrize("timed_images", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("experts", [1, 3, 12])
def test_few_images_and_experts_that_none_of_them_needs(fake, timed_images, experts, tmp_path):
    measured = noise(fake(experts=experts), timed_images=timed_images, validation_images=20)
    one = measured.sets[0]
    assert {part.part for part in one.parts} == {"base", "gate", *(f"expert_{k:02d}" for k in range(experts))}
    assert all(len(part.raw) == 2 and min(map(len, part.raw)) >= 1 for part in one.parts)
    assert all(point.predicted > 0 for point in one.points)
    assert all([len(row) for row in point.raw] == [timed_images] * 2 for point in one.points)
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(measured))
    assert results.load(tmp_path / "results.json") == measured


def test_more_images_to_time_than_there_are(fake):
    measured = noise(fake(), timed_images=1000, validation_images=7, taus=(0.3,))
    assert (measured.images, measured.timed) == (7, tuple(range(7)))


def test_which_images_are_timed_is_the_seed_s(fake):
    bundle = fake()
    drawn = [noise(bundle, seed=seed, taus=(0.3,), rounds=1).timed for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(list(one) == sorted(set(one)) for one in drawn)


def test_one_expert_never_asks_which(fake):
    one = noise(fake(experts=1)).sets[0]
    assert one.trace.gate == ((1.0,),) * 256
    # Of one expert, alpha is the base's doubt: where it is too small the gate does not run either.
    for point in one.points:
        awake = 1 - point.point.exit_rate
        assert point.point.mean_macs == pytest.approx(BASE_MACS + awake * (GATE_MACS + EXPERT_MACS))


def test_taus_of_a_bundle_without_operating_points_spread_the_exit_rate(fake):
    one = noise(fake(), max_experts=(1,)).sets[0]
    rates = [point.point.exit_rate for point in one.points]
    assert len(rates) == 7
    assert rates == pytest.approx([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1], abs=0.05)


@pytest.mark.parametrize("taus", [(0.3,), (0.0, 0.3), (0.3, 1.0), (1.0, 0.3, 0.0, 0.3)])
def test_0_and_1_are_always_among_the_taus(fake, taus):
    points = noise(fake(), taus=taus, max_experts=(2,)).sets[0].points
    assert [(point.point.tau, point.point.max_experts) for point in points] == [(0.0, 2), (0.3, 2), (1.0, 2)]


@pytest.mark.parametrize(
    ("experts", "default", "swept"), [(1, 1, {1}), (2, 1, {1, 2}), (3, 2, {1, 2}), (4, 3, {1, 2, 3})]
)
def test_one_expert_and_two_are_swept_and_the_bundle_s_default(fake, experts, default, swept):
    bundle = fake(experts=experts, max_experts=default)
    assert {point.point.max_experts for point in noise(bundle, taus=(0.3,)).sets[0].points} == swept


def test_max_experts_that_were_asked_for(fake):
    bundle = fake(max_experts=2)
    points = noise(bundle, taus=(0.3,), max_experts=(3, 1, 3)).sets[0].points
    assert [tuple(point.point.max_experts for point in points)] == [(1, 1, 1, 3, 3, 3)]
    assert [point.point.tau for point in points] == [0.0, 0.3, 1.0] * 2
    assert points[3].predicted > points[0].predicted
    # At tau = 0 with all three experts nothing is left out.
    assert points[3].point.mean_macs == BASE_MACS + GATE_MACS + sum(EXPERT_MACS + k for k in range(3))


def test_images_without_labels_have_no_accuracy(fake):
    measured = noise(fake())
    assert measured.labels is None
    for point in measured.sets[0].points:
        assert (point.point.accuracy, point.point.accuracy_low, point.point.accuracy_high) == (None, None, None)


def test_labels_do_not_count_for_an_untrained_network(tiny_bundle, tiny_images, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    raw = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(raw | {"trained": False}))
    options = BenchOptions(backends=("litert",), recipes=("int8",), taus=(0.5,), validation_images=9, **FAST)
    measured = sweep.sweep(check(bundle, str(tiny_images), options))
    assert (measured.bundle.trained, measured.labels) == (False, None)
    assert {point.point.accuracy for point in measured.sets[0].points} == {None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taus": (0.1, float("nan"))}, "tau is nan"),
        ({"taus": (1.1,)}, "tau is 1.1"),
        ({"max_experts": (1, 4)}, "max_experts is 4; expected an integer from 1 to 3"),
        ({"max_experts": (0,)}, "max_experts is 0"),
        ({"threads": 0}, "threads is 0; expected an integer from 1 to 1024"),
        ({"timed_images": 0}, "timed_images is 0"),
        ({"rounds": -1}, "rounds is -1"),
        ({"validation_images": 0}, "validation_images is 0"),
        ({"cold_starts": -1}, "cold_starts is -1; expected at least 0"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"device": "phone"}, "unknown device 'phone'"),
    ],
)
def test_options_out_of_range(fake, options, message):
    with pytest.raises(UsageError, match=message):
        noise(fake(), **options)


def test_classes_that_the_model_does_not_know(tiny_bundle, tiny_images, tmp_path):
    shutil.copytree(tiny_images / "val", tmp_path / "data")
    (tmp_path / "data/down").rename(tmp_path / "data/sideways")
    with pytest.raises(DataError, match="'sideways', which the model does not know"):
        sweep.sweep(check(tiny_bundle, str(tmp_path / "data"), BenchOptions()))


@pytest.fixture
def core(monkeypatch):
    core = Core()
    monkeypatch.setattr(targets, "get", {"core": core}.__getitem__)
    return core


def test_a_target_that_costs_parts_only_and_not_in_milliseconds(fake, core, tmp_path):
    measured = noise(fake(recipes=("int8", "fp32")), device="core", taus=(0.1, 0.2), max_experts=(1, 2))
    assert (measured.target, measured.unit.name, measured.machine.processor) == ("core", "cycles", "RTL")
    assert (measured.complete, measured.rounds, measured.limits, measured.peers) == (True, 2, (), ())
    assert core.closed == 1
    for one in measured.sets:
        # Of two rounds the median: half a cycle more for one of two images.
        cost = {part.part: part.cost for part in one.parts}
        assert cost == {name: pytest.approx(value + 0.25) for name, value in COSTS.items()}
        trace = one.trace.restored()  # of parts alone a cost is known for every image
        for point in one.points:
            assert point.raw is None
            at = trace.at(point.point.tau, point.point.max_experts)
            experts = at.active @ [cost[f"expert_{k:02d}"] for k in range(3)]
            assert point.mean == point.predicted
            assert point.mean == pytest.approx((cost["base"] + at.gate_ran * cost["gate"] + experts).mean())
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(measured))
    assert results.load(tmp_path / "results.json") == measured


def test_peers_and_limits_of_all_rounds_are_put_together(fake, core):
    core.with_peers = True
    measured = noise(fake(), device="core", rounds=3)
    assert [(peer.name, peer.raw, peer.missing) for peer in measured.peers] == [
        ("a", ((0.0,) * 6, (1.0,) * 6, (2.0,) * 6), None),
        ("b", None, "not here"),
    ]
    assert [one.raw for one in measured.limits] == [(2.0, 3.0, 4.0)]


def test_ctrl_c_keeps_the_rounds_that_were_finished(fake, core):
    core.stop_in = 2
    measured = noise(fake(), device="core", rounds=4)
    assert (measured.complete, measured.rounds, measured.rounds_asked) == (False, 2, 4)
    assert all(len(part.raw) == 2 for part in measured.sets[0].parts)
    assert core.closed == 1


def test_ctrl_c_before_the_first_round_has_nothing_to_keep(fake, core):
    core.stop_in = 0
    with pytest.raises(KeyboardInterrupt):
        noise(fake(), device="core")
    assert core.closed == 1


@pytest.fixture
def recorded(monkeypatch):
    """The sets whose trace was recorded."""
    calls, record = [], routing.record

    def counted(part, *arguments):
        calls.append(part.__self__.artifacts.recipe.name)
        return record(part, *arguments)

    monkeypatch.setattr(routing, "record", counted)
    return calls


def test_a_run_that_was_stopped_goes_on(fake, core, recorded, tmp_path):
    bundle = fake(recipes=("int8", "fp32"))
    options = BenchOptions(device="core", **(FAST | {"rounds": 4}))

    def sitting():
        with journal(tmp_path / "report", check(bundle, "noise", options).key()) as kept:
            return sweep.sweep(check(bundle, "noise", options), journal=kept)

    core.stop_in = 0
    with pytest.raises(KeyboardInterrupt):
        sitting()
    assert (core.asked, recorded) == ([], ["int8", "fp32"])
    core.stop_in = 1
    measured = sitting()
    assert (measured.complete, measured.rounds, measured.sittings) == (False, 1, 2)
    core.stop_in = None
    measured = sitting()
    assert (measured.complete, measured.rounds, measured.sittings) == (True, 4, 3)
    assert (core.asked, recorded) == ([0, 1, 2, 3], ["int8", "fp32"])
    # Nothing shows that it was done in pieces.
    core.asked.clear()
    whole = noise(bundle, device="core", rounds=4)
    assert msgspec.structs.replace(measured, sittings=1, created=whole.created) == whole
    # And all rounds being there, none is measured again.
    core.asked.clear()
    assert sitting().complete
    assert core.asked == []


def test_a_round_that_cannot_be_read_is_measured_again_with_all_that_follow(fake, core, tmp_path):
    bundle, options = fake(), BenchOptions(device="core", **(FAST | {"rounds": 3}))
    for _ in range(2):
        with journal(tmp_path / "report", check(bundle, "noise", options).key()) as kept:
            measured = sweep.sweep(check(bundle, "noise", options), journal=kept)
        (kept.folder / "round-0001.json").write_text("{")
    assert core.asked == [0, 1, 2, 1, 2]
    assert measured.rounds == 3


@pytest.mark.parametrize("name", ["round-0000.json", "trace-*.json"])
@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "other shape", "other value"])
def test_what_was_damaged_is_measured_again(fake, core, recorded, tmp_path, name, damage):
    bundle, options = fake(), BenchOptions(device="core", **(FAST | {"rounds": 3}))
    core.stop_in = 2
    with journal(tmp_path / "report", check(bundle, "noise", options).key()) as kept:
        sweep.sweep(check(bundle, "noise", options), journal=kept)
    (file,) = kept.folder.glob(name)
    whole = file.read_bytes()
    changed = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "zeros": whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2),
        "other shape": _without_a_row(whole),
        "other value": whole.replace(b"1", b"2", 1),
    }[damage]
    assert changed != whole
    file.write_bytes(changed)
    core.stop_in = None
    with journal(tmp_path / "report", check(bundle, "noise", options).key()) as kept:
        measured = sweep.sweep(check(bundle, "noise", options), journal=kept)
    assert core.asked == [0, 1, *([0, 1] if name.startswith("round") else []), 2]
    assert len(recorded) == 1 + (not name.startswith("round"))
    core.asked.clear()
    whole = noise(bundle, device="core", rounds=3)
    assert msgspec.structs.replace(measured, sittings=1, created=whole.created) == whole


def _without_a_row(data):
    """A round without its last set, or a trace without its last image."""
    raw = json.loads(data)
    raw["sets" if "sets" in raw else "gate"].pop()
    return json.dumps(raw).encode()


@pytest.mark.parametrize("name", ["round-0000.json", "trace-*.json"])
def test_another_shape_is_not_believed_though_it_was_entered(fake, core, recorded, tmp_path, name):
    bundle, options = fake(), BenchOptions(device="core", **FAST)
    with journal(tmp_path / "report", check(bundle, "noise", options).key()) as kept:
        sweep.sweep(check(bundle, "noise", options), journal=kept)
        (file,) = kept.folder.glob(name)
        keep(file, _without_a_row(file.read_bytes()))
        sweep.sweep(check(bundle, "noise", options), journal=kept)
    assert len(core.asked) + len(recorded) > options.rounds + 1


def test_a_host_s_rounds_are_read_as_they_were_written(fake, tmp_path):
    bundle, options = fake(), BenchOptions(**FAST)
    with journal(tmp_path / "report", check(bundle, "noise", options).key()) as kept:
        first = sweep.sweep(check(bundle, "noise", options), journal=kept)
        before = tree(kept.folder)
        again = sweep.sweep(check(bundle, "noise", options), journal=kept)
    assert again.recorded == first.recorded
    assert again.lines == first.lines
    assert tree(kept.folder) == before


def test_images_that_are_versions_of_originals(tiny_bundle, tiny_images, monkeypatch):
    """Their groups are written down, every interval is over them, and a begun run of others is not gone on with."""
    plain, options = str(tiny_images), BenchOptions(recipes=("litert/int8",), **FAST)
    alone = check(tiny_bundle, plain, options).key()
    groups = np.arange(VALIDATION_IMAGES) // 4

    def grouped(source, split):
        return dataclasses.replace(open_data(source, split), groups=groups)

    monkeypatch.setattr(asking, "open_data", grouped)
    assert check(tiny_bundle, plain, options).key() != alone
    (one,) = (found := sweep.sweep(check(tiny_bundle, plain, options))).sets
    assert found.groups == tuple(groups.tolist())
    for point in (each.point for each in one.points):
        right = one.trace.restored().at(point.tau, point.max_experts).predictions == found.labels
        assert (point.accuracy_low, point.accuracy_high) == accuracy_interval(right, groups)
    artifacts = Bundle(tiny_bundle).operating_sets["litert/int8"]
    assert (one.default_tau, one.default_max_experts) == (artifacts.default_tau, artifacts.default_max_experts)
