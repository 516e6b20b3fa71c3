"""Bursts: the same answers in another order, fewer openings, a budget that is kept, what goes wrong meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_moe import DataError, OutputError, Runtime, UsageError
from edge_moe.anytime import alpha, softmax
from edge_moe.burst import Burst, Setting, best_pairs
from tests.fakes import BASE_MACS, EXPERT_MACS, GATE_MACS

# USMoE's scores of 4 images and 3 experts, worked out before.
UNIFIED = [[0.62622, 0.211682, 0.36605], [0.454846, 0.454846, 0.244348]]
UNIFIED += [[0.211682, 0.62622, 0.36605], [0.711018, 0.29694, 0.29694]]


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 9, 7, 3), dtype=np.uint8))


@pytest.fixture
def path(make_bundle) -> Path:
    return make_bundle(experts=6, tau=0.12, max_experts=2)


def size(path: Path) -> int:
    """Of an expert in memory, at most."""
    return 1 + round(2.25 * max(file.stat().st_size for file in path.glob("fake/int8/expert_*")))


# --- what is answered ---


@pytest.mark.parametrize("kind", ["bagging", "expert"])
@pytest.mark.parametrize("space", ["logit", "probability"])
@pytest.mark.parametrize("max_experts", [1, 3])
def test_every_policy_without_a_budget_answers_as_one_by_one(make_bundle, fake_backend, kind, space, max_experts):
    path = make_bundle(experts=6, kind=kind, space=space, tau=0.2, max_experts=max_experts)
    images = pictures(50)
    with Runtime(path, backend=fake_backend) as model:
        expected = [model.predict(image) for image in images]
    assert 0 < sum(one.exited for one in expected) < 50
    for policy in ("arrival", "grouped"):
        with Runtime(path, backend=fake_backend, expert_budget_bytes=2 * size(path)) as model:
            found = {one.index: one.prediction for one in model.predict_many(images, policy=policy)}
        assert sorted(found) == list(range(50))
        for index, one in enumerate(expected):
            np.testing.assert_array_equal(found[index].scores, one.scores)
            mine, theirs = found[index].as_dict(), one.as_dict()
            assert mine.pop("milliseconds") > 0 and theirs.pop("milliseconds") > 0
            assert mine == theirs


def test_by_arrival_the_answers_come_in_order_and_images_are_asked_for_one_by_one(path, fake_backend):
    asked = []

    def come() -> Iterator[np.ndarray]:
        for index, image in enumerate(pictures(6)):
            asked.append(index)
            yield image

    with Runtime(path, backend=fake_backend) as model:
        for place, one in enumerate(model.predict_many(come())):
            assert (one.index, asked) == (place, list(range(place + 1)))


def test_grouped_opens_each_expert_once(path, fake_backend):
    images = pictures(120)
    opened = {}
    for policy in ("arrival", "grouped"):
        with Runtime(path, backend=fake_backend, expert_budget_bytes=2 * size(path), tau=0.0) as model:
            before = len(fake_backend.opened)
            for _ in model.predict_many(images, policy=policy):
                assert len(model.loaded_experts) <= 2
            opened[policy] = len(fake_backend.opened) - before
    assert opened["grouped"] == 6
    assert opened["arrival"] >= 4 * opened["grouped"]


def test_grouped_waits_for_no_more_than_there_is_room_for(path, fake_backend):
    """Experts that are in memory from the last time go first: of the second half not all are opened again."""
    images = pictures(40)
    with Runtime(path, backend=fake_backend, expert_budget_bytes=2 * size(path), tau=0.0) as model:
        one = 4 * (5 + 12)  # bytes of the logits and features of an image
        burst = Burst(
            model._engine, model._turn, lambda image: _tensor(model, image), Setting(0.0, 1), kept_bytes=20 * one
        )
        before, order = len(fake_backend.opened), []
        for answer in burst.grouped(images):
            order.append(answer.index)
    assert sorted(order[:20]) == list(range(20))
    assert len(fake_backend.opened) - before == 6 + 4


def _tensor(model: Runtime, image: np.ndarray) -> np.ndarray:
    from edge_moe.preprocess import prepare

    return prepare(image, model.manifest.preprocessing)


def test_of_a_plain_network_every_policy_answers_at_once(make_bundle, fake_backend):
    with Runtime(make_bundle(experts=0), backend=fake_backend) as model:
        for more in ({}, {"policy": "grouped"}, {"policy": "budget", "budget_macs": 3 * BASE_MACS}):
            assert [one.index for one in model.predict_many(pictures(3), **more)] == [0, 1, 2]
        with pytest.raises(UsageError, match="base and gate take all of it for 2 images"):
            list(model.predict_many(iter(pictures(3)), policy="budget", budget_macs=2.5 * BASE_MACS))


# --- a budget ---


@pytest.mark.parametrize("pairs", [0, 1, 7, 1000])
def test_a_budget_is_kept_and_used(path, fake_backend, pairs):
    images, dearest = pictures(30), EXPERT_MACS + 5
    macs = 30 * (BASE_MACS + GATE_MACS) + pairs * dearest
    with Runtime(path, backend=fake_backend, max_experts=6) as model:
        found = list(model.predict_many(iter(images), policy="budget", budget_macs=macs))
    assert sorted(one.index for one in found) == list(range(30))
    spent = sum(one.prediction.macs for one in found)
    assert spent <= macs
    assert sum(len(one.prediction.experts) for one in found) == min(pairs, 30 * 6) or spent + dearest > macs
    assert all(one.prediction.gate_ran for one in found)


def test_the_best_pairs_of_all_images_run(path, fake_backend):
    images, macs = pictures(20), 20 * (BASE_MACS + GATE_MACS) + 5 * (EXPERT_MACS + 5)
    with Runtime(path, backend=fake_backend, max_experts=2) as model:
        alphas = []
        for image in images:
            model.part("base").invoke(_tensor(model, image))
            model.part("gate").invoke(model.part("base").output("embedding"))
            phi = softmax(model.part("base").output("logits")[0])
            alphas.append(alpha(phi, softmax(model.part("gate").output("logits")[0])))
        found = {one.index: one.prediction for one in model.predict_many(images, policy="budget", budget_macs=macs)}
    scores = np.stack(alphas)
    lowest = min(scores[index, k] for index, one in found.items() for k in one.experts)
    highest = max(scores[i].max() for i in range(20) if not found[i].experts)
    assert lowest >= highest
    with Runtime(path, backend=fake_backend, max_experts=2, tau=lowest) as model:  # which spends as much
        for index, image in enumerate(images):
            one = model.predict(image)
            assert one.experts == found[index].experts
            np.testing.assert_allclose(one.scores, found[index].scores, rtol=1e-6)


def test_the_best_pairs_of_the_golden_scores():
    chosen = best_pairs(np.array(UNIFIED), (1, 1, 1), 4, 3)
    assert sorted(zip(*map(list, np.nonzero(chosen)), strict=True)) == [(0, 0), (1, 0), (2, 1), (3, 0)]
    assert best_pairs(np.array(UNIFIED), (1, 1, 1), 4.9, 3).sum() == 4
    assert best_pairs(np.array(UNIFIED), (1, 1, 1), 4.9, 3).tolist() == chosen.tolist()


@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0, 40))
def test_pairs_are_within_every_bound(seed, most, macs):
    rng = np.random.default_rng(seed)
    scores, costs = rng.random((9, 4)), rng.integers(1, 5, 4)
    chosen = best_pairs(scores, costs, macs, most)
    assert chosen.sum(axis=1).max() <= most
    assert (chosen * costs).sum() <= macs
    allowed = np.argsort(np.argsort(-scores, axis=1), axis=1) < most
    left = scores[allowed & ~chosen]
    assert not chosen.any() or not left.size or scores[chosen].min() >= left.max()


# --- what goes wrong ---


@pytest.mark.parametrize("policy", ["arrival", "grouped", "budget"])
def test_a_bad_image_does_not_end_a_burst(path, fake_backend, tmp_path, policy):
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = [*pictures(3), tmp_path / "bad.png", *pictures(3, seed=1)]
    more = {"budget_macs": 1e9} if policy == "budget" else {}
    with Runtime(path, backend=fake_backend) as model:
        found = {one.index: one for one in model.predict_many(images, policy=policy, **more)}
    assert sorted(found) == list(range(7))
    assert "bad.png is not an image" in str(found[3].error)
    assert found[3].prediction is None
    assert all(one.prediction is not None for index, one in found.items() if index != 3)


@pytest.mark.parametrize("policy", ["arrival", "grouped", "budget"])
def test_images_that_fail_midway_are_told_after_what_could_be_had_was_answered(path, fake_backend, policy):
    def come() -> Iterator[np.ndarray]:
        yield from pictures(5)
        raise ConnectionError("the camera is gone")

    more = {"budget_macs": 1e9} if policy == "budget" else {}
    with Runtime(path, backend=fake_backend, tau=0.0) as model:
        found = []
        with pytest.raises(DataError, match=r"after 5 images no more could be had \(ConnectionError: the camera is"):
            for one in model.predict_many(come(), policy=policy, **more):
                found.append(one.index)
        assert sorted(found) == [0, 1, 2, 3, 4]
        assert model.predict(pictures(1)[0]).label


def test_a_budget_that_turns_out_too_small_answers_as_far_as_it_goes(path, fake_backend):
    with Runtime(path, backend=fake_backend) as model:
        found = []
        with pytest.raises(UsageError, match=r"base and gate take all of it for 3 images, and there are more"):
            budget = 3.5 * (BASE_MACS + GATE_MACS)
            for one in model.predict_many(iter(pictures(9)), policy="budget", budget_macs=budget):
                found.append(one.index)
        assert sorted(found) == [0, 1, 2]


@pytest.mark.parametrize(
    ("images", "more", "error", "words"),
    [
        ([], {}, DataError, "there are no images to answer; expected at least one"),
        (iter([]), {}, DataError, "there are no images to answer; expected at least one"),
        ("a.png", {}, UsageError, "str is not several images"),
        (5, {}, UsageError, "int is not several images"),
        (pictures(1), {"policy": "fastest"}, UsageError, "policy is 'fastest'; expected one of arrival, grouped, budg"),
        (pictures(1), {"policy": "budget"}, UsageError, "belong together"),
        (pictures(1), {"budget_macs": 1e6}, UsageError, "belong together"),
        (
            pictures(1),
            {"policy": "budget", "budget_macs": "1e6"},
            UsageError,
            "budget_macs is '1e6'; expected a num",
        ),
        (pictures(1), {"policy": "budget", "budget_macs": float("nan")}, UsageError, "budget_macs is nan"),
        (
            pictures(3),
            {"policy": "budget", "budget_macs": 3000},
            UsageError,
            "budget_macs is 3000, and base and gate alone take 3,030 for 3 images; give more, or fewer images",
        ),
    ],
)
def test_what_cannot_be(path, fake_backend, images, more, error, words):
    with Runtime(path, backend=fake_backend) as model, pytest.raises(error, match=words):
        list(model.predict_many(images, **more))


@pytest.mark.parametrize("policy", ["arrival", "grouped"])
def test_an_altered_expert_costs_those_that_need_it_their_answers(path, fake_backend, policy):
    images = pictures(60)
    with Runtime(path, backend=fake_backend, tau=0.0) as model:
        expected = [model.predict(image) for image in images]
    with Runtime(path, backend=fake_backend, tau=0.0) as model:
        file = path / "fake/int8/expert_03.npz"
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        found = sorted(model.predict_many(images, policy=policy), key=lambda one: one.index)
    assert [one.index for one in found] == list(range(60))
    for one, alone in zip(found, expected, strict=True):
        if 3 in alone.experts:
            assert "expert_03.npz was altered" in str(one.error)
        else:
            np.testing.assert_array_equal(one.prediction.scores, alone.scores)
    assert {3 in one.experts for one in expected} == {False, True}


def test_other_calls_may_come_between_two_answers(path, fake_backend):
    with Runtime(path, backend=fake_backend, tau=0.0) as model:
        alone = [model.predict(image).as_dict()["probabilities"] for image in pictures(8)]
        for one in model.predict_many(pictures(8), policy="grouped"):
            model.predict(pictures(1, seed=5)[0])
            assert one.prediction.as_dict()["probabilities"] == alone[one.index]
        burst = model.predict_many(pictures(8), policy="grouped")
        next(burst)
    with pytest.raises(UsageError, match="the runtime is closed"):
        list(burst)


def test_features_beyond_what_memory_may_hold_lie_on_disk(path, fake_backend, monkeypatch, tmp_path):
    images, macs = pictures(30), 1e9
    with Runtime(path, backend=fake_backend, max_experts=6) as model:
        expected = {one.index: one for one in model.predict_many(images, policy="budget", budget_macs=macs)}
        burst = Burst(model._engine, model._turn, lambda image: _tensor(model, image), Setting(0.0, 6), kept_bytes=200)
        for one in burst.budget(images, macs):
            np.testing.assert_array_equal(one.prediction.scores, expected[one.index].prediction.scores)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        with pytest.raises(OutputError, match=r"gone\S* cannot hold what was computed of a burst: No such file"):
            list(burst.budget(images, macs))
