// A job at work in a browser: rounds of everything once, in an order drawn anew, as the host measures them
// (benchmarks/targets/host). docs/targets.md has the format.
//
// Axis letters: T timed images, K experts.

import { openBundle, setName } from "./bundle.js";
import { fetchBytes } from "./bytes.js";
import { expertName, partNames, predict } from "./mixture.js";
import { readFloats } from "./npy.js";
import { prepare } from "./preprocess.js";
import { PartShelf } from "./shelf.js";
import { Clock, probeMs, random, shuffle } from "./timing.js";

const MOST_PLAN_BYTES = 64 << 20;
const MOST_INPUT_BYTES = 1 << 30;
const MOST_IMAGE_BYTES = 256 << 20;
const UNSEEN_IMAGES = 10;
const WARM_UP = 3; // images
const round = (value) => Math.round(value * 1e4) / 1e4; // a tenth of a microsecond
const costs = (values) => ({ ms: values.map(round) });

export class Rounds {
  /** Open a job: its folder's URL. */
  static async open(url, litert, schemas) {
    const rounds = new Rounds();
    const json = async (file) => JSON.parse(new TextDecoder().decode(await fetchBytes(new URL(file, url), MOST_PLAN_BYTES)));
    rounds.plan = await json("plan.json");
    rounds.root = new URL(`${rounds.plan.bundle}/`, url).href; // of the bundle
    rounds.bundle = await openBundle(rounds.root, schemas);
    rounds.manifest = rounds.bundle.manifest;
    rounds.floats = readFloats(await fetchBytes(new URL(rounds.plan.inputs, url), MOST_INPUT_BYTES));
    rounds.litert = litert;
    rounds.clock = new Clock();
    rounds.shelves = rounds.plan.sets.map(({ set: name }) =>
      new PartShelf(litert, rounds.bundle, rounds.manifest.sets.find((one) => setName(one) === name)));
    try {
      for (const shelf of rounds.shelves)
        for (const part of partNames(rounds.manifest.experts)) await shelf.part(part);
      rounds.images = [];
      for (const image of rounds.plan.images)
        rounds.images.push(new Blob([await fetchBytes(new URL(image, url), MOST_IMAGE_BYTES)]));
    } catch (error) {
      rounds.close();
      throw error;
    }
    return rounds;
  }

  close() {
    for (const shelf of this.shelves) shelf.close();
  }

  /** What a cold start needs of the job, for each set: where the bundle is, and the first input. */
  get starts() {
    const floats = this.floats.slice(0, this.floats.length / this.plan.images.length);
    return this.plan.sets.map(({ set }) => ({ root: this.root, set, floats }));
  }

  /** Measure everything once; `onDone` is told how many of its steps are done. */
  async round(number, onDone) {
    const sets = this.plan.sets.map(() => ({ parts: {}, points: [], waking: {} }));
    const steps = {};
    const remarks = [];
    const blocks = [() => this.#preprocessing(steps, remarks)];
    this.plan.sets.forEach((planned, i) => {
      blocks.push(() => this.#parts(planned, this.shelves[i], sets[i].parts));
      blocks.push(() => this.#waking(this.shelves[i], sets[i].waking));
      planned.settings.forEach((setting, j) =>
        blocks.push(async () => { sets[i].points[j] = await this.#point(i, setting); }));
    });
    shuffle(blocks, random(this.plan.seed * 1_000_003 + number));
    const before = probeMs();
    for (const [done, block] of blocks.entries()) {
      await block();
      onDone(done + 1, blocks.length);
    }
    const after = probeMs();
    return { sets, steps, seen: { probe_ms: round((before + after) / 2), remarks } };
  }

  #input(base, t) {
    const size = this.floats.length / this.plan.images.length;
    return base.input(this.floats.subarray(t * size, (t + 1) * size));
  }

  /** Each part among the parts that it runs among, as if every other image exited. */
  async #parts({ settings, order, set }, shelf, into) {
    const most = Math.max(...settings.map((one) => one.max_experts));
    const seen = new Set(order.flatMap((row) => row.slice(0, most)));
    const unseen = Array.from({ length: this.manifest.experts }, (_, k) => k).filter((k) => !seen.has(k));
    const turns = order.map((row, t) => [t, row.slice(0, most).sort((a, b) => a - b)]);
    turns.unshift(...turns.slice(0, WARM_UP));
    if (unseen.length) for (let t = 0; t < Math.min(order.length, UNSEEN_IMAGES); t++) turns.push([t, unseen]);
    const found = {};
    let counts; // once it is warm
    const time = async (name, part, tensor) => {
      const ms = await this.clock.ms(`${set} ${name}`, () => part.once(tensor));
      if (counts) (found[name] ??= []).push(ms);
    };
    for (const [turn, [t, experts]] of turns.entries()) {
      counts = turn >= Math.min(WARM_UP, order.length);
      const base = shelf.part("base");
      const input = this.#input(base, t);
      const outputs = await base.run(input);
      await time("base", base, input);
      await time("base", base, input);
      if (this.manifest.experts) await time("gate", shelf.part("gate"), outputs.tensor("embedding"));
      for (const k of experts) await time(expertName(k), shelf.part(expertName(k)), outputs.tensor("features"));
      outputs.free();
      input.delete();
    }
    for (const name of Object.keys(found).sort()) into[name] = costs(found[name]);
  }

  /** Whole predictions at one setting, and what ran for each. */
  async #point(i, { tau, max_experts: maxExperts }) {
    const shelf = this.shelves[i];
    const [times, ran] = [[], []];
    const images = Array.from(this.plan.images.keys());
    for (const [turn, t] of [...images.slice(0, WARM_UP), ...images].entries()) {
      const input = this.#input(shelf.part("base"), t);
      let answer;
      const run = async () => { answer = await predict(this.manifest, shelf.part, input, { tau, maxExperts }); };
      await run();
      if (turn >= Math.min(WARM_UP, images.length)) {
        times.push(await this.clock.ms(`${this.plan.sets[i].set} ${answer.experts.length} experts`, run));
        ran.push(answer.gateRan ? answer.experts : null);
      }
      input.delete();
    }
    return { costs: costs(times), ran };
  }

  /** What it takes until each part could run: fetched from where the browser keeps it, checked, opened. */
  async #waking(shelf, into) {
    for (const [name, artifact] of Object.entries(shelf.set.parts).sort()) {
      const wake = async () => {
        const part = await this.litert.open(await this.bundle.read(artifact), this.manifest.parts[name]);
        part.close();
      };
      into[name] = costs([await this.clock.ms(`${setName(shelf.set)} waking ${name}`, wake)]);
    }
  }

  async #preprocessing(steps, remarks) {
    const times = [];
    for (const [t, image] of this.images.entries())
      try {
        times.push(await this.clock.ms("preprocessing", () => prepare(image, this.manifest.preprocessing)));
      } catch (error) {
        if (!["undecodable", "too_large"].includes(error.code)) throw error;
        remarks.push(`preparing images is not measured: this browser cannot decode ${this.plan.images[t]}`);
        return; // Python reads formats that browsers do not
      }
    steps.preprocessing = costs(times);
  }
}
