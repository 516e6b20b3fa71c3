"""Choosing: six images by hand, what holds for any results, and every wish that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_moe.benchmarks.decide import operating_points
from edge_moe.benchmarks.decide.choose import Wish, choose, choose_set
from edge_moe.benchmarks.decide.matching import match, match_all
from edge_moe.benchmarks.decide.operating_points import candidates
from edge_moe.bundle import Bundle
from edge_moe.errors import DataError, UsageError
from edge_moe.intervals import paired_difference
from tests.benchmarks.fitted import RATES, cheaper, edited, fitted, only, replace, save, worked
from tests.fakes import write_bundle


@pytest.fixture
def first_three(monkeypatch):
    """Half A is the first three images."""
    monkeypatch.setattr(operating_points, "halves", lambda *_: np.array([True, True, True, False, False, False]))


@pytest.fixture
def by_hand(make_bundle, tmp_path, first_three):
    """by_hand(**changes of `worked`) -> the match of the six images with their bundle."""
    bundle = make_bundle(experts=2, tau=0.3)

    def make(edit=lambda results: results, **changes):
        return match(Bundle(bundle), save(edit(worked(bundle, **changes)), tmp_path / "results.json"))

    return make


def values(figures):
    return {quantity: figure.value for quantity, figure in figures.items()}


def test_figures_by_hand(by_hand):
    found = candidates(by_hand(), "mean", 0)
    assert [(one.tau, one.max_experts) for one in found] == [(0.0, 1), (0.0, 2), (0.3, 1), (0.5, 1), (1.0, 1)]
    assert all(one.measured for one in found)
    third = 1 / 3
    expected = {  # half A, half B: accuracy, drop, exit rate, MACs, mean cost of the timed images
        (0.0, 1): ((2 * third, 0, 0, 1310, 3), (2 * third, 0, 0, 1310, 4)),
        (0.0, 2): ((1, -100 * third, 0, 1611, 6), (2 * third, 0, 0, 1611, 8)),
        # The sure image exits before the gate runs.
        (0.3, 1): ((2 * third, 0, third, 3620 / 3, 3), (2 * third, 0, third, 3620 / 3, 4)),
        # And the one in between after it.
        (0.5, 1): ((third, 100 * third, 2 * third, 3320 / 3, 3), (third, 100 * third, 2 * third, 3320 / 3, 4)),
        (1.0, 1): ((third, 100 * third, 1, 1000, 1.5), (2 * third, 0, 1, 1000, 2)),
    }
    names = ("accuracy", "drop", "exit_rate", "macs", "cost")
    for one in found:
        for half, wanted in zip((one.a, one.b), expected[one.tau, one.max_experts], strict=True):
            assert values(half) == pytest.approx(dict(zip(names, wanted, strict=True))), one
            assert all(
                figure.low <= figure.value + 1e-9 and figure.value <= figure.high + 1e-9 for figure in half.values()
            )


@pytest.mark.parametrize(("statistic", "a", "b"), [("mean", 3, 4), ("median", 3, 4), ("p90", 8, 8.5)])
def test_statistics_of_the_timed_images(by_hand, statistic, a, b):
    """Half A took 1, 1, 2, 4, 7, 9 ms in two images and three rounds, half B 2, 2, 3, 5, 8, 9."""
    first = candidates(by_hand(), statistic, 0)[0]
    assert (first.a["cost"].value, first.b["cost"].value) == pytest.approx((a, b))


def test_an_image_is_resampled_with_all_its_rounds(by_hand):
    """Two images of half A, 1, 2, 9 and 1, 4, 7 ms: a resample has one of them twice, or both."""
    cost = candidates(by_hand(), "median", 0)[0].a["cost"]
    assert (cost.value, cost.low, cost.high) == (3, 2, 4)
    cost = candidates(by_hand(), "p90", 0)[0].a["cost"]
    # Of 1, 1, 4, 4, 7, 7 and of 1, 1, 2, 2, 9, 9; of both it lies between.
    assert (cost.value, cost.low, cost.high) == (8, 7, 9)


def test_predicted_where_only_parts_were_measured(by_hand):
    points = ((0.3, 1, None), (0.0, 2, None))
    two, one = candidates(by_hand(lambda results: edited(results, points=points)), "mean", 0)
    # Base 4, gate 0.5, experts 2 and 3: of all images, as none was timed.
    assert (one.measured, two.measured) == (False, False)
    assert (one.a["cost"].value, two.a["cost"].value) == pytest.approx(((4 + 6.5 + 6.5) / 3, 9.5))


@pytest.mark.parametrize(("statistic", "values"), [("mean", {4.0}), ("median", {3.75, 4.0, 4.25}), ("p90", {4.25})])
def test_quantiles_of_what_is_predicted_are_those_of_drawn_samples(make_bundle, tmp_path, statistic, values):
    """Where all exit an image costs 3.75 or 4.25 with the same chance, as the base did."""
    bundle = make_bundle(experts=2)
    parts = {part: (cost - 0.25, cost + 0.25) for part, cost in RATES.items()}
    results = edited(fitted(bundle, images=400, timed=40, rounds=10), points=[(1.0, 1, None)], parts=parts)
    (one,) = candidates(match(Bundle(bundle), save(results, tmp_path / "results.json")), statistic, 0)
    assert not one.measured
    for half in (one.a, one.b):
        assert half["cost"].value in values
        assert half["cost"].low <= half["cost"].value <= half["cost"].high


@pytest.mark.parametrize(
    ("wish", "setting"),
    [
        # With a drop: the cheapest. tau 0 and 0.3 keep it and cost the same: fewer MACs decide.
        (Wish(max_accuracy_drop=0), (0.3, 1)),
        (Wish(max_accuracy_drop=33.4), (1.0, 1)),
        (Wish(max_accuracy_drop=33.4, exit_rate=0), (1.0, 1)),
        # Without: the most accurate.
        (Wish(exit_rate=0), (0.0, 2)),
        (Wish(exit_rate=0.3), (0.3, 1)),
        (Wish(exit_rate=0.5), (1.0, 1)),
        (Wish(max_latency_ms=6), (0.0, 2)),
        (Wish(max_latency_ms=5.9), (0.3, 1)),
        (Wish(max_cost=2.9), (1.0, 1)),
        (Wish(max_macs=1611), (0.0, 2)),
        (Wish(max_macs=1310), (0.3, 1)),
        (Wish(max_macs=1200), (1.0, 1)),
        (Wish(max_macs=1200, max_accuracy_drop=40, max_latency_ms=3), (1.0, 1)),
    ],
)
def test_choices_by_hand(by_hand, wish, setting):
    choice = choose(by_hand(), wish)
    assert (choice.chosen.tau, choice.chosen.max_experts) == setting


def test_half_b_has_its_say(by_hand):
    # 3 ms on half A are 4 ms on half B, between 3 and 5.
    choice = choose(by_hand(), Wish(max_latency_ms=3, exit_rate=0.3))
    assert choice.chosen.b["cost"].value == 4
    latency, exits = choice.notes
    assert "the wish for 3 ms does NOT hold on half B: 4 ms (95% interval 3 ms to 5 ms, which includes" in latency
    assert "exit rate: the wish for 30% holds on half B, 33.33%, but not surely (95% interval 0% to 100%)" in exits
    assert choose(by_hand(), Wish(max_macs=1310, max_latency_ms=100)).notes == ()
    far = choose(by_hand(), Wish(max_accuracy_drop=0, max_latency_ms=100))
    assert far.chosen.b["drop"].value == 0
    assert far.notes == ()


def test_a_wish_that_half_b_denies_for_sure(by_hand):
    def slow_there(results):
        def slow(raw):
            return tuple((a, b, c + 50, d + 50) for a, b, c, d in raw)

        points = [(one.point.tau, one.point.max_experts, slow(one.raw)) for one in results.sets[0].points]
        return edited(results, points=points)

    (note,) = choose(by_hand(slow_there), Wish(max_latency_ms=3)).notes
    assert note.endswith("the wish for 3 ms does NOT hold on half B: 54 ms (95% interval 53 ms to 55 ms)")


def test_one_timed_image_is_all_half_a_s(make_bundle, tmp_path):
    bundle = make_bundle()
    results = fitted(bundle, images=20, timed=1)
    choice = choose(match(Bundle(bundle), save(results, tmp_path / "results.json")), Wish(max_latency_ms=9))
    assert "cost" not in choice.chosen.b
    assert "half B has no timed image" in choice.notes[0]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (
            Wish(max_latency_ms=1),
            ["tau 1, max_experts 1", "its mean latency is 1.5 ms, your limit was 1 ms; allow more mean latency"],
        ),
        (Wish(max_macs=900), ["tau 1,", "its mean MACs are 0.001 M, your limit was 0.0009 M; allow more mean MACs"]),
        # tau 0.3: one of three exits, which is 0.267 short of 0.6, 44%; tau 1 costs 33 points, 3.3 times 10.
        (
            Wish(max_accuracy_drop=10, exit_rate=0.6),
            ["tau 0.3,", "its exit rate is 33.33%, your limit was 60% or more; ask for less of exit rate"],
        ),
        # A drop's miss counts in points where the wish is less than one.
        (
            Wish(max_accuracy_drop=0, max_latency_ms=0.1),
            ["tau 0.3,", "its mean latency is 3 ms, your limit was 0.1 ms"],
        ),
    ],
)
def test_what_comes_closest(by_hand, wish, words):
    choice = choose(by_hand(), wish)
    assert choice.chosen is None
    assert all(word in choice.reason for word in ("no measured point", *words)), choice.reason


@pytest.mark.parametrize("unknown", ["labels", "untrained"])
def test_most_expert_use_where_accuracy_means_nothing(make_bundle, tmp_path, first_three, unknown):
    bundle = make_bundle(experts=2, edit=lambda raw: raw.update(trained=unknown != "untrained"))
    results = worked(bundle)
    if unknown == "labels":
        results = replace(results, labels=None)
    found = match(Bundle(bundle), save(results, tmp_path / "results.json"))
    for macs, setting in ((2000, (0.0, 2)), (1500, (0.0, 1)), (1300, (0.3, 1)), (1150, (0.5, 1)), (1000, (1.0, 1))):
        choice = choose(found, Wish(max_macs=macs))
        assert (choice.chosen.tau, choice.chosen.max_experts) == setting
        assert "accuracy is not known" in choice.reason
        assert "accuracy" not in choice.chosen.b
    word = "no labels" if unknown == "labels" else "UNTRAINED"
    with pytest.raises(DataError, match=f"{word}.*--data"):
        choose(found, Wish(max_accuracy_drop=1))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(), "at least one of --max-latency-ms"),
        (Wish(max_latency_ms=0), "--max-latency-ms is 0"),
        (Wish(max_cost=-1), "--max-cost is -1"),
        (Wish(max_macs=float("inf")), "--max-macs is inf"),
        (Wish(max_accuracy_drop=float("nan")), "--max-accuracy-drop is nan; expected a number from 0 to 100"),
        (Wish(max_accuracy_drop=-0.1), "--max-accuracy-drop is -0.1"),
        (Wish(exit_rate=1.1), "--exit-rate is 1.1; expected a number from 0 to 1"),
        (Wish(exit_rate=-0.1), "--exit-rate is -0.1"),
        (Wish(max_cost=1, max_latency_ms=1), "one of them"),
    ],
)
def test_wishes_that_cannot_be(by_hand, wish, words):
    with pytest.raises(UsageError, match=words):
        choose(by_hand(), wish)


def test_another_unit(by_hand):
    found = by_hand(unit="cycles")
    with pytest.raises(UsageError, match="in cycles, not in ms; use --max-cost"):
        choose(found, Wish(max_latency_ms=3))
    choice = choose(found, Wish(max_cost=2))
    assert choice.chosen.tau == 1.0
    assert choice.text("cost", 1234567.0) == "1,234,567 cycles"


def test_of_settings_that_decide_alike_the_fewest_experts(by_hand):
    # At tau = 1 everything exits, whatever max_experts is: that the second was timed faster is luck.
    def twice(results):
        slower, faster = ((9.0, 9.0, 9.0, 9.0),) * 3, ((8.0, 8.0, 8.0, 8.0),) * 3
        return edited(results, points=((0.0, 1, slower), (1.0, 1, slower), (1.0, 2, faster)))

    chosen = choose(by_hand(twice), Wish(exit_rate=1.0)).chosen
    assert (chosen.tau, chosen.max_experts) == (1.0, 1)


def test_one_image(make_bundle, tmp_path):
    bundle = make_bundle()
    results = fitted(bundle, images=1, timed=1)
    with pytest.raises(DataError, match="1 image; expected two"):
        choose(match(Bundle(bundle), save(results, tmp_path / "results.json")), Wish(exit_rate=0))


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A bundle and its results: 400 images, 24 points."""
    root = tmp_path_factory.mktemp("big")
    bundle = write_bundle(root / "bundle")
    taus = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
    results = fitted(bundle, images=400, timed=40, rounds=3, taus=taus, max_experts=(1, 2, 3))
    return match(Bundle(bundle), save(results, root / "results.json"))


