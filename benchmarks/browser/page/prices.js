// What parts of several sets cost, in turns, before any of them is in a bundle: `edge-moe convert --for browser`.

import { Clock } from "./timing.js";

/**
 * @param task {rounds, parts: [{set, part, artifact: {url, file, bytes, sha256}, spec}], inputs: part -> [N] floats}
 * @param read (artifact) -> its bytes
 * @returns set -> part -> round -> one for each input, in milliseconds; a part that the library refuses takes its set along
 */
export async function pricesOf(litert, { rounds, parts, inputs }, read, onDone) {
  const opened = [];
  const refused = new Set();
  for (const one of parts) {
    try {
      opened.push({ ...one, ready: await litert.open(await read(one.artifact), one.spec) });
    } catch (error) {
      if (error.code !== "refused") throw error;
      refused.add(one.set);
    }
  }
  const able = opened.filter((one) => !refused.has(one.set));
  const found = {};
  const clock = new Clock();
  for (let number = 0; number < rounds; number++) {
    for (const { set, part, ready } of number % 2 ? [...able].reverse() : able) {
      const times = [];
      for (const floats of inputs[part]) {
        const tensor = ready.input(floats);
        times.push(await clock.ms(`${set} ${part}`, () => ready.once(tensor)));
        tensor.delete();
      }
      ((found[set] ??= {})[part] ??= []).push(times);
    }
    onDone(number + 1, rounds);
  }
  for (const { ready } of opened) ready.close();
  return found;
}
