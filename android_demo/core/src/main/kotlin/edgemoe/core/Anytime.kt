package edgemoe.core

import kotlin.math.abs
import kotlin.math.exp

/*
 * The exit rule and the ensemble: edge_moe/anytime.py in another language, held to it by golden vectors.
 *
 * Royer et al., "Revisiting Single-gated Mixtures of Experts", BMVC 2022 (arXiv 2304.05497): anytime inference.
 *
 * Axis letters: K experts, Y classes. With phi = base probabilities [Y] and g = gate probabilities [K]:
 *
 *     alpha_k = g_k * (1 - max_y phi_y)
 *     active  = the maxExperts largest alpha_k among those with alpha_k >= tau
 *     exit    = no expert is active: the answer is phi
 *     else    = sum over active k of g_k * d_k,   d_k = ensemble of the base and expert k
 *
 * All in single precision, as Python has it, but tau is compared in double.
 */

/** What of base and expert makes d_k. */
enum class Ensemble { BAGGING, EXPERT }

/** Where base and expert are brought together. */
enum class Space { LOGIT, PROBABILITY }

/** Return [tau]; throw [UsageError] unless it is a number from 0 to 1 (NaN is not). */
fun checkTau(tau: Double): Double {
    if (tau in 0.0..1.0) return tau
    throw UsageError("tau is $tau; expected a number from 0 (never exit) to 1 (always exit)")
}

/** Return [maxExperts]; throw [UsageError] unless it is from 1 to K = [experts]; of a plain network, K = 0, it is 0. */
fun checkMaxExperts(maxExperts: Int, experts: Int): Int {
    if (maxExperts in minOf(1, experts)..experts) return maxExperts
    val expected = if (experts == 0) "0: a plain network has no experts" else "a number from 1 to $experts"
    throw UsageError("max_experts is $maxExperts; expected $expected")
}

// Logits up to here are not shifted: exp neither overflows nor vanishes. As in Python, so that the last bits agree.
private const val SAFE = 40f

/** [Y] logits -> [Y] probabilities that sum to 1. */
fun softmax(logits: FloatArray): FloatArray {
    val largest = if (logits.isEmpty()) 0f else logits[largestIndex(logits)]
    val shift = if (abs(largest) <= SAFE) 0f else largest
    val result = FloatArray(logits.size) { exp((logits[it] - shift).toDouble()).toFloat() }
    val sum = result.sumOf { it.toDouble() }.toFloat()
    for (i in result.indices) result[i] /= sum
    return result
}

/** The index of the largest value, of equals the lowest; the first NaN where there is one. */
fun largestIndex(values: FloatArray): Int {
    var best = 0
    for (i in values.indices) {
        if (values[i].isNaN()) return i
        if (values[i] > values[best]) best = i
    }
    return best
}

/** Whether a sample exits whatever the gate says, so that it need not run: g_k <= 1, hence alpha_k <= 1 - max phi. */
fun exitsBeforeGate(maxPhi: Float, tau: Double): Boolean = (1f - maxPhi).toDouble() < tau

/**
 * [K] g and the base's largest probability -> the experts that run, ascending; none: the sample exits.
 *
 * The order is that of g and not of alpha, for where the base is sure every alpha is 0; of equals the lower index goes
 * first.
 */
fun activeExperts(gate: FloatArray, maxPhi: Float, tau: Double, maxExperts: Int): List<Int> {
    val doubt = 1f - maxPhi
    return gate.indices
        .sortedByDescending { gate[it] } // stable
        .take(maxExperts)
        .filter { (gate[it] * doubt).toDouble() >= tau }
        .sorted()
}

/** [Y] logits of the base and of one expert -> [Y] d_k, a distribution. */
fun ensemble(baseLogits: FloatArray, expertLogits: FloatArray, kind: Ensemble, space: Space): FloatArray {
    if (kind == Ensemble.EXPERT) return softmax(expertLogits)
    if (space == Space.LOGIT) return softmax(sum(baseLogits, expertLogits))
    val total = sum(softmax(baseLogits), softmax(expertLogits))
    return FloatArray(total.size) { total[it] / 2 }
}

/** [K] g, k -> [Y] d_k of the active -> [Y] scores, the sum of g_k * d_k: not divided by the sum of the g_k. */
fun combine(gate: FloatArray, members: Map<Int, FloatArray>): FloatArray {
    val scores = FloatArray(members.values.first().size)
    for ((k, member) in members) for (y in scores.indices) scores[y] += gate[k] * member[y]
    return scores
}

private fun sum(a: FloatArray, b: FloatArray) = FloatArray(a.size) { a[it] + b[it] }
