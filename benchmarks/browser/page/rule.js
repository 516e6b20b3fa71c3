// The exit rule and the ensemble: edge_moe/anytime.py in another language, held to it by golden vectors.
//
// Royer et al., "Revisiting Single-gated Mixtures of Experts", BMVC 2022 (arXiv 2304.05497): anytime inference.
//
// Axis letters: K experts, Y classes. Logits z of the base [Y], z_k of expert k [Y], those of the gate [K].
//
//     phi     = softmax(z)                                  g = softmax(the gate's logits)
//     alpha_k = g_k * (1 - max phi)                         what expert k stands to change
//     active  = the maxExperts largest g_k among those with alpha_k >= tau; of equals the lower index goes first
//     exit    = none is active: the answer is phi
//     else    = sum over active k of g_k * d_k              d_k = ensemble of base and expert k

/** [n] logits -> [n] probabilities that sum to 1. */
export function softmax(logits) {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const exponentials = Float64Array.from(logits, (value) => Math.exp(value - largest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** The index of the largest value; of equals the lowest. NaN is never the largest. */
export function largestIndex(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Whether a sample exits whatever the gate says: g_k <= 1, hence alpha_k <= 1 - max phi. */
export const exitsBeforeGate = (maxPhi, tau) => 1 - maxPhi < tau;

/** [K] g and max phi -> the experts that run, ascending; none: the sample exits. */
export function activeExperts(gate, maxPhi, tau, maxExperts) {
  const order = Array.from(gate, (_, k) => k).sort((a, b) => gate[b] - gate[a] || a - b);
  const active = order.slice(0, maxExperts).filter((k) => gate[k] * (1 - maxPhi) >= tau);
  return active.sort((a, b) => a - b);
}

/** [Y] logits of the base and of one expert -> [Y] d_k, a distribution. */
export function ensemble(baseLogits, expertLogits, kind, space) {
  if (kind === "expert") return softmax(expertLogits);
  if (space === "logit") return softmax(baseLogits.map((value, y) => Math.fround(value + expertLogits[y])));
  const [base, expert] = [softmax(baseLogits), softmax(expertLogits)];
  return base.map((value, y) => (value + expert[y]) / 2);
}

/** [K] g, Map k -> [Y] d_k of the active -> [Y] scores, the sum of g_k * d_k: not divided by the sum of the g_k. */
export function combine(gate, members) {
  const [first] = members.values();
  const scores = new Float64Array(first.length);
  for (const [k, member] of members) member.forEach((value, y) => { scores[y] += gate[k] * value; });
  return scores;
}
