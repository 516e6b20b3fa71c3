package edgemoe.core

/** Nanoseconds since some moment; a test has its own. */
fun interface Clock {
    fun nanos(): Long
}

/** What a sweep needs of where it runs. */
class Here(
    /** backend -> what executes it. */
    val engines: Map<String, Engine>,
    val processor: Processor,
    val decoder: ImageDecoder,
    /** As docs/targets.md has them: the target's name, how to call its figures, the machine and what is known of it. */
    val target: String,
    val how: String,
    val machine: Map<String, Any>,
    val facts: () -> Map<String, Any?> = { emptyMap() },
    val clock: Clock = Clock(System::nanoTime),
)
