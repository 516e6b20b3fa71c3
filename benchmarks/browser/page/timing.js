// Timing with a clock that ticks coarsely: batches of calls, long enough that one tick is little of them.

const PART_OF_A_BATCH = 0.01; // that one tick may be

let step;

/** The smallest step of performance.now(), in milliseconds, as it is seen here. */
export function timerStep() {
  if (step) return step;
  const found = [];
  let before = performance.now();
  const end = before + 50;
  while (before < end || !found.length) {
    const now = performance.now();
    if (now > before) found.push(now - before);
    before = now;
  }
  step = Math.min(...found);
  return step;
}

/** How long a batch has to take, in milliseconds. */
export const batchMs = () => timerStep() / PART_OF_A_BATCH;

/** Call `run` in batches that grow from `calls` until one takes `least` milliseconds -> milliseconds a call, and calls. */
async function batch(run, calls, least) {
  for (;;) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) await run();
    const elapsed = performance.now() - start;
    if (elapsed >= least) return { ms: elapsed / calls, calls };
    calls = Math.ceil(calls * Math.min(10, elapsed ? (1.2 * least) / elapsed : 10));
  }
}

/** Call `run` until `least` milliseconds are over -> seconds a call. */
export const secondsOf = async (run, least = batchMs()) => (await batch(run, 1, least)).ms / 1000;

/** Times calls that take about as long each time: what a batch needs is found out once for each name. */
export class Clock {
  #calls = new Map();

  /** Call `run` as often as a batch needs -> milliseconds a call. */
  async ms(name, run) {
    const { ms, calls } = await batch(run, this.#calls.get(name) ?? 1, batchMs());
    this.#calls.set(name, calls);
    return ms;
  }
}

/** The same computation in every round: how long it takes says how steady the machine is. Milliseconds. */
export function probeMs() {
  const start = performance.now();
  let x = 1;
  for (let i = 0; i < 20_000_000; i++) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  const elapsed = performance.now() - start;
  return x === 0 ? NaN : elapsed; // x is used, so that the loop is not left out
}

/** Numbers in [0, 1) that follow from a seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Put a list into an order drawn anew (Fisher and Yates), in place. */
export function shuffle(list, draw) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}
