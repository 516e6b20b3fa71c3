"""A plain network, K = 0, is told of as what it is: no word or picture of a mixture, unless one stands beside it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from edge_moe.benchmarks.report import pictures
from edge_moe.benchmarks.report.compare import beside_peers
from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.write import markdown, page
from tests.benchmarks.made import make
from tests.benchmarks.report.test_page import Reader

SETS = (("litert", "int8"), ("litert", "fp32"))
MIXED_WORDS = re.compile(
    r"\b(experts?|gates?|routed|tau|exits?|exit rates?|mixtures?|operating points?|most\)|together)\b", re.IGNORECASE
)


def plain(**options):
    return make(**{"experts": 0, "images": 60, "timed": 6, "sets": SETS, "name": "flat", **options})


def texts(content):
    """The words of results.md and of report.html, and all that its charts say."""
    html = page(content, {}, {})
    reader = Reader()
    reader.feed(html)
    (data,) = [text for attributes, text in reader.scripts if attributes.get("id") == "report-data"]
    labels = " ".join(re.findall(r'aria-label="([^"]*)"', html))
    return markdown(content), f"{reader.text} {labels}", json.dumps(json.loads(data)["charts"])


CASES = {
    "with peers": [{}],
    "one set": [{"sets": SETS[:1], "peers": False, "limits": False}],
    "unlabelled": [{"labels": False}],
    "parts only": [{"unit": "cycles", "raw": False}],
    "several": [{"name": "a"}, {"name": "b", "machine": "b", "images": 50}],
}


@pytest.mark.parametrize("case", CASES)
def test_no_word_of_a_mixture(case):
    content = collect([plain(**options) for options in CASES[case]])
    for text in texts(content):
        assert MIXED_WORDS.findall(text) == []


def test_the_tables_hold_what_there_is():
    content = collect([plain()])
    tables = {key: section.tables for key, section in content.sections.items()}
    int8, _ = tables["points"]
    assert int8.columns[:4] == ("mean, ms", "accuracy", "MACs (M)", "95% interval")
    assert int8.columns[-1] == "mean / predicted"
    (point,) = content.series[0].points
    assert [row[1:3] for row in int8.rows] == [(f"{point.point.accuracy:.2%}", "18.850")]
    assert "shares" not in tables
    (_, parts, _) = tables["limits"]
    assert [row[0] for row in parts.rows] == ["base"]
    assert parts.columns[-1] == "to gain" and parts.marked == frozenset()
    (agreement,) = tables["agreement"]
    assert agreement.columns == ("answers alike",) and len(agreement.rows) == 1
    peers = tables["peers"][0]
    assert peers.title == "Beside litert/int8"
    assert peers.columns[-1] == "95% over rounds"
    assert all("," not in cell for row in peers.rows for cell in row[2:])
    ratio = next(row["ratio"] for row in content.rows["peers"] if "ratio" in row)
    assert f"which needs {ratio:.2f} times our cost" in " ".join(content.sections["peers"].bullets)


def test_a_mixture_with_one_setting_has_one_ratio():
    content = collect([make(images=60, timed=6, sets=SETS[:1], taus=(0.3,))])
    assert not any(column.startswith("at tau") for t in content.sections["peers"].tables for column in t.columns)
    assert {pair.ends for pair in beside_peers(content.series)} == {None}


def test_the_charts():
    content = collect([plain()])
    views = {key: section.views for key, section in content.sections.items() if section.views}
    assert list(views) == ["cost", "accuracy", "samples", "parts", "peers"]
    (view,) = views["cost"]
    assert [mark.shape for mark in view.marks] == ["bar", "bar"]
    assert view.x_range is None
    assert all([dot.y for dot in mark.dots] == ["base"] for mark in views["parts"][0].marks)


def test_beside_a_mixture_each_is_told_rightly():
    content = collect([make(images=60, timed=6, sets=SETS, name="mixed"), plain()])
    mixture, flat = content.series[0], content.series[2]
    assert (mixture.plain, flat.plain) == (False, True)
    md, html, _ = texts(content)
    for text in (md, html):
        assert "Share of each expert" in text and "Operating points" in text
        assert "A plain network has one row, without tau and exit rate." in text
    assert "a level line" in html
    sections = content.sections
    assert [table.title for table in sections["shares"].tables] == [one.label for one in content.series[:2]]
    assert [table.columns[0] for table in sections["points"].tables] == ["tau", "tau", "mean, ms", "mean, ms"]
    assert [len(table.columns) for table in sections["agreement"].tables] == [4, 1]
    (view,) = sections["cost"].views
    named = {mark.name: mark for mark in view.marks}
    level = named[flat.label]
    assert ([dot.x for dot in level.dots], level.shape) == ([0.0, 1.0], "level")
    assert [dot.y for dot in level.dots] == [flat.points[0].mean] * 2
    assert len(named[mixture.label].dots) == len(mixture.points)
    assert [view.name for view in sections["shares"].views] == [one.label for one in content.series[:2]]


@pytest.fixture
def axes_of(monkeypatch, tmp_path):
    """Return what reads the first axes of a picture, by its name."""
    from matplotlib.figure import Figure

    def read(content, name):
        found = {}

        def savefig(self, file, *_, **__):
            one, legends = self.axes[0], [*self.legends, *filter(None, (ax.get_legend() for ax in self.axes))]
            found[file.name] = {
                "title": one.get_title(loc="left"), "x": one.get_xlabel(), "range": one.get_xlim(),
                "bars": len(one.patches),
                "yticks": [t.get_text() for t in one.get_yticklabels()], "texts": [t.get_text() for t in one.texts],
                "legend": [t.get_text() for legend in legends for t in legend.get_texts()],
            }  # fmt: skip

        monkeypatch.setattr(Figure, "savefig", savefig)
        pictures.draw(content, tmp_path)
        return found[name]

    return read


def test_the_picture_of_costs(axes_of):
    found = axes_of(collect([plain()]), "cost.png")
    assert found["title"].startswith("Cost of an image; whiskers from p10 to p90\n")
    assert "tau" not in found["x"]
    assert (found["bars"], found["yticks"], found["legend"]) == (2, ["litert/int8", "litert/fp32"], [])


def test_the_picture_of_parts(axes_of):
    found = axes_of(collect([plain()]), "parts.png")
    assert found["title"].startswith("Cost of the base by itself; whiskers from p10 to p90\n")
    assert (found["yticks"], found["bars"]) == (["base"], 2)
    found = axes_of(collect([plain(sets=SETS[:1]), make(sets=SETS[:1], images=60, timed=6)]), "parts.png")
    assert (found["yticks"], found["bars"]) == (["base", "gate", "an expert (mean)"], 4)


def test_the_picture_of_accuracy_names_no_tau(axes_of):
    found = axes_of(collect([plain(sets=SETS[:1])]), "accuracy.png")
    assert found["texts"] == []
    assert "Pareto" not in found["title"]


def test_the_picture_of_costs_of_both(axes_of):
    mixture = make(images=60, timed=6, sets=SETS[:1], name="mixed")
    found = axes_of(collect([plain(sets=SETS[:1]), mixture]), "cost.png")
    assert found["title"].startswith("Cost against tau")
    assert found["legend"] == [f"litert/int8 ({who}, {what}" for who in ("flat), a plain network", "mixed)") for what in
                               ("mean", "median")]  # fmt: skip


def test_a_mixture_with_one_setting_names_no_line_that_is_not_drawn(axes_of):
    found = axes_of(collect([make(images=60, timed=6, sets=SETS[:1], taus=(0.3,))]), "cost.png")
    assert found["legend"] == ["litert/int8, mean"]
    assert found["range"] == (-0.03, 1.03)


def test_pictures_of_both_are_drawn(tmp_path):
    content = collect([plain(), make(images=60, timed=6, name="mixed", unit="cycles", raw=False)])
    assert pictures.draw(content, tmp_path) == ["cost.png", "accuracy.png", "parts.png"]
    with Image.open(tmp_path / "cost.png") as image:
        assert np.asarray(image).std() > 0


def test_what_has_no_accuracy_is_not_in_the_legend(axes_of):
    found = axes_of(collect([plain(name="a"), plain(name="b", labels=False)]), "accuracy.png")
    assert found["legend"] == ["litert/int8 (a)", "litert/fp32 (a)"]


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a")])
def test_an_untrained_run_is_marked_beside_a_trained_one(axes_of, names):
    untrained = plain(name=names[0], trained=False, sets=SETS[:1])
    trained = plain(name=names[1], sets=(("onnx", "int8"),))
    content = collect([untrained, trained])
    ends = ("a, UNTRAINED", "b") if names[0] != names[1] else ("UNTRAINED", "")
    labels = [f"litert/int8 ({ends[0]})", "onnx/int8" + (f" ({ends[1]})" if ends[1] else "")]
    assert [one.label for one in content.series] == labels
    assert axes_of(content, "accuracy.png")["legend"] == labels
    assert axes_of(content, "cost.png")["yticks"] == labels
    md, html, charts_of = texts(content)
    assert all(labels[0] in text for text in (md, html, charts_of))
