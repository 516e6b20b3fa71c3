"""The page in a real browser: nothing is fetched, charts are drawn, the pointer is told, data comes out.

Needs Chromium and its driver, which `make test-devices` sees to. What it looks like is kept in build/screenshots, for
eyes.
"""

from __future__ import annotations

import time

import pytest

from edge_moe.benchmarks.report import write_report
from tests.benchmarks.made import TAUS, make
from tests.chromium import WAIT_S, fetched, keep, look, until

pytestmark = pytest.mark.devices

CHARTS = 8
EVIL = "<script>alert(1)</script> ü"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Folders of a report of one file and of one of several."""
    root = tmp_path_factory.mktemp("reports")
    write_report([make(images=60, timed=6)], root / "one")
    several = [make(images=60, timed=6, name=EVIL), make(images=60, timed=6, trained=False, unit="cycles", machine="b")]
    write_report(several, root / "several")
    return root


def show(browser, file, *, scheme="light", width=1280):
    """Open the page and wait until its charts are drawn."""
    look(browser, scheme=scheme, width=width)
    browser.get(file.as_uri())
    until(browser, "return document.documentElement.dataset.drawn")


@pytest.fixture
def opened(browser, reports):
    """The report of one file, light and wide, opened once for the tests that follow each other."""
    page = reports / "one/report.html"
    if browser.current_url != page.as_uri() or browser.execute_script("return innerWidth") != 1280:
        show(browser, page)
    return browser


def background(browser):
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [("several", "light", 1280), ("several", "dark", 390), ("one", "light", 390), ("one", "dark", 1280)],
)
def test_it_shows(browser, reports, name, scheme, width):
    fetched(browser)
    page = reports / name / "report.html"
    show(browser, page, scheme=scheme, width=width)
    found = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(plot => [plot.querySelectorAll('svg.main-svg').length,"
        " plot.data.length, plot.querySelectorAll('.trace').length, plot.getBoundingClientRect().right,"
        " plot.layout.font.color])"
    )
    assert len(found) == CHARTS
    for svgs, given, drawn, right, colour in found:
        assert svgs > 0
        assert 0 < drawn <= given
        assert right <= width
        assert colour == {"light": "#1f2328", "dark": "#e3e6ea"}[scheme]
    assert background(browser) == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
    # Nothing is wider than the screen but what scrolls by itself.
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    asked = [url for url in fetched(browser) if not url.startswith(("data:", "blob:"))]
    assert asked == [page.as_uri()]
    assert browser.get_log("browser") == []
    keep(browser, f"{name}-{scheme}-{width}.png", width)


def downloaded(browser, name, folder):
    folder.mkdir(exist_ok=True)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    browser.execute_script("document.querySelector(`[data-download='${arguments[0]}']`).click()", name)
    end = time.monotonic() + WAIT_S
    while not (folder / name).exists():
        assert time.monotonic() < end, name
        time.sleep(0.02)
    return (folder / name).read_bytes()


def test_the_data_comes_out_as_it_is(browser, reports, tmp_path):
    show(browser, reports / "several/report.html")
    for name in ("results-1.json", "results-2.json", "points.csv", "parts.csv", "peers.csv"):
        assert downloaded(browser, name, tmp_path / "got") == (reports / "several" / name).read_bytes()
    assert browser.get_log("browser") == []


def test_the_pointer_is_told_the_operating_point(opened):
    text = until(
        opened,
        """
        const plot = document.querySelector('[data-chart=cost] .plot');
        plot.scrollIntoView();
        const curve = plot.data.findIndex(trace => trace.meta);
        Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 3}]);
        return plot.querySelector('.hoverlayer').textContent;
        """,
    )
    point = make(images=60, timed=6).sets[0].points[3]
    assert point.point.tau == TAUS[3]
    for words in ("litert/int8", "tau 0.25, at most 1 expert", f"exit rate {point.point.exit_rate:.1%}",
                  f"accuracy {point.point.accuracy:.2%}", f"mean {point.mean:.3f} ms"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("name", ["one", "several"])
def test_plotly_takes_every_view(browser, reports, name):
    """Asks plotly itself, which else passes over what it does not know."""
    show(browser, reports / name / "report.html")
    looked = browser.execute_script(
        """
        const found = [];
        for (const figure of document.querySelectorAll('[data-chart]')) {
          const choices = figure.querySelectorAll('.choices button, option'), plot = figure.querySelector('.plot');
          for (const choice of choices.length ? choices : [null]) {
            if (choice?.value) {
              choice.selected = true;
              choice.parentNode.dispatchEvent(new Event('change', {bubbles: true}));
            } else choice?.click();
            const {barmode, bargap, ...layout} = plot.layout;  // of no meaning without bars
            const wrong = (Plotly.validate(plot.data, layout) ?? []).filter(one => one.code !== 'unused');
            found.push([figure.dataset.chart, wrong.map(one => one.msg)]);
          }
        }
        return found;
        """
    )
    assert len(looked) > CHARTS
    assert [(chart, said) for chart, said in looked if said] == []
    assert browser.get_log("browser") == []


def test_names_in_charts_are_text(browser, reports):
    show(browser, reports / "several/report.html")
    text = until(
        browser,
        """
        const plot = document.querySelector('[data-chart=cost] .plot');
        plot.scrollIntoView();
        Plotly.Fx.hover(plot, [{curveNumber: plot.data.findIndex(trace => trace.meta), pointNumber: 0}]);
        return plot.querySelector('.hoverlayer').textContent;
        """,
    )
    assert EVIL in text
    assert browser.execute_script("return document.querySelector('.legend button').textContent").endswith(f"({EVIL})")


def test_switches_and_names(opened):
    chart = "const chart = document.querySelector('[data-chart=accuracy]'), plot = chart.querySelector('.plot');"
    title = "return plot.layout.xaxis.title.text"
    assert opened.execute_script(f"{chart} {title}") == "mean cost of one image, ms"
    opened.execute_script(f"{chart} chart.querySelectorAll('.choices button')[1].click()")
    assert opened.execute_script(f"{chart} {title}") == "mean MACs of one image, millions"
    names = [one.label for one in make().sets]
    seen = f"{chart} return plot.data.filter(trace => trace.meta && trace.visible).map(trace => trace.meta.label)"
    assert opened.execute_script(seen) == [*names, "Pareto front"]
    opened.execute_script(f"{chart} chart.querySelectorAll('.legend button')[1].click()")
    assert opened.execute_script(seen) == [names[0], *names[2:], "Pareto front"]
    twice = "new MouseEvent('dblclick', {bubbles: true})"
    opened.execute_script(f"{chart} chart.querySelectorAll('.legend button')[0].dispatchEvent({twice})")
    assert opened.execute_script(seen) == names[:1]
    opened.execute_script(f"{chart} chart.querySelectorAll('.legend button')[0].dispatchEvent({twice})")
    assert opened.execute_script(seen) == [*names, "Pareto front"]
    assert opened.get_log("browser") == []


def test_the_look_changes_while_it_is_open(opened):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    until(opened, "return document.querySelector('.plot').layout.font.color === '#e3e6ea'")
    opened.execute_script("dispatchEvent(new Event('beforeprint'))")  # paper is white
    until(opened, "return document.querySelector('.plot').layout.font.color === '#1f2328'")
    assert opened.execute_script("return document.querySelectorAll('details:not([open])').length") == 0


def test_without_scripts_tables_and_pictures_are_there(browser, reports):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((reports / "one/report.html").as_uri())
        text = browser.find_element("tag name", "body").text
        pictures = browser.find_elements("css selector", "noscript img")
        assert [picture.size["width"] > 300 for picture in pictures] == [True] * 3
        assert "results.json" in text
        assert not browser.find_element("css selector", ".downloads").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
