"""A promise on results: of each set and max_experts, the cheapest first, with figures, classes and a certificate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_moe.benchmarks import prices
from edge_moe.benchmarks.decide.matching import match, match_all
from edge_moe.benchmarks.decide.promising import offers
from edge_moe.bundle import Bundle
from edge_moe.errors import DataError, UsageError
from edge_moe.fingerprints import chose_recipe, images_digest
from edge_moe.promise import Ladder, Promise, keep
from tests.benchmarks.fitted import fitted, replace, save

PROMISE = Promise.parse("changed<=8%")


@pytest.fixture
def bundle(make_bundle):
    return make_bundle("two", experts=2, recipes=("int8", "fp32"))


@pytest.fixture
def results(bundle):
    return fitted(bundle, images=600, timed=20, rounds=2)


def found(bundle, results, tmp_path, *arguments):
    return offers(match_all(Bundle(bundle), save(results, tmp_path / "results.json")), *arguments)


def test_every_set_at_its_share_the_cheapest_first(bundle, results, tmp_path):
    made = found(bundle, results, tmp_path, PROMISE)
    assert {one.match.label for one in made} == {"fake/int8", "fake/fp32"}
    assert made[0].cost <= made[1].cost
    for one in made:
        measured = one.match.measured
        assert one.kept == keep(Ladder.of(measured.decisions, 1), PROMISE, None, None, 2)
        decisions = measured.decisions.at(one.kept.tau, 1)
        by_hand = prices.per_image(decisions, measured.prices) + measured.overhead(1).per_image(decisions)
        assert one.cost == pytest.approx(by_hand.mean())
        assert one.point.exit_rate == decisions.exited.mean()
        assert one.point.accuracy == pytest.approx((decisions.predictions == np.array(results.labels)).mean())
        certificate = one.certificate
        assert (certificate.m, certificate.n, certificate.losses) == (2, 600, one.kept.lost)
        assert certificate.images == images_digest(results.fingerprints)
        assert certificate.bundle == measured.digest


def test_of_several_max_experts(bundle, results, tmp_path):
    made = offers([match(Bundle(bundle), save(results, tmp_path / "results.json"))], PROMISE, (1, 2, 2))
    assert sorted(one.max_experts for one in made) == [1, 2]
    assert {one.certificate.m for one in made} == {2}
    with pytest.raises(UsageError, match="max_experts is 3"):
        offers([made[0].match], PROMISE, (3,))


def test_labels_where_they_are_needed(bundle, results, tmp_path):
    lost = Promise.parse("lost<=8%")
    made = found(bundle, results, tmp_path, lost)[0]
    ladder = Ladder.of(made.match.measured.decisions, 1)
    assert made.kept == keep(ladder, lost, np.array(results.labels), None, 2)
    assert sum(one.samples for one in made.classes) == 600
    assert made.classes[0].bound == max(one.bound for one in made.classes)
    blind = replace(results, labels=None)
    with pytest.raises(DataError, match=r"has no labels, and 'lost<=8%' needs them"):
        found(bundle, blind, tmp_path, lost)
    assert found(bundle, blind, tmp_path, PROMISE)[0].point.accuracy is None


def test_an_untrained_network_has_no_right_answers(make_bundle, tmp_path):
    bundle = make_bundle("noise", experts=2, edit=lambda raw: raw.update(trained=False))
    results = fitted(bundle, images=600, timed=20, rounds=2, trained=False)
    with pytest.raises(DataError, match="is of an UNTRAINED network, and 'drop<=8%' needs them"):
        found(bundle, results, tmp_path, Promise.parse("drop<=8%"))


def test_versions_of_originals(bundle, results, tmp_path):
    groups = np.arange(600) // 4
    made = found(bundle, replace(results, groups=tuple(groups.tolist())), tmp_path, Promise.parse("changed<=30%"))[0]
    assert (made.kept.groups, made.certificate.groups, made.certificate.n) == (150, 150, 600)


def test_what_cannot_be_promised(bundle, results, make_bundle, tmp_path):
    with pytest.raises(
        DataError, match=r"600 images are too few for changed<=0\.1%: .* each of 2 answers at its share"
    ):
        found(bundle, results, tmp_path, Promise.parse("changed<=0.1%"))
    with pytest.raises(DataError, match="does not say which images it is of; measure again"):
        found(bundle, replace(results, fingerprints=None), tmp_path, PROMISE)
    plain = make_bundle("plain", experts=0)
    with pytest.raises(UsageError, match="is a plain network: without experts every image gets the base's answer"):
        found(plain, fitted(plain, images=600, timed=20, rounds=2), tmp_path, PROMISE)


def test_images_that_chose_the_recipe(bundle, results):
    names = results.fingerprints
    assert chose_recipe(bundle, "fake", names) == 0  # an app may ship a bundle without its report
    report = {"fingerprints": " ".join(names[:100]), "ranked": {"fake": {}}, "anything": [1]}
    (bundle / "parity.json").write_text(json.dumps(report))
    assert (chose_recipe(bundle, "fake", names), chose_recipe(bundle, "other", names)) == (100, 0)
    (bundle / "parity.json").write_text(json.dumps(report | {"ranked": {}}))  # recipes were named
    assert chose_recipe(bundle, "fake", names) == 0
    (bundle / "parity.json").write_text("{")
    assert chose_recipe(bundle, "fake", names) == 0
