"""The page that answers, in a real browser: what a person does and sees, and what goes wrong."""

from __future__ import annotations

import http.server
import json
import threading
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from edge_moe import Runtime
from edge_moe.benchmarks.browser.export import export
from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.benchmarks.browser.server import Server
from edge_moe.benchmarks.browser.site import site_files
from edge_moe.benchmarks.job import bundle_files
from edge_moe.bundle import Bundle
from tests.chromium import fetched, keep, look, until
from tests.fixtures import JOB

pytestmark = pytest.mark.devices

EVIL = "<img src=x onerror=alert(1)>"
READY = "return document.body.dataset.ready"
TROUBLE = "const it = document.getElementById('trouble'); return !it.hidden && it.innerText"
MOVE = """
const slider = document.getElementById('tau');
slider.value = arguments[0];
slider.dispatchEvent(new Event('input', {bubbles: true}));
"""
ANSWERED = "return document.body.dataset.answered"
BUNDLE = Bundle(JOB / "bundle")
NAMES = ("base", "gate", "expert_00", "expert_01")


@pytest.fixture(scope="module")
def files():
    """Every file of the page of the recorded bundle."""
    libraries = Libraries()
    assert libraries.complete, "the page's libraries are not set up: make test-devices"
    return site_files(libraries) | bundle_files(BUNDLE)


@contextmanager
def served(browser, files, **options):
    """The page of these files, opened; the browser is elsewhere afterwards."""
    with Server(files, **options) as server:
        browser.get_log("browser"), fetched(browser)
        browser.get(server.url)
        yield server
    browser.get("about:blank")


@pytest.fixture
def page(browser, files):
    look(browser)
    with served(browser, files):
        until(browser, READY)
        yield browser


def text(browser, name):
    return browser.execute_script("return document.getElementById(arguments[0]).innerText", name)


def answered(browser, act):
    """Do something, and wait for the answer that follows."""
    before = browser.execute_script(ANSWERED)
    act()
    until(browser, "return document.body.dataset.answered !== arguments[0] && document.body.dataset.answered", before)


def click_sample(browser, name):
    button = f"[data-sample='{name}']"
    answered(browser, lambda: browser.execute_script(f'document.querySelector("{button}").click()'))


def test_a_sample_is_answered_as_in_python_and_tau_moves(page):
    with Runtime(BUNDLE, backend="litert", recipe="int8") as runtime:
        for name, x in BUNDLE.golden_inputs().items():
            click_sample(page, name)
            for tau in (0, 0.05, 0.5, 1):
                answered(page, lambda tau=tau: page.execute_script(MOVE, tau))
                runtime.tau, runtime.max_experts = tau, 1
                here = runtime.predict_tensor(x)
                assert text(page, "class").startswith(f"{here.label}, ")
                way = text(page, "way")
                expected = "left early" if here.exited else f"asked expert {here.experts[0]}."
                assert expected in way, (name, tau)
                assert f"{here.macs / 1e6:,.2f} M" in text(page, "macs")
    assert text(page, "time").endswith(" ms")
    assert page.execute_script("return document.querySelectorAll('#classes tbody tr').length") == 3


def test_the_mark_moves_with_the_finger(page):
    mark = "return Number(document.querySelector('#curve .mark').getAttribute('cx'))"
    page.execute_script(MOVE, 0)
    left = page.execute_script(mark)
    page.execute_script(MOVE, 1)
    assert page.execute_script(mark) > left + 100
    point = BUNDLE.operating(BUNDLE.manifest.sets[0]).operating_points[-1]
    assert f"{point.exit_rate:.0%} leave early" in text(page, "point")
    slider = page.find_element("id", "tau")
    slider.send_keys(Keys.ARROW_LEFT)
    assert text(page, "tau-value") == "0.995"


def test_a_default_between_the_steps_of_the_slider(browser, files):
    points = json.loads(files[OPERATING].read_bytes())
    for one in points["sets"].values():
        one["default_tau"] = 0.0123
    look(browser)
    with served(browser, broken(files, {OPERATING: json.dumps(points).encode()})):
        until(browser, READY)
        click_sample(browser, "00")
        assert text(browser, "tau-value") == "0.012"
        with Runtime(BUNDLE, backend="litert", recipe="int8", tau=0.0123, max_experts=1) as runtime:
            here = runtime.predict_tensor(BUNDLE.golden_inputs()["00"])
        assert ("left early" in text(browser, "way")) == here.exited


