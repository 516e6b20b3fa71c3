package edgemoe.core

/** What the blocks of a round leave behind of one set. */
internal class SetRound(settings: Int) {
    val parts = mutableMapOf<String, MutableList<Double>>()
    val points = arrayOfNulls<Map<String, Any>>(settings)
    val waking = mutableMapOf<String, Any>()

    fun line() = mapOf(
        "parts" to parts.toSortedMap().mapValues { (_, times) -> costs(times) },
        "points" to points.toList(),
        "waking" to waking,
    )
}

/** A tenth of a microsecond is kept: finer than the clock, and a third of the bytes. */
internal fun costs(ms: List<Double>) = mapOf("ms" to ms.map { Math.round(it * 1e4) / 1e4 })
