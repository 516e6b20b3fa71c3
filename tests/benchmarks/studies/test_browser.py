"""What a browser makes of the parts: the page of a study, from made figures."""

from __future__ import annotations

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.samples import Summary
from edge_moe.benchmarks.studies import browser
from edge_moe.benchmarks.studies.turns import at_most
from edge_moe.benchmarks.wire import Machine
from tests.fixtures import JOB


def one(median):
    return Summary(median=median, p10=median / 2, p90=median * 2, p99=median * 3, mean=median)


def made():
    times = {}
    for key, scale in (("litert/int8", 0.5), ("litert/fp32", 1.0)):
        times[key] = {
            "base": {"browser": one(8.0 * scale), "host": one(2.0 * scale)},
            "expert_00": {"browser": one(4.0 * scale), "host": one(1.0)},
            "raw calls": {"browser": one(8.0)},
            "the page's loop": {"browser": one(8.0 + 0.8 * scale)},
        }
    return times


def test_bars():
    """The median of the ratios of neighbours, whatever the machine did in between."""
    raw = {
        "litert/int8": {"raw calls": {"browser": [1.0, 10.0, 2.0]}, "the page's loop": {"browser": [1.04, 9.0, 2.3]}},
        "litert/fp32": {"raw calls": {"browser": [1.0]}, "the page's loop": {"browser": [1.1]}},
    }
    goals = browser._goals(raw, one(1500.0))
    assert [(goal.ratio, goal.met) for goal in goals] == [(1.04, True), (1.1, False), (1.5, True)]


def test_the_page():
    found = {
        "machine": Machine(name="a host"),
        "browser": "a browser",
        "rounds": 3,
        "times": made(),
        "first_answer_ms": one(1500.0),
        "goals": [at_most("one", 1.0, 2.0)],
    }
    page = browser.to_markdown(found)
    assert "a host; a browser; 3 rounds." in page
    assert "| base, litert/int8 | 4.000 (2.000 to 8.000) | 1.000 (0.500 to 2.000) | 4.00 | 0.50 |" in page
    assert "| expert, litert/fp32 | 4.000 (2.000 to 8.000) | 1.000 (0.500 to 2.000) | 4.00 | 1.00 |" in page
    assert "first answer: 1500.000 (750.000 to 3000.000) ms, 7 visits." in page


def test_without_a_browser(monkeypatch):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    with pytest.raises(BackendError, match="there is no Chromium"), browser._browser():
        pass


@pytest.mark.devices
def test_the_study(tmp_path, capsys):
    browser.main(["--bundle", str(JOB / "bundle"), "--rounds", "1", "-o", str(tmp_path)])
    page = (tmp_path / "browser.md").read_text()
    assert capsys.readouterr().out == page + "\n"
    assert page.count("| base, litert/") == page.count("| expert, litert/") == 2
    assert "the page's loop / raw calls of the base" in page