@pytest.mark.parametrize(
    ("scheme", "width", "language"), [("light", 1280, "en-US"), ("dark", 390, "de-DE"), ("light", 360, "fr")]
)
def test_it_shows(browser, files, scheme, width, language):
    look(browser, scheme=scheme, width=width, language=language)
    with served(browser, files) as server:
        until(browser, READY)
        click_sample(browser, "00")
        assert browser.execute_script("return document.documentElement.scrollWidth") == width
        german = language == "de-DE"
        assert browser.execute_script("return document.documentElement.lang") == ("de" if german else "en")
        assert ("Ausstieg" in text(browser, "answer") or "ausgestiegen" in text(browser, "way") or "Experte" in
                text(browser, "way")) == german  # fmt: skip
        dark = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
        assert dark == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
        asked = [url for url in fetched(browser) if not url.startswith(("data:", "chrome-"))]
        assert asked
        assert [url for url in asked if not url.startswith(server.url)] == []
        assert browser.get_log("browser") == []
        keep(browser, f"page-{scheme}-{width}-{language}.png", width)
        browser.execute_script("document.documentElement.style.fontSize = '200%'")
        assert browser.execute_script("return document.documentElement.scrollWidth") == width


def test_everything_has_a_name(page):
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    kinds = ("button", "slider", "combobox", "img", "image", "progressbar", "status", "meter", "Canvas")
    found = {}
    for node in nodes:
        role, name = (node.get(what, {}).get("value", "") for what in ("role", "name"))
        if not node.get("ignored") and role in kinds and role != "status":
            found.setdefault(role, []).append(name)
    assert {"button", "slider"} <= found.keys()
    assert all(name for names in found.values() for name in names), found


def test_a_photograph_of_ones_own(page, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    with Runtime(BUNDLE, backend="litert", recipe="int8") as runtime:
        here = runtime.predict(tmp_path / "own.png")
    for _ in range(2):  # the same file again is another wish
        answered(page, lambda: page.find_element("id", "file").send_keys(str(tmp_path / "own.png")))
        assert text(page, "class").startswith(f"{here.label}, ")
    label = page.execute_script("return document.getElementById('image').ariaLabel")
    assert label == "Your image, 70 by 50 pixels"


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"<svg xmlns='x'/>"])
def test_what_is_no_image(page, tmp_path, data):
    (tmp_path / "broken.png").write_bytes(data)
    page.find_element("id", "file").send_keys(str(tmp_path / "broken.png"))
    assert "not an image that the browser can decode" in until(page, TROUBLE)
    click_sample(page, "00")  # and it goes on
    assert page.execute_script(TROUBLE) is False


def of(name):
    return BUNDLE.manifest.sets[0].parts[name].file


def broken(files, change):
    """The files with one of them changed: address -> bytes, or None where it is gone."""
    found = dict(files)
    for address, data in change.items():
        del found[address]
        if data is not None:
            found[address] = data
    return found


