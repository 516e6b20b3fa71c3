"""The sentences say what the numbers say."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge_moe.benchmarks.report import story
from edge_moe.benchmarks.report.compare import beside_peers
from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.series import build
from tests.benchmarks.fitted import with_accuracies, with_recorded
from tests.benchmarks.made import make

ONE = (("litert", "int8"),)


def told(**options):
    return collect([make(sets=ONE, **options)])


def test_the_headline_is_computed():
    content = told()
    (one,) = content.series
    point, start = story.highlight(one)
    assert start.tau == 0
    assert point.point.accuracy >= start.point.accuracy
    assert all(p.point.accuracy < start.point.accuracy for p in one.points if p.mean < point.mean)
    what = point.point
    less = 1 - point.mean / start.mean
    assert content.finding.startswith(
        f"At tau = {point.tau:g}, litert/int8 answers in {point.mean:.3f} ms on average, {less:.1%} less than "
        f"always running an expert (tau = 0), at {what.accuracy:.1%} accuracy "
        f"(95%: {what.accuracy_low:.1%} to {what.accuracy_high:.1%})."
    )
    assert content.subject == (
        "birds (mobilenet_v3_small, 4 experts, 64 px) as litert/int8 on a laptop: "
        "200 images of val, 12 of them timed in 4 rounds, 1 thread."
    )
    assert content.title == "birds on a laptop"


def defaults(results, tau, max_experts):
    return with_recorded(results, default_tau=tau, default_max_experts=max_experts)


def test_the_headline_stands_beside_the_base_alone():
    results = make(sets=ONE)
    (one,) = build([results])
    point, _ = story.highlight(one)
    base = one.points[-1]
    assert (base.tau, base.point.exit_rate) == (1, 1)
    labels = np.array(results.labels)
    right = [np.mean(p.decided.predictions == labels) for p in (point, base)]
    less = 1 - base.mean / point.mean
    found = story.finding(one)
    assert (
        f"Its base alone (tau = 1) answers in {base.mean:.3f} ms, {less:.1%} less than that, at "
        f"{base.point.accuracy:.1%} accuracy: image by image, the experts change it by "
        f"{100 * (right[0] - right[1]):+.2f} points (95%: "
    ) in found
    # The same is not said again below it.
    assert "points" not in collect([results]).mended
    assert "points" in story.mended(one)


@pytest.mark.parametrize(("tau", "most"), [(0.0, 1), (0.05, 1), (0.5, 2)])
@pytest.mark.parametrize("labels", [True, False])
def test_the_bundles_default_is_told_where_it_was_measured(tau, most, labels):
    (one,) = build([defaults(make(sets=ONE, max_experts=(1, 2), labels=labels), tau, most)])
    point, start = story.highlight(one)
    assert (point.tau, point.point.max_experts, start.tau, start.point.max_experts) == (tau, most, 0, most)
    assert story.finding(one).startswith(f"At tau = {tau:g}, litert/int8 answers in {point.mean:.3f} ms")
    assert ("always running an expert" in story.finding(one)) == (tau > 0)
    (other,) = build([defaults(make(sets=ONE, max_experts=(1, 2), labels=labels), 0.3, most)])  # not measured
    assert story.highlight(other)[0].tau in (p.tau for p in other.points)


def test_the_base_alone_is_not_set_beside_itself():
    found = story.finding(build([defaults(make(sets=ONE), 1.0, 1)])[0])
    assert found.startswith("At tau = 1,")
    assert "Its base alone" not in found
    assert "Its base alone" not in story.finding(build([make(sets=ONE, taus=(0.0, 0.1))])[0])  # was not measured


def test_without_labels_the_middle_is_told():
    content = told(labels=False)
    assert f"At tau = {content.series[0].middle.tau:g}," in content.finding
    assert content.finding.endswith("How often it is right is not known: no labels.")


def test_experts_that_gain_nothing():
    results = make(sets=ONE, taus=(0.0, 1.0))
    trace = results.recorded[0].trace
    answers = tuple((row[0],) * len(row) for row in trace.answers)
    results = with_recorded(results, trace=msgspec.structs.replace(trace, answers=answers))
    labels = tuple(row[0] if i % 2 else (row[0] + 1) % 10 for i, row in enumerate(answers))
    found = story.finding(build([msgspec.structs.replace(results, labels=labels)])[0])
    assert found.startswith("At tau = 1,")
    assert found.endswith(
        "right and wrong on the same ones. On these 200 images the experts bring nothing: the base alone is right on "
        "50.00%, the mixture (tau 0) on 50.00%."
    )


def test_experts_that_lose_are_told_wherever_the_headline_stands():
    """The point worth telling is a cheaper one between: not all of its images exit."""
    results = make(sets=ONE, taus=(0.0, 0.25, 1.0))
    found = story.finding(build([with_accuracies(results, (0.5, 0.75, 0.625))])[0])
    assert "the base alone is right on 62.50%, the mixture (tau 0) on 50.00%." in found
    assert "nothing" not in story.finding(build([with_accuracies(results, (0.7, 0.75, 0.625))])[0])


def test_targets_that_run_parts_only():
    content = told(unit="instructions", raw=False)
    assert "M instructions on average (predicted from its parts)" in content.finding
    assert "costed in" in content.subject
    blind_spots = content.sections["limits-of-this"].bullets
    assert any(text.startswith("Whole predictions") for text in blind_spots)
    assert any(text.startswith("Time, from instructions") for text in blind_spots)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"trained": False}, ["UNTRAINED network with random weights"]),
        ({"rounds_asked": 9}, ["Partial: stopped after 4 of 9 rounds."]),
        ({"remarks": ("others took 31% of the CPU",)}, ["Others took 31% of the CPU."]),
    ],
)
def test_warnings_of_one_file(options, words):
    found = story.warnings([make(sets=ONE, **options)], ["results"])
    assert len(found) == len(words)
    assert all(text.startswith(word) for text, word in zip(found, words, strict=True))


def test_warnings_of_several_files():
    same = [make(sets=ONE), make(sets=ONE)]
    (found,) = story.warnings(same, ["a", "b"])
    assert found.startswith("Costs come from 2 runs. Costs of different machines or runs do not compare")
    other = [make(sets=ONE), make(sets=ONE, machine="b", threads=4, unit="cycles", data="other", images=100)]
    costs, answers = story.warnings(other, ["a", "b"])
    assert "They differ in machine, unit and threads." in costs
    assert "also differ in data, number of images, right answers and timed images" in answers
    assert story.warnings([make(sets=ONE), make(sets=ONE, trained=False)], ["a", "b"])[0].startswith("b: UNTRAINED")


def test_where_ours_loses():
    series = build([make()])
    found = beside_peers(series)
    sentences = story.lost(series, found)
    losers = {pair.series.label for pair in found if pair.verdict == "ours loses"}
    assert losers
    assert {text.split(" loses to ")[0] for text in sentences} == losers
    (default,) = [text for text in sentences if text.startswith("litert/int8 ")]
    base = next(pair for pair in found if pair.peer.name == "base only")
    assert f"base only (litert/int8), which needs {base.ratio:.2f} times our cost at tau = " in default
    assert story.lost(series, [pair for pair in found if pair.verdict == "ours wins"]) == []


def test_mended_and_broken_are_counted():
    results = make(sets=ONE)
    (one,) = results.sets
    found = story.mended(build([with_recorded(results, default_tau=0.1)])[0])
    at = one.decisions.at(0.1, 1)
    pairs = list(zip(at.predictions, one.trace.answers, results.labels, strict=True))
    better = sum(whole == label != row[0] for whole, row, label in pairs)
    worse = sum(whole != label == row[0] for whole, row, label in pairs)
    assert better > worse > 0
    assert found.startswith(
        f"Against its base alone, litert/int8 at tau = 0.1 mends {better} of 200 images and breaks {worse}: "
    )
    assert f"{(better - worse) / 2:+.2f} points (95%: " in found
    assert found.endswith(f"while {at.exited.mean():.1%} exit early.")
    # Not measured there: at the point that the headline tells.
    series = build([results])[0]
    assert f"tau = {story.highlight(series)[0].tau:g} mends" in story.mended(series)
    assert told(labels=False).mended == ""


def test_intervals_over_originals_are_wider_and_said_to_be():
    results = make(sets=ONE, default_tau=0.1)
    groups = tuple(i // 5 for i in range(200))
    labels = tuple(row[0] if i // 5 % 4 else (row[0] + 1) % 10 for i, row in enumerate(results.sets[0].trace.answers))
    results = msgspec.structs.replace(results, labels=labels)
    grouped = msgspec.structs.replace(results, groups=groups)

    def width(found):
        low, high = found.split("(95%: ")[-1].split(")")[0].split(" to ")
        return float(high) - float(low)

    assert width(told_of(grouped).finding) > width(told_of(results).finding)
    assert width(story.mended(build([grouped])[0])) > width(story.mended(build([results])[0]))
    note = "Intervals are over the 40 originals of which these 200 images are versions."
    assert note in told_of(grouped).sections["points"].notes
    assert not any("originals" in text for text in told_of(results).sections["points"].notes)
    facts = [cell for row in told_of(grouped).sections["measured"].tables[0].rows for cell in row]
    assert any("200 images (versions of 40 originals)" in cell for cell in facts)


def told_of(results):
    return collect([results])


def test_what_is_held_is_not_what_an_answer_takes():
    """Bytes that have to be at hand: nobody answers in them."""
    found = told(unit="sram_bytes", raw=False).finding
    assert "litert/int8 needs " in found
    assert "Its base alone (tau = 1) needs " in found
    assert "answers in" not in found
