"""The charts are what plotly takes, and say what the numbers say."""

from __future__ import annotations

import itertools

import pytest

from edge_moe.benchmarks.report.charts import draw
from edge_moe.benchmarks.report.content import collect
from edge_moe.benchmarks.report.style import DARK, LIGHT
from tests.benchmarks.made import TAUS, make

MANY = [(backend, recipe) for backend in "abcd" for recipe in ("int8", "int8-x", "fp32")]
CASES = {
    "one": [{}],
    "parts only": [{"unit": "cycles", "raw": False}],
    "unlabelled": [{"labels": False, "experts": 1, "taus": (0.3,), "peers": False, "sets": MANY[:1]}],
    "many": [{"sets": MANY, "experts": 20, "max_experts": (1, 2)}],
    "several": [{"name": "<b>x"}, {"name": "y", "unit": "instructions"}],
}


def colours(value):
    if isinstance(value, dict):
        return set().union(*map(colours, value.values()))
    if isinstance(value, list):
        return set().union(*map(colours, value)) if value else set()
    return {value} if isinstance(value, str) and value.startswith("@") else set()


@pytest.mark.parametrize("case", CASES)
def test_both_looks_know_every_colour(case):
    charts = draw(collect([make(images=40, timed=3, **options) for options in CASES[case]]))
    used = set().union(*(colours([v.traces, v.layout]) for chart in charts.values() for v in chart.views))
    assert used <= LIGHT.keys() == DARK.keys()


def test_plotly_takes_them():
    go = pytest.importorskip("plotly.graph_objects")

    def painted(value):
        if isinstance(value, dict):
            return {key: painted(one) for key, one in value.items()}
        if isinstance(value, list):
            return [painted(one) for one in value]
        return LIGHT.get(value, value) if isinstance(value, str) else value

    for chart in draw(collect([make(images=40, timed=3)])).values():
        for view in chart.views:
            go.Figure(painted(view.traces), painted(view.layout)).to_json()  # refuses what plotly does not know


def test_what_there_is_to_see():
    charts = draw(collect([make()]))
    assert list(charts) == ["cost", "accuracy", "samples", "parts", "shares", "agreement", "peers"]
    assert list(draw(collect([make(labels=False, raw=False, peers=False, sets=MANY[:1])]))) == [
        "cost",
        "parts",
        "shares",
    ]
    several = draw(collect([make(name="x"), make(name="y", unit="cycles")]))
    assert [view.name for view in several["accuracy"].views] == ["cost, ms", "cost, M cycles", "MACs"]


def test_lines_and_hover():
    content = collect([make(name="<b>")])
    (view,) = draw(content)["cost"].views
    lines = [trace for trace in view.traces if trace.get("meta")]
    assert [trace["meta"]["label"] for trace in lines] == [one.label for one in content.series]
    for trace, one in zip(lines, content.series, strict=True):
        assert trace["x"] == list(TAUS)
        assert trace["y"] == [point.costs.mean for point in one.points]
        for text, point in zip(trace["text"], one.points, strict=True):
            what = point.costs.point
            assert f"tau {what.tau:.3g}, at most 1 expert<br>exit rate {what.exit_rate:.1%}" in text
            assert f"{what.mean_macs / 1e6:.3f} M MACs" in text
            assert f"accuracy {what.accuracy:.2%}" in text
            assert f"mean {point.costs.mean:.3f} ms" in text
            assert f"median {point.spread.median:.3f}" in text


def test_text_that_is_no_html():
    files = [make(name="<script>1</script>", images=20, timed=3), make(name="&", images=20, timed=3)]
    for chart in draw(collect(files)).values():
        for trace in itertools.chain.from_iterable(view.traces for view in chart.views):
            assert "<script" not in str(
                {key: value for key, value in trace.items() if key not in ("meta", "legendgroup")}
            )


def test_shares_add_up():
    for view in draw(collect([make()]))["shares"].views:
        totals = [sum(column) for column in zip(*(trace["y"] for trace in view.traces), strict=True)]
        assert totals == pytest.approx([100.0] * len(TAUS))


def test_many_bars_are_spread_over_views():
    charts = draw(collect([make(images=40, timed=3, sets=MANY, experts=20)]))
    first, *others = charts["parts"].views
    assert first.name == "base, gate and a mean expert of all sets, ms"
    assert [view.name for view in others] == [f"{backend}/{recipe}" for backend, recipe in MANY]
    assert all(len(trace["x"]) == 3 for trace in first.traces)
    assert all(len(view.traces[0]["x"]) == 22 for view in others)