def altered(files, address):
    data = bytearray(files[address].read_bytes())
    data[len(data) // 2] ^= 1
    return {address: bytes(data)}


def manifest_with(files, **changes):
    raw = json.loads(files["bundle/manifest.json"].read_bytes())
    return {"bundle/manifest.json": json.dumps(raw | changes).encode()}


BASE, OPERATING, MANIFEST = f"bundle/{of('base')}", "bundle/operating.json", "bundle/manifest.json"
WRONG = {
    "a part is altered": (lambda files: altered(files, BASE), "was altered"),
    "a part is cut": (lambda files: {BASE: files[BASE].read_bytes()[:-9]}, "the bundle is not whole"),
    "a part is longer": (lambda files: {BASE: files[BASE].read_bytes() + b"!"}, "has more bytes than"),
    "a part is gone": (lambda files: {BASE: None}, "is not there (HTTP 404)"),
    "no manifest": (lambda files: {MANIFEST: None}, "is not there (HTTP 404)"),
    "half a manifest": (lambda files: {MANIFEST: files[MANIFEST].read_bytes()[:500]}, "manifest.json is damaged"),
    "no operating points": (lambda files: {OPERATING: None}, "is not there (HTTP 404)"),
    "no sets of this manifest": (
        lambda files: {OPERATING: b'{"schema_version": 1, "sets": {}}'},
        "operating.json is not what it should be",
    ),
    "an older bundle": (
        lambda files: manifest_with(files, schema_version=2),
        "has schema version 2, this page reads 3",
    ),
    "a manifest that cannot be": (lambda files: manifest_with(files, labels=["one"]), "manifest.json is not what"),
    "a library is altered": (
        lambda files: altered(files, "library/litert/litert_wasm_internal.wasm"),
        "litert_wasm_internal.wasm was altered",
    ),
    "no library": (lambda files: {"library/litert/litert_wasm_internal.wasm": None}, "is not there (HTTP 404)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_whole(browser, files, wrong):
    look(browser)
    change, words = WRONG[wrong]
    with served(browser, broken(files, change(files))):
        assert words in until(browser, TROUBLE)
        assert browser.find_element("id", "retry").is_displayed()


@pytest.mark.parametrize("module", ["page/engine.js", "library/json-schema/validator.js", "page/worker.js"])
def test_what_does_not_load_in_the_thread(browser, files, module):
    there = broken(files, {module: None})
    look(browser)
    with served(browser, there):
        assert until(browser, TROUBLE)
        there[module] = files[module]
        browser.execute_script("document.getElementById('retry').click()")
        until(browser, READY)
        click_sample(browser, "00")


@pytest.mark.parametrize("module", ["page/app.js", "page/words.js", "library/hashes/_u64.js"])
def test_what_does_not_load_on_the_page(browser, files, module):
    look(browser)
    with served(browser, broken(files, {module: None})):
        assert "the page is not whole, or the server is gone: reload it" in text(browser, "loading")


def test_another_set_that_cannot_be_opened(browser, files):
    """What was open goes on answering, under its own name."""
    there = dict(files)
    fp32 = f"bundle/{BUNDLE.manifest.sets[1].parts['gate'].file}"
    gate = there.pop(fp32)
    look(browser)
    choose = """
    const select = document.getElementById('set');
    select.value = 'litert/fp32';
    select.dispatchEvent(new Event('change', {bubbles: true}));
    """
    with served(browser, there):
        until(browser, READY)
        click_sample(browser, "00")
        browser.execute_script(choose)
        assert "is not there" in until(browser, TROUBLE)
        assert browser.execute_script("return document.getElementById('set').value") == "litert/int8"
        for tau in (0, 1):
            answered(browser, lambda tau=tau: browser.execute_script(MOVE, tau))
        assert "litert/int8" in text(browser, "facts")
        there[fp32] = gate
        answered(browser, lambda: browser.execute_script(choose))
        until(browser, "return document.getElementById('facts').textContent.includes('litert/fp32')")


def test_only_the_newest_image_counts(page, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (2400, 3200, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "large.jpg")
    page.find_element("id", "file").send_keys(str(tmp_path / "large.jpg"))
    click_sample(page, "01")
    time.sleep(2)  # whatever the larger one still does
    assert page.execute_script("return document.getElementById('image').ariaLabel") == "Sample 01 of the bundle"
    assert page.execute_script("const it = document.getElementById('image'); return it.width === it.height")
    with Runtime(BUNDLE, backend="litert", recipe="int8") as runtime:
        here = runtime.predict_tensor(BUNDLE.golden_inputs()["01"])
    assert text(page, "class").startswith(f"{here.label}, ")


def test_no_set_for_a_browser(browser, files):
    raw = json.loads(files[MANIFEST].read_bytes())
    sets = [one | {"backend": "onnx"} for one in raw["sets"]]
    points = json.loads(files[OPERATING].read_bytes())
    renamed = {name.replace("litert", "onnx"): one for name, one in points["sets"].items()}
    change = manifest_with(files, sets=sets) | {OPERATING: json.dumps(points | {"sets": renamed}).encode()}
    with served(browser, broken(files, change)):
        assert "This bundle has only onnx/int8, onnx/fp32" in until(browser, TROUBLE)


def test_another_set_is_the_default(browser, files):
    points = json.loads(files[OPERATING].read_bytes())
    sets = list(points["sets"])
    look(browser)
    change = {OPERATING: json.dumps(points | {"default_set": sets[1]}).encode()}
    with served(browser, broken(files, change)):
        until(browser, READY)
        assert browser.execute_script("return document.getElementById('set').value") == sets[1]
    change = {OPERATING: json.dumps(points | {"default_set": "litert/int4"}).encode()}
    with served(browser, broken(files, change)):
        assert "operating.json is not what it should be" in until(browser, TROUBLE)


def test_names_are_text(browser, files):
    labels = [EVIL, "\u202eevil", "  "]
    look(browser)
    with served(browser, broken(files, manifest_with(files, labels=labels))):
        until(browser, READY)
        click_sample(browser, "00")
        shown = browser.execute_script("return document.getElementById('classes').innerText")
        assert EVIL in shown
        assert browser.execute_script("return document.querySelectorAll('#classes img').length") == 0


def test_names_of_files_are_names(browser, files):
    raw = json.loads(files[MANIFEST].read_bytes())
    odd = "litert/int8/ba #se?%41.tflite"
    raw["sets"][0]["parts"]["base"]["file"] = odd
    look(browser)
    with served(browser, broken(files, manifest_with(files, **raw)) | {f"bundle/{odd}": files[BASE]}):
        until(browser, READY)
        click_sample(browser, "00")


def test_a_plain_network(browser, files):
    """No gate, no experts, nothing for tau to decide."""
    raw, points = (json.loads(files[name].read_bytes()) for name in (MANIFEST, OPERATING))
    only = {"base": raw["parts"]["base"] | {"outputs": raw["parts"]["base"]["outputs"][:1]}}
    for one in raw["sets"]:
        one["parts"] = {"base": one["parts"]["base"]}
        one["made_from"], one["golden"]["samples"] = {}, []
        for file in one["parts"].values():
            names = [spec["name"] for spec in only["base"]["outputs"]]
            file["outputs"] = [tensor for tensor in file["outputs"] if tensor["name"] in names]
    for one in points["sets"].values():
        one["default_max_experts"] = 0
        one["operating_points"] = [one["operating_points"][-1] | {"max_experts": 0}]
    assert [one["name"] for one in only["base"]["outputs"]] == ["logits"]
    change = manifest_with(files, **(raw | {"experts": 0, "parts": only}))
    with served(browser, broken(files, change | {OPERATING: json.dumps(points).encode()})):
        until(browser, READY)
        click_sample(browser, "00")
        assert text(browser, "way") == "A plain network: there are no experts."
        assert not browser.find_element("id", "setting").is_displayed()


def test_the_base_answers_until_an_expert_is_here_and_a_server_that_is_gone(browser, files):
    """Experts come when they are first needed; without a server the page says so, and goes on when it is back."""
    look(browser)
    experts = {f"bundle/{of(name)}" for name in NAMES if name.startswith("expert")}
    with served(browser, files) as server:
        until(browser, READY)
        browser.execute_script(MOVE, 1)
        click_sample(browser, "00")
        asked = set(fetched(browser))
        assert not {server.url + one for one in experts} & asked
        port = server.port
    # about:blank was opened; the page is opened again, and its server goes away under it.
    with Server(files, port=port) as server:
        browser.get(server.url)
        until(browser, READY)
        browser.execute_script(MOVE, 1)
        click_sample(browser, "00")
    browser.execute_script(MOVE, 0)
    assert "cannot be reached" in until(browser, TROUBLE)
    assert text(browser, "class")  # the base's answer stands
    assert "s answer, until expert" in text(browser, "way")
    assert text(browser, "time") == "…"  # not that of the answer before
    answered(browser, lambda: browser.execute_script(MOVE, 1))  # what needs no expert works without a network
    browser.execute_script(MOVE, 0)
    until(browser, TROUBLE)
    with Server(files, port=port):
        answered(browser, lambda: browser.execute_script("document.getElementById('retry').click()"))
        assert "asked expert" in text(browser, "way")
        assert "from now on it is here" in text(browser, "way")
    answered(browser, lambda: browser.execute_script(MOVE, 0.001))
    assert "from now on" not in text(browser, "way")
    browser.get("about:blank")


def test_exported_it_needs_no_server_of_ours(browser, tmp_path):
    export(BUNDLE, Libraries(), tmp_path / "site")
    assert not (tmp_path / "site/measure.html").exists()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site/.."))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    look(browser)
    try:
        browser.get_log("browser"), fetched(browser)
        browser.get(f"http://127.0.0.1:{server.server_port}/site/")
        until(browser, READY)
        click_sample(browser, "00")
        asked = [url for url in fetched(browser) if not url.startswith(("data:", "chrome-"))]
        assert all(url.startswith(f"http://127.0.0.1:{server.server_port}/site/") for url in asked)
        assert browser.get_log("browser") == []
    finally:
        browser.get("about:blank")
        server.shutdown()
        server.server_close()


MEMORY = """
const [first, second, done] = arguments;
import("./page/thread.js").then(async ({Thread}) => {
  const thread = new Thread();
  await thread.ask("open");
  const samples = ["00", "01"];
  const many = async (count) => {
    for (let i = 0; i < count; i++) {
      if (i % 50 === 0) await thread.ask("look", {sample: samples[(i / 50) % 2]});
      await thread.ask("answer", {tau: i % 2 ? 0 : 1, maxExperts: 1 + (i % 3 === 0), timed: false});
    }
    const {bytes} = await performance.measureUserAgentSpecificMemory();
    return [bytes, await thread.ask("heapBytes")];
  };
  const found = [await many(first), await many(second - first)];
  thread.end();
  return found;
}).then(done, (error) => done(String(error.stack)));
"""


def test_memory_is_freed(page):
    page.set_script_timeout(300)
    found = page.execute_async_script(MEMORY, 500, 5000)
    assert not isinstance(found, str), found
    (before, heap_before), (after, heap_after) = found
    assert heap_after <= heap_before + (1 << 20)
    assert after <= before + (1 << 20)
