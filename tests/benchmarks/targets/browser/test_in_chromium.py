"""`--device browser` with a real browser: a sweep, a reload in the middle of it, two tabs, a hidden page, no server."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_moe.benchmarks.results import load
from tests.chromium import look, until
from tests.fixtures import JOB

pytestmark = pytest.mark.devices

STATE = "return document.getElementById('status')?.dataset.state"
AT_WORK = """
return document.getElementById("status").textContent.startsWith("Measuring") && document.getElementById("bar").value
"""
WAIT_S = 90
MAIN = "from edge_moe.cli import main; main()"
HIDE = """
Object.defineProperty(document, "hidden", {configurable: true, get: () => arguments[0]});
document.dispatchEvent(new Event("visibilitychange"));
"""


class Command:
    """edge-moe with a device that is a browser: it says where its page is."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []

    def hear(self, pattern):
        """Read what it says until something fits."""
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError("".join(self.said))

    def url(self):
        return self.hear(r"open (http://127\.0\.0\.1:\d+/measure\.html) in the browser")[1]

    def end(self):
        """Wait for its end -> exit code, what it printed."""
        out, err = self.process.communicate(timeout=WAIT_S)
        self.said.append(err)
        return self.process.returncode, out


@pytest.fixture
def command():
    begun = []

    def begin(*arguments):
        begun.append(Command(*arguments))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def chromium(browser):
    look(browser)
    browser.get_log("browser")
    yield browser
    for tab in browser.window_handles[1:]:
        browser.switch_to.window(tab)
        browser.close()
    browser.switch_to.window(browser.window_handles[0])
    browser.get("about:blank")


def bench(images, out, *more):
    options = ("--device", "browser", "--set", "litert/int8", "--tau", 0.05, "--max-experts", 1, "--images", 6)
    return ("bench", JOB / "bundle", "--data", images, *options, "-o", out, "--cold-starts", 1, *more)


def test_verify(command, chromium):
    verify = command("verify", JOB / "bundle", "--device", "browser")
    chromium.get(verify.url())
    code, out = verify.end()
    assert code == 0, out
    assert "checks passed" in out


def test_a_sweep(command, chromium, tiny_images, tmp_path):
    sweep = command(*bench(tiny_images, tmp_path / "report", "--rounds", 2, "--checked-images", 40))
    chromium.get(sweep.url())
    code, out = sweep.end()
    assert code == 0, sweep.said
    assert "in a browser (WebAssembly)" in " ".join(out.split())
    results = load(tmp_path / "report/results.json")
    opening, (recorded,) = results.opening, results.recorded
    assert opening.machine.name.startswith("Chrom")
    assert 0 < opening.facts["timer step, ms"] <= 0.1
    assert opening.facts["cross-origin isolated"] is True
    assert re.fullmatch(r"LiteRT\.js [\d.]+, relaxed SIMD, 1 thread", opening.versions["litert/int8"])
    for number, line in enumerate(results.lines):
        (one,) = line.sets
        assert set(one.parts) == set(one.waking) == {"base", "gate", "expert_00", "expert_01"}
        assert all(cost > 0 for part in one.parts.values() for cost in part["ms"])
        assert (one.cold_start_ms is not None) == (number == 0)
        assert all(cost > 0 for cost in line.steps["preprocessing"]["ms"])
        # The exit rule of the page did to every timed image what Python's says.
        trace = recorded.trace.restored()
        for setting, point in zip(recorded.settings, one.points, strict=True):
            for place, ran in zip(results.timed, point.ran, strict=True):
                alpha = trace.gate[place] * (1 - trace.max_phi[place])
                best = int(trace.gate[place].argmax())
                assert tuple(ran or ()) == ((best,) if alpha[best] >= setting.tau else ())
    there, here = recorded.there.trace.restored(), recorded.trace.restored()
    np.testing.assert_allclose(there.gate, here.gate[list(recorded.there.images)], atol=1e-5)


def test_a_reload_in_the_middle_and_a_second_tab(command, chromium, tiny_images, tmp_path):
    sweep = command(*bench(tiny_images, tmp_path / "report", "--rounds", 2, "--checked-images", 0))
    url = sweep.url()
    chromium.get(url)
    until(chromium, AT_WORK, wait_s=WAIT_S)
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    chromium.get(url)
    until(chromium, f"{STATE} === 'busy'", wait_s=WAIT_S)
    assert "Another page measures already" in chromium.find_element("id", "status").text
    chromium.close()
    chromium.switch_to.window(first)
    chromium.refresh()
    code, _ = sweep.end()
    assert code == 0, sweep.said
    assert load(tmp_path / "report/results.json").complete
    until(chromium, f"{STATE} === 'server_away'", wait_s=WAIT_S)
    assert "the server is gone" in chromium.find_element("id", "status").text


def test_a_hidden_page_discards_its_round(command, chromium, tiny_images, tmp_path):
    sweep = command(*bench(tiny_images, tmp_path / "report", "--rounds", 1, "--checked-images", 0))
    chromium.get(sweep.url())
    until(chromium, AT_WORK, wait_s=WAIT_S)
    chromium.execute_script(HIDE, True)
    sweep.hear("the page is not in front")
    until(chromium, "return document.getElementById('status').textContent.includes('not in front')", wait_s=WAIT_S)
    chromium.execute_script(HIDE, False)
    code, _ = sweep.end()
    assert code == 0, sweep.said
    (line,) = load(tmp_path / "report/results.json").lines
    assert line.seen.facts["discarded before"] == 1


def test_stopped_and_gone_on_with(command, chromium, tiny_images, tmp_path):
    arguments = bench(tiny_images, tmp_path / "report", "--rounds", 3, "--checked-images", 0)
    sweep = command(*arguments)
    url = sweep.url()
    chromium.get(url)
    begun = tmp_path / "report.unfinished"
    end = time.monotonic() + WAIT_S
    while not list(Path(begun).rglob("round-0000*")):
        assert time.monotonic() < end
        time.sleep(0.01)
    sweep.process.kill()
    sweep.end()
    again = command(*arguments)
    if (now := again.url()) != url:  # else the page that was left open finds it by itself
        chromium.get(now)
    code, _ = again.end()
    assert code == 0, again.said
    results = load(tmp_path / "report/results.json")
    assert (results.complete, results.sittings) == (True, 2)


def test_images_that_a_browser_does_not_read(command, chromium, tiny_images, tmp_path):
    """All else is measured; that preparing them is not stands in the results."""
    for name in ("across", "diagonal", "down"):
        there = tmp_path / "images/val" / name
        there.mkdir(parents=True)
        for source in sorted((tiny_images / "val" / name).iterdir())[:3]:
            Image.open(source).save(there / f"{source.stem}.ppm")
    sweep = command(*bench(tmp_path / "images", tmp_path / "report", "--rounds", 1, "--checked-images", 0))
    chromium.get(sweep.url())
    code, _ = sweep.end()
    assert code == 0, sweep.said
    (line,) = load(tmp_path / "report/results.json").lines
    assert line.steps == {}
    (said,) = line.seen.remarks
    assert said == "preparing images is not measured: this browser cannot decode images/0000.ppm"
