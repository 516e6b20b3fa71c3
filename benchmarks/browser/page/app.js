// The page that answers: an image in, class, way and cost out, and a finger on tau.

import { addressOf } from "./bytes.js";
import { Curve } from "./curve.js";
import { Thread } from "./thread.js";
import { Trouble } from "./trouble.js";
import { label, loadWords } from "./words.js";

const element = (id) => document.getElementById(id);
const PREVIEW = 320; // pixels

let words;
let model; // what the engine said of the open bundle
let tau; // of the slider, or the bundle's default, which need not be one of its steps
let curve;
let thread;
let looking = false; // whether there is an image to answer for
let turn = Promise.resolve();
let wanted = 0; // counts what was asked for: only the newest is answered
let looks = 0; // counts the images

function heard({ loading, bytes, of, base, asked }) {
  if (loading && words) {
    const name = loading.startsWith("expert") ? "expert" : loading;
    element("loading").hidden = bytes >= of;
    element("loading-text").textContent = words.say(`loading_${name}`);
    element("loading-bar").max = of;
    element("loading-bar").value = bytes;
  }
  if (base) {
    showAnswer(base, words.say("waiting", { experts: asked.join(", ") }));
    element("time").textContent = "…";
  }
}

/** Do something, and show what goes wrong; `again` is what the button then does. */
async function attempt(what, again) {
  element("trouble").hidden = true;
  try {
    return await what();
  } catch (error) {
    element("loading").hidden = true;
    element("trouble-text").textContent = words.trouble(Trouble.record(error));
    element("trouble").hidden = false;
    element("retry").hidden = !again;
    element("retry").onclick = again;
    element("trouble").scrollIntoView({ block: "nearest" });
    return null;
  }
}

async function open(set = null) {
  element("loading").hidden = false;
  element("loading-text").textContent = words.say("loading_bundle");
  element("loading-bar").removeAttribute("value");
  const opened = await attempt(() => thread.ask("open", { set }), () => {
    if (!model) renew(); // what did not load may load now, in another thread
    return open(set);
  });
  if (!opened) {
    if (model) element("set").value = model.set; // which still answers
    return;
  }
  model = opened;
  element("loading").hidden = true;
  element("ready").hidden = false;
  element("untrained").hidden = model.trained;
  const { architecture, experts, build } = model;
  element("facts").textContent =
    words.say(experts ? "facts" : "facts_plain", { architecture, experts, set: model.set, build });
  options(element("set"), model.sets, model.set);
  element("set-row").hidden = model.sets.length < 2;
  const most = [...new Set(model.operating.operating_points.map((one) => one.max_experts))].sort((a, b) => a - b);
  options(element("most"), most, model.operating.default_max_experts);
  element("most-row").hidden = most.length < 2;
  element("setting").hidden = !experts;
  element("tau").value = tau = model.operating.default_tau;
  drawSamples();
  drawCurve();
  document.body.dataset.ready = "true";
  if (looking) await answer();
  else element("class").textContent = words.say("no_answer");
}

function options(select, values, chosen) {
  select.replaceChildren(...values.map((value) => new Option(String(value), String(value), false, value === chosen)));
}

function drawSamples() {
  element("samples").replaceChildren(...model.samples.map(({ sample, file }) => {
    const button = document.createElement("button");
    button.ariaLabel = words.say("sample", { sample });
    button.dataset.sample = sample;
    const image = new Image(64, 64);
    image.src = `bundle/${addressOf(file)}`;
    image.alt = "";
    button.append(image);
    button.onclick = () => look({ sample }, words.say("image_sample", { sample }));
    return button;
  }));
  element("samples-title").hidden = !model.samples.length;
}

function drawCurve() {
  const most = Number(element("most").value);
  const points = model.operating.operating_points
    .filter((one) => one.max_experts === most)
    .sort((a, b) => a.tau - b.tau);
  const svg = element("curve");
  svg.hidden = points.length < 2;
  curve = points.length < 2 ? null : new Curve(svg, points, words);
  const macs = (one) => words.number(one.mean_macs / 1e6, 2);
  const accuracies = points.map((one) => one.accuracy);
  const known = curve && accuracies.every((one) => one !== null);
  const percent = (value) => words.percent(value, 1);
  if (curve)
    svg.setAttribute("aria-label", words.say(known ? "curve" : "curve_costs", {
      first: macs(points[0]),
      last: macs(points.at(-1)),
      high: known ? percent(accuracies[0]) : "",
      low: known ? percent(accuracies.at(-1)) : "",
    }));
  moved();
}