def test_the_drop_is_a_paired_difference(big):
    """Its interval is that of intervals.paired_difference, which is computed another way."""
    results, trace = big.results, big.measured.decisions
    in_a = operating_points.halves(400, results.timed, np.array(results.labels), 7)
    labels = np.array(results.labels)[~in_a]
    always = trace.at(0.0, 1).predictions[~in_a] == labels
    for one in candidates(big, "mean", 7)[::5]:
        right = trace.at(one.tau, one.max_experts).predictions[~in_a] == labels
        expected = paired_difference(always, right)
        drop = one.b["drop"]
        np.testing.assert_allclose([drop.value, drop.low, drop.high], 100 * np.array(expected), atol=0.6)
        assert drop.value == pytest.approx(100 * expected[0])
        assert one.b["accuracy"].value == pytest.approx(right.mean())


@settings(max_examples=25)
@given(
    cost=st.none() | st.floats(0.3, 1.0),
    macs=st.none() | st.floats(1000, 1700),
    drop=st.none() | st.floats(0, 10),
    exits=st.floats(0, 1),
    seed=st.integers(0, 5),
    shuffle=st.randoms(),
)
def test_what_holds_for_any_wish(big, cost, macs, drop, exits, seed, shuffle):
    wish = Wish(max_cost=cost, max_macs=macs, max_accuracy_drop=drop, exit_rate=exits)
    choice = choose(big, wish, seed=seed)
    limits = {"cost": cost, "macs": macs, "drop": drop}

    def satisfies(one):
        return one.a["exit_rate"].value >= exits and all(
            limit is None or one.a[quantity].value <= limit for quantity, limit in limits.items()
        )

    possible = [one for one in choice.candidates if satisfies(one)]
    assert (choice.chosen is None) == (not possible)
    if choice.chosen is not None:
        assert choice.chosen in possible
        if drop is None:
            assert choice.chosen.a["accuracy"].value == max(one.a["accuracy"].value for one in possible)
        else:
            cheapest = min(possible, key=lambda one: one.a["cost"].value)  # or one that decides alike
            assert choice.chosen.a["macs"] == cheapest.a["macs"]
    points = [(one.point.tau, one.point.max_experts, one.raw) for one in big.measured.points]
    shuffle.shuffle(points)
    shuffled = edited(big.results, points=points)
    assert choose(big._replace(results=shuffled, measured=shuffled.sets[0]), wish, seed=seed) == choice


