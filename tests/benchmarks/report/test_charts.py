"""The charts say what the numbers say. What plotly makes of them is seen in a browser."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.words import DARK, LIGHT
from tests.benchmarks.made import TAUS, make

MANY = [(backend, recipe) for backend in "abcd" for recipe in ("int8", "int8-x", "fp32")]
CASES = {
    "one": [{}],
    "parts only": [{"unit": "cycles", "raw": False}],
    "unlabelled": [{"labels": False, "experts": 1, "taus": (0.3,), "peers": False, "sets": MANY[:1]}],
    "many": [{"sets": MANY, "experts": 20, "max_experts": (1, 2)}],
    "several": [{"name": "<b>x"}, {"name": "y", "unit": "instructions"}],
}


def drawn(report):
    """Section -> its views, of the sections that have a chart."""
    return {key: section.views for key, section in report.sections.items() if section.views}


@pytest.mark.parametrize("case", CASES)
def test_both_looks_know_every_colour(case):
    charts = drawn(collect([make(images=40, timed=3, **options) for options in CASES[case]]))
    used = {mark.look.colour for views in charts.values() for view in views for mark in view.marks}
    assert "@0" in used
    assert used | {"@ink", "@muted", "@grid", "@paper", "@0-pale", "@5-thin"} <= LIGHT.keys() == DARK.keys()


def test_what_there_is_to_see():
    charts = drawn(collect([make()]))
    assert list(charts) == ["cost", "accuracy", "promise", "samples", "parts", "shares", "agreement", "peers"]
    assert list(drawn(collect([make(labels=False, raw=False, peers=False, sets=MANY[:1])]))) == [
        "cost",
        "promise",
        "parts",
        "shares",
    ]
    several = drawn(collect([make(name="x"), make(name="y", unit="cycles")]))
    assert [view.name for view in several["accuracy"]] == ["cost, ms", "cost, M cycles", "MACs"]


def test_lines_and_hover():
    report = collect([make(name="<b>")])
    (view,) = report.sections["cost"].views
    assert [mark.name for mark in view.marks] == [one.label for one in report.series]
    for mark, one in zip(view.marks, report.series, strict=True):
        assert [dot.x for dot in mark.dots] == list(TAUS)
        assert [dot.y for dot in mark.dots] == [point.mean for point in one.points]
        assert [(dot.low, dot.high) for dot in mark.dots] == [(p.spread.p10, p.spread.p90) for p in one.points]
        for dot, point in zip(mark.dots, one.points, strict=True):
            what, text = point.point, "\n".join(dot.told)
            assert f"tau {what.tau:.3g}, at most 1 expert\nexit rate {what.exit_rate:.1%}" in text
            assert f"{what.mean_macs / 1e6:.3f} M MACs" in text
            assert f"accuracy {what.accuracy:.2%}" in text
            assert f"mean {point.mean:.3f} ms" in text
            assert f"median {point.spread.median:.3f}" in text


def test_the_front_is_what_no_other_beats():
    report = collect([make()])
    *lines, best = report.sections["accuracy"].views[0].marks
    assert best.shape == "front"
    every = {(dot.x, dot.y) for mark in lines for dot in mark.dots}
    kept = {(x, y) for x, y in every if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in every)}
    assert {(dot.x, dot.y) for dot in best.dots} == kept


def test_shares_add_up():
    for view in collect([make()]).sections["shares"].views:
        totals = [sum(dot.y for dot in dots) for dots in zip(*(mark.dots for mark in view.marks), strict=True)]
        assert totals == pytest.approx([100.0] * len(TAUS))


def test_many_bars_are_spread_over_views():
    first, *others = collect([make(images=40, timed=3, sets=MANY, experts=20)]).sections["parts"].views
    assert first.name == "base, gate and a mean expert of all sets, ms"
    assert [view.name for view in others] == [f"{backend}/{recipe}" for backend, recipe in MANY]
    assert all(len(mark.dots) == 3 for mark in first.marks)
    assert all(len(view.marks[0].dots) == 22 for view in others)


def test_ratios_stand_by_verdict():
    report = collect([make()])
    view, *_ = report.sections["peers"].views
    (table, *_) = report.sections["peers"].tables
    told = {dot.y.split("\n")[0]: (mark.name, dot.x) for mark in view.marks for dot in mark.dots}
    assert {mark.name for mark in view.marks} == {"ours wins", "ours loses"}
    for row in table.rows:
        verdict, ratio = told[row[0].rsplit(" (", 1)[0]]
        assert (verdict, f"{ratio:.3f}") == (row[1], row[4])


def test_what_is_not_measured_says_so_wherever_it_is_named():
    content = collect([make(sets=(("litert", "int8"),), unit="cycles", raw=False, provenance="estimated")])
    marks = [mark.name for section in content.sections.values() for view in section.views for mark in view.marks]
    assert "litert/int8, estimated" in marks
    assert "litert/int8" not in marks
    assert content.finding.startswith("At tau = ") and ", litert/int8, estimated, answers in " in content.finding
    assert "Costs in cycles are estimated for host." in content.sections["points"].notes


def test_targets_with_different_units_are_drawn_beside_their_bases():
    results = [make(peers=False), make(target="arm", machine="a core", unit="instructions", peers=False)]
    views = collect(results, ["here", "there"]).sections["cost"].views
    assert [view.name for view in views] == ["cost, ms", "cost, M instructions", "beside its base"]
    (beside,) = (view for view in views if view.name == "beside its base")
    assert len(beside.marks) == len(views[0].marks) + len(views[1].marks)
    for mark in beside.marks:
        assert abs(mark.dots[-1].y - 1.01) < 0.02  # at tau 1 the base alone, and what `made` adds to whole predictions
        assert 1.2 < mark.dots[0].y < 1.8  # at tau 0 an expert as well: (0.40 + 0.003 + 0.19) / 0.40, times that
    assert [view.name for view in collect([make()]).sections["cost"].views] == ["cost, ms"]
