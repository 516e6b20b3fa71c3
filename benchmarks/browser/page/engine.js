// What the worker does for a page: opens a bundle, answers for an image, and measures for a desk.

import { openBundle, setName } from "./bundle.js";
import { fetchBytes, fetchChecked } from "./bytes.js";
import { loadLiteRt } from "./litert.js";
import { predict } from "./mixture.js";
import { decode, normalize, prepare, resizeCrop } from "./preprocess.js";
import { pricesOf } from "./prices.js";
import { Rounds } from "./rounds.js";
import { PartShelf } from "./shelf.js";
import { secondsOf, timerStep } from "./timing.js";
import { Trouble } from "./trouble.js";

const ROOT = new URL("../", import.meta.url);
const BACKEND = "litert";
const MOST_SITE_BYTES = 1 << 20;
const SHOWN = 3; // classes beside each other
const ENOUGH_MS = 30; // of calls, for a time that is shown

export class Engine {
  #site;
  #litert;
  #bundle;
  #shelf;
  #floats; // of the image at hand
  #rounds;

  /** `tell` is told of progress. */
  constructor(tell) {
    this.tell = tell;
  }

  async #read() {
    this.#site ??= JSON.parse(new TextDecoder().decode(await fetchBytes(new URL("site.json", ROOT), MOST_SITE_BYTES)));
    return this.#site;
  }

  async #start() {
    if (this.#litert) return;
    const { library } = await this.#read();
    this.#litert = await loadLiteRt(new URL("library/", ROOT), library, (bytes, of) =>
      this.tell({ loading: "library", bytes, of }));
  }

  /** Open the bundle, and of it one set; `set` null: the first that runs in a browser. */
  async open({ set: wanted = null } = {}) {
    const { schemas } = await this.#read();
    const opening = this.#bundle ?? openBundle(new URL("bundle/", ROOT), schemas);
    [this.#bundle] = await Promise.all([opening, this.#start()]);
    const { manifest, operating } = this.#bundle;
    const names = manifest.sets.map(setName);
    const able = manifest.sets.filter(runsHere).map(setName);
    if (!able.length) throw new Trouble("no_set", { sets: names.join(", ") });
    const name = wanted ?? able[0];
    if (!names.includes(name)) throw new Trouble("no_such_set", { set: name, sets: able.join(", ") });
    if (!able.includes(name)) throw new Trouble("unsupported_set", { set: name, sets: able.join(", ") });
    const set = manifest.sets.find((one) => setName(one) === name);
    const shelf = new PartShelf(this.#litert, this.#bundle, set, (part, bytes, of) =>
      this.tell({ loading: part, bytes, of }));
    try {
      for (const part of ["base", ...(manifest.experts ? ["gate"] : [])]) await shelf.part(part);
    } catch (error) {
      shelf.close(); // what was open before still answers
      throw error;
    }
    this.#shelf?.close();
    this.#shelf = shelf;
    return {
      set: name,
      sets: able,
      architecture: manifest.architecture,
      trained: manifest.trained,
      labels: manifest.labels,
      experts: manifest.experts,
      macs: Object.fromEntries(Object.entries(manifest.parts).map(([part, { macs }]) => [part, macs])),
      operating: operating[name],
      samples: Object.entries(manifest.golden.images).map(([sample, { file }]) => ({ sample, file })),
      build: this.#litert.build,
      timerMs: timerStep(),
    };
  }

  /** Let an image be the one that is answered for: {blob}, or {sample}, a name of the bundle's own. */
  async look({ blob, sample }) {
    const { manifest, read } = this.#bundle;
    const file = blob ?? new Blob([await read(manifest.golden.images[sample])]);
    const image = await decode(file);
    this.#floats = normalize(resizeCrop(image, manifest.preprocessing), manifest.preprocessing);
    return { width: image.width, height: image.height };
  }

  /** Let a tensor be what is answered for. */
  feed({ floats }) {
    this.#floats = floats;
  }

  /** Answer for the image at hand at one setting; `timed`: and say how long that takes, the mean of several times. */
  async answer({ tau, maxExperts, timed = true }) {
    const { manifest } = this.#bundle;
    const base = await this.#shelf.part("base");
    const input = base.input(this.#floats);
    const setting = { tau, maxExperts };
    try {
      this.#shelf.waited = 0;
      const found = await predict(manifest, this.#shelf.part, input, setting, (exit) =>
        this.tell({ base: this.#shown(exit), asked: exit.asked }));
      const waitedMs = this.#shelf.waited;
      const run = () => predict(manifest, this.#shelf.part, input, setting);
      const ms = timed ? await secondsOf(run, ENOUGH_MS) * 1000 : null;
      return { ...this.#shown(found), ms, waitedMs };
    } finally {
      input.delete();
    }
  }

  #shown({ index, probability, scores, experts, gateRan, macs }) {
    const sum = scores.reduce((total, value) => total + value, 0);
    const order = Array.from(scores, (_, y) => y).sort((a, b) => scores[b] - scores[a] || a - b);
    if (order[0] !== index) order.unshift(order.splice(order.indexOf(index), 1)[0]);
    const classes = order.slice(0, SHOWN).map((y) => ({ index: y, probability: scores[y] / sum }));
    return { index, probability, classes, scores: [...scores], experts, gateRan, macs };
  }

  /** What a file becomes: its pixels after the resize, or the tensor. For whoever checks this page. */
  async prepared({ blob, spec, pixels }) {
    return pixels ? resizeCrop(await decode(blob), spec) : prepare(blob, spec);
  }

  /** What a desk is told of this engine. */
  async describe() {
    await this.#start();
    return { build: this.#litert.build, timerMs: timerStep(), heapBytes: this.#litert.heapBytes() };
  }

  /** Open what a job measures: its folder's URL. */
  async job({ url }) {
    await this.#start();
    this.#rounds?.close();
    this.#rounds = null; // if what follows fails
    this.#rounds = await Rounds.open(url, this.#litert, this.#site.schemas);
  }

  /** Measure round `number` of that job. */
  async round({ number }) {
    return this.#rounds.round(number, (done, of) => this.tell({ round: number, done, of }));
  }

  /** What `cold` is to be given, for each set of the job. */
  starts() {
    return this.#rounds.starts;
  }

  /** Answer one input by a set of a bundle, at its defaults: what a cold start ends with. */
  async cold({ root, set, floats }) {
    const { schemas } = await this.#read();
    const [{ manifest, operating, read }] = await Promise.all([openBundle(root, schemas), this.#start()]);
    const shelf = new PartShelf(this.#litert, { manifest, read }, manifest.sets.find((one) => setName(one) === set));
    for (const part of ["base", ...(manifest.experts ? ["gate"] : [])]) await shelf.part(part);
    const { default_tau: tau, default_max_experts: maxExperts } = operating[set];
    await predict(manifest, shelf.part, shelf.part("base").input(floats), { tau, maxExperts });
  }

  /** Run one part on inputs one after the other: [N, ...] floats -> the outputs that are asked for, one after the other. */
  async outputs({ artifact, url, spec, inputs, names }) {
    await this.#start();
    const part = await this.#litert.open(await fetchChecked(new URL(url, ROOT), artifact), spec);
    try {
      const size = spec.inputs[0].shape.reduce((product, side) => product * side, 1);
      const rows = Object.fromEntries(names.map((name) => [name, []]));
      for (let start = 0; start < inputs.length; start += size) {
        const input = part.input(inputs.subarray(start, start + size));
        const found = await part.run(input);
        for (const name of names) rows[name].push(found.values(name));
        found.free();
        input.delete();
        this.tell({ row: start / size + 1, of: inputs.length / size });
      }
      return names.flatMap((name) => rows[name]);
    } finally {
      part.close();
    }
  }

  /** What parts of several sets cost, in turns. */
  async prices(task) {
    await this.#start();
    const read = (artifact) => fetchChecked(new URL(artifact.url, ROOT), artifact);
    return pricesOf(this.#litert, task, read, (done, of) => this.tell({ done, of }));
  }

  heapBytes() {
    return this.#litert.heapBytes();
  }
}

/** Whether a set needs nothing but its backend. */
export const runsHere = ({ backend, runs_on: needs }) => backend === BACKEND && !needs.npu && !needs.processor.length;