@pytest.fixture(scope="module")
def versions(big, tmp_path_factory):
    """The same results, as if of 80 originals in five versions each."""
    groups = tuple(np.random.default_rng(3).permutation(np.repeat(np.arange(80), 5)).tolist())
    results = replace(big.results, groups=groups)
    return match(big.bundle, save(results, tmp_path_factory.mktemp("versions") / "results.json"))


@pytest.mark.parametrize("statistic", ["mean", "p90"])
def test_versions_of_one_original_lie_in_one_half(versions, monkeypatch, statistic):
    halves, seen = operating_points.halves, []
    monkeypatch.setattr(operating_points, "halves", lambda *given: seen.append(halves(*given)) or seen[-1])
    found = candidates(versions, statistic, 7)
    (in_a,) = seen
    groups, labels = np.array(versions.results.groups), np.array(versions.results.labels)
    assert len(set(groups[in_a])) == len(set(groups[~in_a])) == 40
    assert set(groups[in_a]).isdisjoint(groups[~in_a])
    always = versions.measured.decisions.at(0.0, 1).predictions[~in_a] == labels[~in_a]
    for one in found[::5]:
        right = versions.measured.decisions.at(one.tau, one.max_experts).predictions[~in_a] == labels[~in_a]
        expected = paired_difference(always, right, groups=groups[~in_a])
        drop = one.b["drop"]
        np.testing.assert_allclose([drop.value, drop.low, drop.high], 100 * np.array(expected), atol=0.6)
        assert one.b["cost"].low <= one.b["cost"].value <= one.b["cost"].high


