"""The sentences say what the numbers say."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe.benchmarks.report import story
from edge_moe.benchmarks.report.compare import beside_peers
from edge_moe.benchmarks.report.content import collect
from edge_moe.benchmarks.report.series import build
from tests.benchmarks.made import make

ONE = (("litert", "int8"),)


def told(**options):
    return collect([make(sets=ONE, **options)])


def test_the_headline_is_computed():
    content = told()
    (one,) = content.series
    point, start = story.highlight(one)
    assert start.tau == 0
    assert point.accuracy >= start.accuracy
    assert all(p.accuracy < start.accuracy for p in one.points if p.costs.mean < point.costs.mean)
    what = point.costs.point
    less = 1 - point.costs.mean / start.costs.mean
    assert content.finding.startswith(
        f"At tau = {point.tau:g}, litert/int8 answers in {point.costs.mean:.3f} ms on average, {less:.1%} less than "
        f"always running an expert (tau = 0), at {what.accuracy:.1%} accuracy "
        f"(95%: {what.accuracy_low:.1%} to {what.accuracy_high:.1%})."
    )
    assert content.subject == (
        "birds (mobilenet_v3_small, 4 experts, 64 px) as litert/int8 on a laptop: "
        "200 images of val, 12 of them timed in 4 rounds, 1 thread."
    )
    assert content.title == "birds on a laptop"


def test_without_labels_the_middle_is_told():
    content = told(labels=False)
    assert f"At tau = {content.series[0].middle.tau:g}," in content.finding
    assert content.finding.endswith("How often it is right is not known: no labels.")


def test_experts_that_gain_nothing():
    results = make(sets=ONE, taus=(0.0, 1.0))
    (one,) = results.sets
    answers = tuple((row[0],) * len(row) for row in one.trace.answers)
    points = tuple(msgspec.structs.replace(p, point=msgspec.structs.replace(p.point, accuracy=0.5)) for p in one.points)
    one = msgspec.structs.replace(one, trace=msgspec.structs.replace(one.trace, answers=answers), points=points)
    found = story.finding(build([msgspec.structs.replace(results, sets=(one,))])[0])
    assert found.startswith("At tau = 1,")
    assert found.endswith(
        "right and wrong on the same ones. On these 200 images the experts bring nothing: the base alone is right on "
        "50.00%, the mixture (tau 0) on 50.00%."
    )


def test_experts_that_lose_are_told_wherever_the_headline_stands():
    """The point worth telling is a cheaper one between: not all of its images exit."""
    results = make(sets=ONE, taus=(0.0, 0.25, 1.0))
    (one,) = results.sets
    shares = (0.5, 0.75, 0.625)
    points = tuple(
        msgspec.structs.replace(p, point=msgspec.structs.replace(p.point, accuracy=share))
        for p, share in zip(one.points, shares, strict=True)
    )
    one = msgspec.structs.replace(one, points=points)
    found = story.finding(build([msgspec.structs.replace(results, sets=(one,))])[0])
    assert "the base alone is right on 62.50%, the mixture (tau 0) on 50.00%." in found
    better = (msgspec.structs.replace(points[0], point=msgspec.structs.replace(points[0].point, accuracy=0.7)),)
    one = msgspec.structs.replace(one, points=(*better, *points[1:]))
    assert "nothing" not in story.finding(build([msgspec.structs.replace(results, sets=(one,))])[0])


def test_targets_that_run_parts_only():
    content = told(unit="instructions", raw=False)
    assert "M instructions on average (predicted from its parts)" in content.finding
    assert "costed in" in content.subject
    assert any(text.startswith("Whole predictions") for text in content.blind_spots)
    assert any(text.startswith("Time, from instructions") for text in content.blind_spots)


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
    one = msgspec.structs.replace(one, default_tau=0.1, default_max_experts=1)
    found = story.mended(build([msgspec.structs.replace(results, sets=(one,))])[0])
    at = one.trace.restored().at(0.1, 1)
    pairs = list(zip(at.predictions, one.trace.answers, results.labels, strict=True))
    better = sum(whole == label != row[0] for whole, row, label in pairs)
    worse = sum(whole != label == row[0] for whole, row, label in pairs)
    assert better > worse > 0
    assert found.startswith(
        f"Against its base alone, litert/int8 at tau = 0.1 mends {better} of 200 images and breaks {worse}: "
    )
    assert f"{(better - worse) / 2:+.2f} points (95%: " in found
    assert found.endswith(f"while {at.exited.mean():.1%} exit early.")
    # Not recorded: at the point that the headline tells.
    series = build([results])[0]
    assert f"tau = {story.highlight(series)[0].tau:g} mends" in story.mended(series)
    assert told(labels=False).mended == ""


def test_intervals_over_originals_are_wider_and_said_to_be():
    results = make(sets=ONE)
    groups = tuple(i // 5 for i in range(200))
    labels = tuple(row[0] if i // 5 % 4 else (row[0] + 1) % 10 for i, row in enumerate(results.sets[0].trace.answers))
    results = msgspec.structs.replace(results, labels=labels)
    grouped = msgspec.structs.replace(results, groups=groups)

    def width(found):
        low, high = found.split("(95%: ")[-1].split(")")[0].split(" to ")
        return float(high) - float(low)

    assert width(told_of(grouped).mended) > width(told_of(results).mended)
    note = "Intervals are over the 40 originals of which these 200 images are versions."
    assert note in told_of(grouped).notes["points"]
    assert not any("originals" in text for text in told_of(results).notes["points"])
    facts = [cell for row in told_of(grouped).measured.rows for cell in row]
    assert any("200 images (versions of 40 originals)" in cell for cell in facts)


def told_of(results):
    return collect([results])
