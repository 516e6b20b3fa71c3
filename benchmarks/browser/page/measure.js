// The page that measures: does what a desk asks for, again and again, until it is closed.

import { thisBrowser } from "./browser.js";
import { Desk } from "./desk.js";
import { Thread } from "./thread.js";
import { Trouble } from "./trouble.js";
import { label, loadWords } from "./words.js";

const PAUSE_MS = 250;
const BUSY_MS = 20; // the pause right after a task, which another one follows as a rule
const BUSY_FOR_MS = 2000;
const ALIVE_MS = 1000;
const LATE_MS = 2 * ALIVE_MS; // a page that is throttled, or a machine that slept, comes later than that
const MOST_DISCARDED = 20;
const TURN_MS = 5000; // after which a page that has to wait asks whether the other one is still there

const status = document.getElementById("status");
const bar = document.getElementById("bar");
const takeOver = document.getElementById("take-over");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let words;
let progress = { done: 0, of: 0 };
let disturbed = 0; // how often the page was not in front, or was held up
let openJob; // the folder that the engine has open
document.addEventListener("visibilitychange", () => { disturbed += document.hidden ? 1 : 0; });

const thread = new Thread((event) => {
  if (event.of) show(event.loading ? "loading" : "working", event.bytes ?? event.done ?? event.row, event.of);
});

function show(text, done = 0, of = 0, values = {}) {
  status.textContent = words.say(text, values);
  progress = { done, of };
  bar.hidden = !of;
  bar.max = of || 1;
  bar.value = done;
}

/** Do one task -> the body of its answer. */
async function work(desk, task) {
  if (task.job && task.job !== openJob) {
    await thread.ask("job", { url: new URL(task.job, document.baseURI).href });
    openJob = task.job;
  }
  if (task.kind === "job") return "";
  if (task.kind === "round") return JSON.stringify(await round(task));
  const flat = await desk.inputs(task.task);
  if (task.kind === "outputs") return new Blob(await thread.ask("outputs", { ...task, inputs: flat }));
  if (task.kind === "prices") return JSON.stringify(await thread.ask("prices", { ...task, inputs: rows(task, flat) }));
  throw new Trouble("unexpected", { what: `a task of the kind ${task.kind}: update the page` });
}

/** One round in which the page was in front, and not held up, all the time: one that was not is thrown away. */
async function round(task) {
  for (let tries = 0; tries < MOST_DISCARDED; tries++) {
    while (document.hidden) {
      show("hidden");
      await sleep(PAUSE_MS);
    }
    const before = disturbed;
    const found = await thread.ask("round", task);
    if (task.cold)
      for (const [i, start] of (await thread.ask("starts")).entries()) found.sets[i].cold_start_ms = await coldStart(start);
    if (disturbed === before) return { ...found, seen: { ...found.seen, facts: { "discarded before": tries } } };
    show("discarded");
  }
  throw new Trouble("always_hidden");
}

/** From before another thread is started until its first answer, in milliseconds. */
async function coldStart(what) {
  const start = performance.now();
  const cold = new Thread();
  try {
    await cold.ask("cold", what);
    return performance.now() - start;
  } finally {
    cold.end();
  }
}

/** [N, ...] floats of several parts, one after the other -> part -> N arrays. */
function rows({ inputs, parts }, flat) {
  let place = 0;
  return Object.fromEntries(Object.entries(inputs).map(([name, [count]]) => {
    const { shape } = parts.find(({ part }) => part === name).spec.inputs[0];
    const size = shape.reduce((product, side) => product * side, 1);
    return [name, Array.from({ length: count }, () => flat.slice(place, (place += size)))];
  }));
}

async function main() {
  words = await loadWords();
  label(document, words);
  const desk = new Desk();
  show("starting");
  const { build, timerMs } = await thread.ask("describe");
  const { name, userAgent: user_agent, system, cores } = thisBrowser();
  const who = { name, user_agent, system, cores, timer_ms: timerMs, isolated: self.crossOriginIsolated, build };
  document.getElementById("facts").textContent =
    words.say("measure_facts", { name, system, cores, build, timer: words.number(timerMs, 3) });
  let beat = performance.now();
  setInterval(() => {
    const now = performance.now();
    disturbed += now - beat > ALIVE_MS + LATE_MS ? 1 : 0;
    beat = now;
    desk.alive(!document.hidden, progress.done, progress.of).catch(() => {});
  }, ALIVE_MS);
  let instead = false;
  let last = -Infinity; // when a task was done
  const pause = () => sleep(performance.now() - last < BUSY_FOR_MS ? BUSY_MS : PAUSE_MS);
  for (let greeted = false; ; await pause()) {
    try {
      if (!greeted) await desk.hello(who, instead);
      [greeted, instead] = [true, false];
      takeOver.hidden = true;
      const task = await desk.task();
      if (!task) {
        if (progress.of || status.dataset.state !== "idle") show("idle");
        status.dataset.state = "idle";
        continue;
      }
      status.dataset.state = "working";
      let body;
      try {
        body = await work(desk, task);
      } catch (error) {
        openJob = null;
        await desk.failed(task.task, Trouble.record(error));
        continue;
      }
      await desk.answer(task.task, body);
      last = performance.now();
    } catch (error) {
      const { code, values } = Trouble.record(error);
      if (code !== "unknown_page") {
        status.dataset.state = code;
        show(`trouble_${code}`, 0, 0, values);
      }
      if (code === "replaced" || code === "busy") instead = await asked(takeOver, TURN_MS);
      greeted = false;
      openJob = null;
    }
  }
}

/** Show a button for some time -> whether the reader pressed it. */
async function asked(button, ms) {
  button.hidden = false;
  const pressed = new Promise((resolve) => { button.onclick = () => resolve(true); });
  const found = await Promise.race([pressed, sleep(ms)]);
  button.hidden = found === true;
  return found === true;
}

main().catch((error) => {
  const record = Trouble.record(error);
  status.dataset.state = record.code;
  status.textContent = words ? words.trouble(record) : String(error.message);
});