/** The finger moved. */
function moved() {
  element("tau-value").textContent = words.number(tau, 3);
  if (!curve) return;
  const point = curve.at(tau);
  element("point").textContent = words.say(point.accuracy === null ? "point_costs" : "point", {
    tau: words.number(point.tau, point.tau * 100 % 1 ? 3 : 2),
    samples: words.number(point.samples, 0),
    exit: words.percent(point.exit_rate),
    macs: words.number(point.mean_macs / 1e6, 2),
    accuracy: point.accuracy === null ? "" : words.percent(point.accuracy, 1),
  });
}

/** Take an image, {blob} or {sample}, and answer for it. */
async function look(source, name) {
  const mine = ++looks;
  const size = await attempt(() => thread.ask("look", source));
  if (!size || mine !== looks) return;
  looking = true;
  element("image").ariaLabel = name ?? words.say("image_own", size);
  const shown = preview(source, () => mine === looks).catch(() => {}); // without its picture an answer is one, too
  await Promise.all([shown, answer()]);
}

async function preview({ blob, sample }, isNewest) {
  const canvas = element("image");
  let source = blob;
  if (!blob) {
    source = element("samples").querySelector(`[data-sample="${CSS.escape(sample)}"] img`);
    await source.decode(); // it may still be on its way
  }
  const picture = await createImageBitmap(source);
  if (!isNewest()) return picture.close();
  const scale = PREVIEW / Math.max(picture.width, picture.height);
  [canvas.width, canvas.height] = [picture.width * scale, picture.height * scale].map((side) => Math.max(1, Math.round(side)));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
}

/** Answer at the setting of the moment; while the engine is busy, only the newest of several wishes waits. */
function answer() {
  const mine = ++wanted;
  turn = turn.then(async () => {
    if (mine !== wanted || !looking) return;
    const setting = { tau, maxExperts: Number(element("most").value) };
    const found = await attempt(() => thread.ask("answer", setting), answer);
    if (!found) return;
    const asked = found.experts.length;
    const way = asked
      ? words.say(asked > 1 ? "asked_several" : "asked_one", { experts: found.experts.join(", ") })
      : words.say(model.experts ? "exited" : "no_experts");
    showAnswer(found, found.waitedMs ? `${way} ${words.say("fetched")}` : way);
    element("time").textContent = words.say("time_value", { value: words.number(found.ms, found.ms < 10 ? 2 : 1) });
    document.body.dataset.answered = String(mine);
  });
  return turn;
}

function showAnswer({ index, probability, classes, experts, macs }, way) {
  const named = (y) => model.labels[y];
  element("class").textContent = words.say("class", { label: named(index), percent: words.percent(probability) });
  element("way").textContent = way;
  const base = model.macs.base;
  const value = words.number(macs / 1e6, 2);
  element("macs").textContent = experts.length
    ? words.say("macs_more", { value, times: words.number(macs / base, 2) })
    : words.say("macs_value", { value });
  element("classes").tBodies[0].replaceChildren(...classes.map((one) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = named(one.index);
    const bar = document.createElement("meter");
    bar.value = one.probability;
    bar.ariaHidden = "true";
    row.append(head, cell(bar), cell(words.percent(one.probability, 1)));
    return row;
  }));
}

function cell(content) {
  const found = document.createElement("td");
  found.append(content);
  return found;
}

/** Begin a thread, which begins to load; what goes wrong is told by `open`. */
function renew() {
  thread?.end();
  thread = new Thread(heard);
  thread.ask("describe").catch(() => {});
}

async function main() {
  renew();
  words = await loadWords();
  label(document, words);
  document.title = words.say("title");
  for (const id of ["file", "camera"])
    element(id).addEventListener("change", ({ target }) => {
      if (target.files.length) look({ blob: target.files[0] });
      target.value = ""; // the same file again is another wish
    });
  element("tau").addEventListener("input", ({ target }) => {
    tau = Number(target.value);
    moved();
    answer();
  });
  element("most").addEventListener("change", () => { drawCurve(); answer(); });
  element("set").addEventListener("change", ({ target }) => open(target.value));
  let width = 0; // the curve is drawn for one
  new ResizeObserver(([{ contentRect }]) => {
    if (model && contentRect.width !== width) drawCurve();
    width = contentRect.width;
  }).observe(element("point"));
  await open();
}

main().catch((error) => {
  element("loading").hidden = true;
  element("trouble").hidden = false;
  element("retry").hidden = true;
  element("trouble-text").textContent = words ? words.trouble(Trouble.record(error)) : String(error.message);
});
