package edgemoe.core

import kotlin.math.roundToLong

/*
 * Predictions without a pause, window by window: what a phone does once it is warm. benchmarks/sustained.py in another
 * language.
 */

private const val WINDOW_S = 10.0
private const val NANOS_A_SECOND = 1e9

/** When each window of so many seconds ends; a last one of less than half is left out, unless there is no other. */
internal fun windowEnds(seconds: Double): List<Double> {
    val whole = (seconds / WINDOW_S).toInt()
    val ends = List(whole) { WINDOW_S * (it + 1) }
    return if (ends.isNotEmpty() && seconds - WINDOW_S * whole < WINDOW_S / 2) ends else ends + seconds
}

/**
 * Call [predict] with 0, 1, 2, ... for so many [seconds] -> what it cost in milliseconds, window by window; null where
 * [stop] said so. A prediction belongs to the window in which it begins. [facts] are asked for at each window's end.
 */
internal fun windows(
    seconds: Double,
    clock: Clock,
    facts: () -> Map<String, Any?>,
    stop: () -> Boolean,
    predict: (Int) -> Unit,
): List<Map<String, Any>>? {
    val found = mutableListOf<Map<String, Any>>()
    val begun = clock.nanos()
    fun since() = (clock.nanos() - begun) / NANOS_A_SECOND
    var (start, next) = 0.0 to 0
    for (end in windowEnds(seconds)) {
        val raw = mutableListOf<Double>()
        while (true) {
            if (stop()) return null
            val at = since()
            if (at >= end) break
            predict(next++)
            raw += 1000 * (since() - at)
        }
        if (raw.isNotEmpty()) {
            val (at, median) = rounded(start, 1e3) to rounded(median(raw), 1e4)
            found += mapOf("start_s" to at, "median" to median, "count" to raw.size, "facts" to facts())
        }
        start = end
    }
    return found
}

private fun median(values: List<Double>): Double {
    val sorted = values.sorted()
    return (sorted[(sorted.size - 1) / 2] + sorted[sorted.size / 2]) / 2
}

private fun rounded(value: Double, parts: Double) = (value * parts).roundToLong() / parts