def test_one_original(big, tmp_path):
    results = replace(big.results, groups=(7,) * 400)
    with pytest.raises(DataError, match="images of 1 original; expected two"):
        choose(match(big.bundle, save(results, tmp_path / "results.json")), Wish(exit_rate=0))


# --- the set as well ---


@pytest.fixture
def two_sets(make_bundle, tmp_path):
    """two_sets(factor) -> the matches of two sets; predictions of the second cost `factor` of what they did."""
    bundle = make_bundle("two", experts=2, recipes=("int8", "fp32"))
    made = fitted(bundle, images=400, timed=40, rounds=3)
    return lambda factor: match_all(Bundle(bundle), save(cheaper(made, 1, factor), tmp_path / "two.json"))


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
@pytest.mark.parametrize("drop", [0.5, 5.0])
def test_the_cheapest_of_all_sets(two_sets, factor, drop):
    """Against every candidate of every set, whose drop is counted from the answers of fp32."""
    matches = two_sets(factor)
    assert [one.label for one in matches] == ["fake/int8", "fake/fp32"]
    index, choices = choose_set(matches, Wish(max_accuracy_drop=drop))
    best = []
    for one, choice in zip(matches, choices, strict=True):
        found = candidates(one, "mean", 0, matches[1])
        assert choice.candidates == found
        best.append(min((c.a["cost"].value for c in found if c.a["drop"].value <= drop), default=np.inf))
    assert index == int(np.argmin(best))
    assert choices[index].chosen.a["cost"].value == pytest.approx(min(best), rel=0.2)  # but for the noise of timing


def test_no_set_may_do(two_sets):
    index, choices = choose_set(two_sets(1.0), Wish(max_latency_ms=1e-9))
    assert index is None
    assert all("comes closest" in choice.reason for choice in choices)


def test_sets_of_other_artifacts_are_not_among_them(make_bundle, tmp_path):
    bundle = make_bundle("two", experts=2, recipes=("int8", "fp32"))
    made = fitted(bundle, images=40, timed=4, rounds=2)
    stale = replace(made, recorded=(replace(made.recorded[0], digest="0" * 64), made.recorded[1]))
    file = save(stale, tmp_path / "stale.json")
    assert [one.label for one in match_all(Bundle(bundle), file)] == ["fake/fp32"]
    with pytest.raises(DataError, match="was measured on another bundle"):
        match_all(Bundle(bundle), save(only(stale, 0), file))
    other = make_bundle("other", experts=2, recipes=("int8-all",))
    with pytest.raises(DataError, match=r"has no set of .*other; measure the bundle with 'edge-moe bench'"):
        match_all(Bundle(other), file)
