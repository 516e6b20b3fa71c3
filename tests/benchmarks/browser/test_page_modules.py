"""The page's modules in a real browser, held against the golden vectors of every port, and against Python."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_moe import Runtime, ports
from edge_moe.anytime import alpha, softmax
from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.benchmarks.browser.server import Server
from edge_moe.benchmarks.browser.site import schemas, site_files
from edge_moe.benchmarks.job import bundle_files
from edge_moe.bundle import Bundle
from edge_moe.data import open_data
from edge_moe.preprocess import prepare
from tests.fixtures import JOB, VECTORS

pytestmark = pytest.mark.devices

# Fake parts that give the logits of a vector, so that the page's own `predict` is what is asked.
RULE = """
const [{ensemble, space, experts, vectors}, done] = [arguments[0], arguments[1]];
import("./page/mixture.js").then(async ({predict, partNames}) => {
  const found = [];
  for (const {tau, max_experts: maxExperts, base_logits, gate_logits, expert_logits} of vectors) {
    const logits = {base: base_logits, gate: gate_logits};
    for (const [k, values] of Object.entries(expert_logits)) logits[`expert_${k.padStart(2, "0")}`] = values;
    const part = (name) => ({run: async () => (
      {values: () => Float32Array.from(logits[name]), tensor: () => null, free: () => {}})});
    const parts = Object.fromEntries(partNames(experts).map((name) => [name, {macs: 1}]));
    const answer = await predict({parts, experts, ensemble, space}, part, null, {tau, maxExperts});
    found.push({...answer, scores: [...answer.scores]});
  }
  return found;
}).then(done, (error) => done(String(error.stack)));
"""
MANIFESTS = """
const [cases, schemas, done] = arguments;
import("./page/bundle.js").then(({checkedManifest}) => cases.map((text) => {
  try { checkedManifest(JSON.parse(text), schemas); } catch (error) { return error.code ?? String(error); }
  return "sound";
})).then(done, (error) => done(String(error.stack)));
"""
# In the engine's thread, as the page does it.
PREPARED = """
const [images, done] = arguments;
import("./page/thread.js").then(async ({Thread}) => {
  const thread = new Thread();
  const found = [];
  for (const {image, spec, pixels} of images) {
    const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
    found.push([...await thread.ask("prepared", {blob: new Blob([bytes]), spec, pixels})]);
  }
  thread.end();
  return found;
}).then(done, (error) => done(String(error.stack)));
"""
ANSWERS = """
const [set, tensors, settings, done] = arguments;
import("./page/thread.js").then(async ({Thread}) => {
  const thread = new Thread();
  await thread.ask("open", {set});
  const found = [];
  for (const floats of tensors) {
    await thread.ask("feed", {floats: Float32Array.from(floats)});
    const rows = [];
    for (const [tau, maxExperts] of settings) rows.push(await thread.ask("answer", {tau, maxExperts, timed: false}));
    found.push(rows);
  }
  thread.end();
  return found;
}).then(done, (error) => done(String(error.stack)));
"""
LOOKED = """
const [images, settings, done] = arguments;
import("./page/thread.js").then(async ({Thread}) => {
  const thread = new Thread();
  await thread.ask("open", {set: "litert/int8"});
  const found = [];
  for (const image of images) {
    const blob = new Blob([Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0))]);
    await thread.ask("look", {blob});
    const rows = [];
    for (const [tau, maxExperts] of settings) rows.push(await thread.ask("answer", {tau, maxExperts, timed: false}));
    found.push(rows);
  }
  thread.end();
  return found;
}).then(done, (error) => done(String(error.stack)));
"""
SETTINGS = [[0.0, 1], [0.02, 1], [0.05, 1], [0.206, 1], [0.0, 2], [0.05, 2], [1.0, 1]]
GREY = 1 / 255 / 0.25  # one grey level in the recorded bundle's tensors, whose std is 0.25


@pytest.fixture(scope="module")
def page(browser):
    """The page of the recorded bundle, open."""
    libraries = Libraries()
    assert libraries.complete, "the page's libraries are not set up: make test-devices"
    with Server(site_files(libraries) | bundle_files(Bundle(JOB / "bundle"))) as server:
        browser.set_script_timeout(120)
        browser.get(server.url)
        yield browser
        browser.get("about:blank")


@pytest.fixture(scope="module")
def vectors():
    return ports.decode(VECTORS.read_bytes())


def run(page, script, *arguments):
    found = page.execute_async_script(script, *arguments)
    assert not isinstance(found, str), found
    return found


def test_the_rule(page, vectors):
    count = 0
    for of in vectors.rule:
        found = run(page, RULE, json.loads(msgspec.json.encode(of)))
        for one, answer in zip(of.vectors, found, strict=True):
            assert (answer["gateRan"], tuple(answer["experts"]), answer["index"]) == (
                one.gate_ran,
                one.experts,
                one.label,
            ), one.name
            expected, scores = np.array(one.scores), np.array(answer["scores"])
            assert np.linalg.norm(scores - expected) <= of.tolerance * np.linalg.norm(expected)
            assert answer["macs"] == 1 + one.gate_ran + len(one.experts)
            count += 1
    assert count > 80


def test_manifests(page, vectors):
    raw = json.loads(bytes(vectors.manifest))
    texts = [json.dumps(ports.changed(raw, one.at, one.value, one.removed)) for one in vectors.manifests]
    found = run(page, MANIFESTS, texts, schemas())
    for one, verdict in zip(vectors.manifests, found, strict=True):
        assert verdict in (("sound",) if one.sound else ("malformed", "schema_version")), one.name


DIGESTS = """
const [texts, done] = arguments;
import("./page/bytes.js").then(async ({digest}) => {
  const bytes = texts.map((text) => new TextEncoder().encode(text));
  const found = [await Promise.all(bytes.map(digest))];
  Object.defineProperty(crypto, "subtle", {configurable: true, value: undefined});
  found.push(await Promise.all(bytes.map(digest)));
  delete crypto.subtle;
  return found;
}).then(done, (error) => done(String(error.stack)));
"""


def test_hashes_also_where_the_browser_has_none(page):
    """As on a page that came by http from another machine."""
    texts = ["", "abc", "a" * 1000, "\u00fc" * 55]
    expected = [hashlib.sha256(one.encode()).hexdigest() for one in texts]
    assert run(page, DIGESTS, texts) == [expected, expected]


def test_images(page, vectors):
    cases = [
        {"image": base64.b64encode(one.image).decode(), "spec": msgspec.to_builtins(one.spec), "pixels": True}
        for one in vectors.images
    ]
    for one, found in zip(vectors.images, run(page, PREPARED, cases), strict=True):
        expected = np.frombuffer(one.pixels, np.uint8).astype(int)
        assert np.abs(np.array(found) - expected).max() <= one.within, one.name


@pytest.mark.parametrize("recipe", ["int8", "fp32"])
def test_the_same_tensors_have_the_same_answers(page, tiny_images, recipe):
    bundle = Bundle(JOB / "bundle")
    images = [one for split in ("val", "train") for one in open_data(str(tiny_images), split).sources][:100]
    tensors = [prepare(one, bundle.manifest.preprocessing) for one in images]
    assert len(tensors) == 100
    found = run(page, ANSWERS, f"litert/{recipe}", [one.ravel().tolist() for one in tensors], SETTINGS)
    seen = set()
    with Runtime(bundle, backend="litert", recipe=recipe) as runtime:
        for x, rows in zip(tensors, found, strict=True):
            for (tau, most), there in zip(SETTINGS, rows, strict=True):
                runtime.tau, runtime.max_experts = tau, most
                here = runtime.predict_tensor(x)
                assert (tuple(there["experts"]), there["gateRan"]) == (here.experts, here.gate_ran)
                assert (there["index"], there["macs"]) == (here.index, here.macs)
                np.testing.assert_allclose(there["scores"], here.scores, atol=1e-5)
                seen.add((here.experts, here.gate_ran))
    assert {((), False), ((), True)} < seen  # images that leave before the gate and after it, and others
    assert len(seen) > 3


@pytest.fixture(scope="module")
def files(tiny_images):
    """40 image files of many sizes."""
    rng, files = np.random.default_rng(0), []
    for index, source in enumerate(open_data(str(tiny_images), "val").sources[:40]):
        with Image.open(source) as image:
            larger = image.convert("RGB").resize((int(rng.integers(33, 200)), int(rng.integers(33, 200))))
        stream = io.BytesIO()
        larger.save(stream, "JPEG" if index % 2 else "PNG")
        files.append(stream.getvalue())
    return files


def test_the_same_files_have_the_same_answers(page, files):
    """But for flips, which lie where a grey level decides: each is listed with its |alpha - tau|."""
    found = run(page, LOOKED, [base64.b64encode(one).decode() for one in files], SETTINGS)
    flips = []
    with Runtime(JOB / "bundle", backend="litert", recipe="int8") as runtime:
        for data, rows in zip(files, found, strict=True):
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                for (tau, most), there in zip(SETTINGS, rows, strict=True):
                    runtime.tau, runtime.max_experts = tau, most
                    here = runtime.predict(image)
                    if (tuple(there["experts"]), there["index"]) != (here.experts, here.index):
                        base, gate = runtime.part("base"), runtime.part("gate")
                        phi = softmax(base.output("logits")[0])
                        gate.invoke(base.output("embedding"))
                        alphas = alpha(phi, softmax(gate.output("logits")[0]))
                        flips.append((tau, most, float(np.abs(alphas - tau).min())))
    print(f"{len(flips)} of {len(files) * len(SETTINGS)} answers flip: {flips}")
    assert len(flips) <= 0.02 * len(files) * len(SETTINGS)
    assert all(distance < 0.01 for _, _, distance in flips), flips


def test_the_same_files_have_the_same_tensors(page, files):
    spec = Bundle(JOB / "bundle").manifest.preprocessing
    built = msgspec.to_builtins(spec)
    found = run(page, PREPARED, [{"image": base64.b64encode(one).decode(), "spec": built} for one in files])
    for data, tensor in zip(files, found, strict=True):
        with Image.open(io.BytesIO(data)) as image:
            assert np.abs(np.array(tensor).reshape(1, 32, 32, 3) - prepare(image, spec)).max() <= GREY * 1.001
