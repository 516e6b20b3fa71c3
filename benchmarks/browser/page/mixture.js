// One answer: which parts run for an input, in which order, and what follows. edge_moe/runtime.py in another language.
//
// Axis letters: K experts, Y classes.

import { activeExperts, combine, ensemble, exitsBeforeGate, largestIndex, softmax } from "./rule.js";
import { Trouble } from "./trouble.js";

/** The name of the part that is expert k: expert_00, expert_01, ... */
export const expertName = (k) => `expert_${String(k).padStart(2, "0")}`;

/** The names of the parts of a mixture of K experts; a plain network is its base. */
export const partNames = (experts) =>
  ["base", ...(experts ? ["gate"] : []), ...Array.from({ length: experts }, (_, k) => expertName(k))];

/**
 * Answer for one input tensor.
 *
 * @param manifest of the bundle
 * @param parts    (name) -> an open part, or a promise of one: an expert may have to be fetched first
 * @param input    what the base reads, as `part.input` makes it
 * @param setting  {tau, maxExperts}
 * @param onBase   told the base's answer, which stands until an expert that is not here yet has been fetched
 * @returns {index, probability, scores [Y], experts: ascending, gateRan, macs}
 */
export async function predict(manifest, parts, input, { tau, maxExperts }, onBase = () => {}) {
  const macs = (name) => manifest.parts[name].macs;
  const base = await parts("base");
  const outputs = await base.run(input);
  try {
    const logits = outputs.values("logits");
    const phi = softmax(logits);
    const index = largestIndex(logits);
    if (Number.isNaN(phi[index])) throw new Trouble("not_a_number");
    const exit = { index, probability: phi[index], scores: phi, experts: [], gateRan: false, macs: macs("base") };
    if (!manifest.experts || exitsBeforeGate(phi[index], tau)) return exit;

    const told = await (await parts("gate")).run(outputs.tensor("embedding"));
    const gate = softmax(told.values("logits"));
    told.free();
    exit.gateRan = true;
    exit.macs += macs("gate");
    const experts = activeExperts(gate, phi[index], tau, maxExperts);
    if (!experts.length) return exit;

    const members = new Map();
    let spent = exit.macs;
    for (const k of experts) {
      let expert = parts(expertName(k));
      if (expert instanceof Promise) {
        onBase({ ...exit, asked: experts });
        expert = await expert;
      }
      const answer = await expert.run(outputs.tensor("features"));
      members.set(k, ensemble(logits, answer.values("logits"), manifest.ensemble, manifest.space));
      answer.free();
      spent += macs(expertName(k));
    }
    const scores = combine(gate, members);
    const best = largestIndex(scores);
    const sum = scores.reduce((total, value) => total + value, 0);
    return { index: best, probability: scores[best] / sum, scores, experts, gateRan: true, macs: spent };
  } finally {
    outputs.free();
  }
}
