"""What a browser makes of the parts: beside this host's native runtime, and beside raw calls of its own library.

    python -m edge_moe.benchmarks.studies.browser -o build/speed
    python -m edge_moe.benchmarks.studies.browser --bundle build/demo/bundle --picture docs/page.png

Base and expert at full size, host and browser in turns, one after the other; what the page's own loop adds to raw calls
of LiteRT.js; and the time from opening the page until its first answer, with all files in the browser's cache. Needs
Chromium, its driver and selenium, which the dev extra and `make test-devices` bring, and the device's set-up.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.backends import OpenPart
from edge_moe.benchmarks import machine
from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.benchmarks.browser.server import Server
from edge_moe.benchmarks.browser.site import site_files
from edge_moe.benchmarks.job import bundle_files
from edge_moe.benchmarks.samples import Summary, summary
from edge_moe.benchmarks.studies.full_size import TITLE, full_size_bundle, inputs, workplace
from edge_moe.benchmarks.studies.turns import Goal, at_most, goals_table
from edge_moe.bundle import Bundle
from edge_moe.errors import BackendError
from edge_moe.output import write_file
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["main", "measure", "picture", "to_markdown"]

_BROWSER, _HOST, _RAW, _PAGE = "browser", "host", "raw calls", "the page's loop"
_PARTS = {"base": 0, "expert_00": 1}  # part -> which of `inputs` it reads
_CALLS = 20
_VISITS = 7
_MOST_OVERHEAD, _MOST_FIRST_S = 1.05, 2.0
# The page's own modules, in its own thread: opens every set, and keeps what runs a part.
_OPEN = """
const [names, given, done] = arguments;
(async () => {
  const [litert, bundles, shelves, mixture, timing] = await Promise.all(
    ["litert", "bundle", "shelf", "mixture", "timing"].map((name) => import(`./page/${name}.js`)));
  const site = await (await fetch("site.json")).json();
  const library = await litert.loadLiteRt(new URL("library/", document.baseURI), site.library);
  const bundle = await bundles.openBundle(new URL("bundle/", document.baseURI), site.schemas);
  const found = {};
  for (const set of bundle.manifest.sets) {
    const name = bundles.setName(set);
    if (!names.includes(name)) continue;
    const shelf = new shelves.PartShelf(library, bundle, set);
    const runs = {};
    for (const part of mixture.partNames(bundle.manifest.experts)) await shelf.part(part);
    for (const [part, floats] of Object.entries(given)) {
      const one = shelf.part(part);
      const input = one.input(Float32Array.from(floats));
      runs[part] = () => one.once(input);
      if (part !== "base") continue;
      runs["the page's loop"] = () => mixture.predict(bundle.manifest, shelf.part, input, {tau: 1, maxExperts: 1});
      const tensors = one.names.indexOf("logits");
      runs["raw calls"] = async () => {
        const out = await one.model.run([input]);
        out[tensors].toTypedArray();
        for (const tensor of out) tensor.delete();
      };
    }
    found[name] = runs;
  }
  window.study = async (set, parts, calls) => {
    const times = parts.map(() => []);
    for (let i = -3; i < calls; i++)
      for (const [j, part] of parts.entries()) {
        const ms = await timing.secondsOf(found[set][part]) * 1000;
        if (i >= 0) times[j].push(ms);
      }
    return times;
  };
  return {timer: timing.timerStep(), build: library.build};
})().then(done, (error) => done(String(error.stack ?? error)));
"""
_TIME = "window.study(arguments[0], arguments[1], arguments[2]).then(arguments[3], (e) => arguments[3](String(e)));"
_VISIT = """
const done = arguments[0];
const wait = () => {
  const {ready, answered} = document.body.dataset;
  if (answered) return done(performance.now());
  if (ready && !window.clicked) { window.clicked = true; document.querySelector("#samples button").click(); }
  setTimeout(wait, 2);
};
wait();
"""
# An image that wakes an expert, one of the bundle's own, at the bundle's own tau.
_SHOW = """
const done = arguments[0];
const until = async (isSo) => { while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10)); };
(async () => {
  await until(() => document.body.dataset.ready);
  for (const button of document.querySelectorAll("#samples button")) {
    const before = document.body.dataset.answered;
    button.click();
    await until(() => document.body.dataset.answered !== before);
    if (document.getElementById("way").textContent.includes("asked expert")) break;
  }
})().then(() => done(null), (error) => done(String(error)));
"""
_WIDTH = 920


def picture(bundle: Path, file: Path) -> None:
    """Write a picture of the page of a bundle, with one of its samples answered by an expert.

    Raises:
        BackendError: there is no browser, or the page failed.
    """
    with Server(site_files(Libraries()) | bundle_files(Bundle(bundle))) as server, _browser() as browser:
        screen = {"width": _WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(server.url)
        _done(browser.execute_async_script(_SHOW))
        height = browser.execute_script("return document.querySelector('#ready').getBoundingClientRect().bottom")
        clip = {"x": 0, "y": 0, "width": _WIDTH, "height": height + 8, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        write_file(file, base64.b64decode(shot["data"]))


def measure(bundle: Path, rounds: int, progress: Progress) -> dict[str, Any]:
    """Return what base and expert take here and in a browser by every set of LiteRT, and the bars.

    Raises:
        BackendError: there is no browser, or the page failed.
    """
    opened = Bundle(bundle)
    keys = [one.key for one in opened.manifest.sets if one.backend == "litert"]
    given = {part: inputs(opened)[which][0] for part, which in _PARTS.items()}
    raw: dict[str, dict[str, dict[str, list[float]]]] = {
        str(key): {part: {} for part in (*_PARTS, _RAW, _PAGE)} for key in keys
    }
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(site_files(Libraries()) | bundle_files(opened)))
        browser = stack.enter_context(_browser())
        browser.get(server.url)
        flat = {part: x.ravel().tolist() for part, x in given.items()}
        facts = _done(browser.execute_async_script(_OPEN, list(map(str, keys)), flat))
        here = {(str(key), part): _open(opened, key, part, stack) for key in keys for part in _PARTS}
        step, draw = "timing here and in the browser", np.random.default_rng(0)
        progress.start(step, rounds)
        for _ in range(rounds):
            for key in draw.permutation(list(raw)):
                for parts in ([_RAW, _PAGE], *([part] for part in _PARTS)):  # the first two call by call
                    times = _done(browser.execute_async_script(_TIME, str(key), parts, _CALLS))
                    for part, found in zip(parts, times, strict=True):
                        raw[str(key)][part].setdefault(_BROWSER, []).extend(found)
                for part in _PARTS:
                    times = _times(here[str(key), part], given[part])
                    raw[str(key)][part].setdefault(_HOST, []).extend(times)
            progress.advance(step)
        visits = [_visit(browser, server.url) for _ in range(_VISITS + 1)][1:]  # the first fills the browser's cache
        version = browser.capabilities["browserVersion"]
    times = {
        key: {part: {by: summary(t) for by, t in of.items()} for part, of in parts.items()}
        for key, parts in raw.items()
    }
    return {
        "machine": machine.this_machine(),
        "browser": f"Chromium {version}, {facts['build']}, the clock ticks in {facts['timer']:.3f} ms",
        "rounds": rounds,
        "times": times,
        "first_answer_ms": summary(visits),
        "goals": _goals(raw, summary(visits)),
    }


def _goals(raw: dict[str, dict[str, dict[str, list[float]]]], first: Summary) -> list[Goal]:
    found = []
    for key, parts in raw.items():
        ratios = np.divide(parts[_PAGE][_BROWSER], parts[_RAW][_BROWSER])  # of neighbours
        what = f"{key}: the page's loop / raw calls of the base"
        found.append(at_most(what, float(np.median(ratios)), _MOST_OVERHEAD))
    return [*found, at_most("first answer on loopback, all in the cache, s", first.median / 1000, _MOST_FIRST_S)]


def _open(bundle: Bundle, key: SetKey, part: str, stack: contextlib.ExitStack) -> OpenPart:
    artifacts = bundle.manifest.find(*key)
    opened = backends.get(key.backend).open(bundle.read(artifacts.parts[part]))
    stack.callback(opened.close)
    return opened


def _times(part: OpenPart, x: npt.NDArray[np.float32]) -> list[float]:
    found = []
    for call in range(3 + _CALLS):
        start = perf_counter()
        part.invoke(x)
        part.output("logits")
        if call >= 3:
            found.append((perf_counter() - start) * 1000)
    return found


def _visit(browser: Any, url: str) -> float:
    browser.get("about:blank")
    browser.get(url)
    elapsed: float = _done(browser.execute_async_script(_VISIT))
    return elapsed


def _done(found: Any) -> Any:
    if isinstance(found, str):
        raise BackendError(f"the page failed: {found}")
    return found


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise BackendError("there is no Chromium, or not its driver; install both (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"):
        options.add_argument(option)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    opened.set_script_timeout(300)
    try:
        yield opened
    finally:
        opened.quit()


def to_markdown(found: dict[str, Any]) -> str:
    """Return the tables as a page that a person can read."""
    lines = [f"# {TITLE}", "", f"{found['machine'].title}; {found['browser']}; {found['rounds']} rounds.", ""]
    lines += ["| | browser, ms (p10 to p90) | host, ms (p10 to p90) | browser / host | beside fp32 in the browser |"]
    lines += ["|---|---:|---:|---:|---:|"]
    times = found["times"]
    fp32 = times.get("litert/fp32")
    for part in _PARTS:
        for key, parts in times.items():
            there, here = (parts[part][by] for by in (_BROWSER, _HOST))
            beside = f"{there.median / fp32[part][_BROWSER].median:.2f}" if fp32 else ""
            name = f"{part.partition('_')[0]}, {key}"
            lines += [f"| {name} | {_text(there)} | {_text(here)} | {there.median / here.median:.2f} | {beside} |"]
    first = found["first_answer_ms"]
    lines += ["", f"From opening the page to its first answer: {_text(first)} ms, {_VISITS} visits.", ""]
    return "\n".join([*lines, *goals_table(found["goals"])]) + "\n"


def _text(one: Summary) -> str:
    return f"{one.median:.3f} ({one.p10:.3f} to {one.p90:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, print and write the report."""
    parser = argparse.ArgumentParser(
        description="Measure base and expert at full size here and in a browser, in turns."
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for browser.json, browser.md and the bundle")
    parser.add_argument("--bundle", type=Path, help="another bundle than that of full size")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--picture", type=Path, help="write a picture of the bundle's page, and measure nothing")
    options = parser.parse_args(arguments)
    if options.picture is not None:
        if options.bundle is None:
            parser.error("--picture is of a bundle; expected --bundle")
        picture(options.bundle, options.picture)
        return
    with workplace(options.output) as (folder, progress):
        found = measure(options.bundle or full_size_bundle(folder, 1, progress), options.rounds, progress)
        write_file(folder / "browser.json", msgspec.json.encode(found))
        write_file(folder / "browser.md", to_markdown(found).encode())
    print(to_markdown(found))


if __name__ == "__main__":
    main()
