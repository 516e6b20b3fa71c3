package edgemoe.core

/**
 * The experts that are in memory: loaded on first use, the least recently used goes first.
 *
 * @param sizes [K] what each expert counts for, in bytes: the size of its artifact
 * @param budget how much the loaded experts may count for together, in bytes; null is no limit
 * @param load index -> the expert, opened
 */
internal class ExpertCache(
    private val sizes: List<Long>,
    private val budget: Long?,
    private val load: (Int) -> OpenPart,
) : AutoCloseable {
    private val parts = LinkedHashMap<Int, OpenPart>(16, 0.75f, true) // in the order of use

    init {
        val largest = sizes.maxOrNull() ?: 0 // a plain network has none
        if (budget != null && budget < largest) {
            throw UsageError("the budget of $budget bytes does not admit the largest expert, which has $largest bytes")
        }
    }

    /** The loaded experts, ascending. */
    val loaded get() = parts.keys.sorted()

    operator fun contains(k: Int) = k in parts

    /** Return expert [k]; load it, after making room for it, where it is not in memory. */
    operator fun get(k: Int): OpenPart = parts[k] ?: opened(k).also { parts[k] = it }

    private fun opened(k: Int): OpenPart {
        makeRoom(sizes[k])
        return try {
            load(k)
        } catch (error: OutOfMemoryError) {
            if (parts.isEmpty()) throw error
            close() // what others hold may be enough
            load(k)
        }
    }

    private fun makeRoom(size: Long) {
        if (budget == null) return
        var used = parts.keys.sumOf { sizes[it] }
        val oldest = parts.entries.iterator()
        while (used + size > budget) {
            val (k, part) = oldest.next()
            used -= sizes[k]
            oldest.remove()
            part.close()
        }
    }

    /** Release every expert; they may be loaded again. */
    override fun close() {
        val open = parts.values.toList()
        parts.clear()
        open.forEach(OpenPart::close)
    }
}
