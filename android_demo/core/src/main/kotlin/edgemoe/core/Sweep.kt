package edgemoe.core

import java.nio.FloatBuffer
import java.util.Random

private const val WARM_UP = 3 // images
private const val UNSEEN_IMAGES = 10
private const val NANOS_A_MS = 1e6

/** Somebody wants it to end. */
private class Stopped : Exception()

/**
 * A job at work: rounds of everything once, in an order drawn anew, as the host measures them
 * (benchmarks/targets/host). docs/targets.md has the format.
 *
 * Throws [BackendError]: a set cannot run here; [BundleError], [OutOfMemoryError]: a part cannot be opened.
 *
 * Axis letters: T timed images, K experts.
 */
class Sweep(private val job: Job, private val here: Here) : AutoCloseable {
    private val plan = job.plan
    private val experts = job.bundle.manifest.experts
    private val runtimes = mutableListOf<Runtime>()
    private var stop: () -> Boolean = { false }

    init {
        try {
            for (planned in plan.sets) {
                val set = pick(job.bundle.manifest, here.engines, here.processor, planned.set)
                val runtime = Runtime(job.bundle, set, here.engines.getValue(set.backend), plan.threads)
                runtimes += runtime
                for (k in 0 until experts) runtime.load(k) // now, not inside the first prediction that needs it
            }
        } catch (error: Throwable) {
            close()
            throw error
        }
    }

    /** The first line. */
    val opening: String = toJson(
        mapOf(
            "schema_version" to SCHEMA_VERSION,
            "target" to here.target,
            "units" to listOf(mapOf("name" to "ms", "words" to "milliseconds", "seconds" to 0.001)),
            "machine" to here.machine,
            "versions" to runtimes.associate { it.set.key to here.engines.getValue(it.set.backend).version },
            "how" to here.how,
            "facts" to here.facts(),
        ),
    )

    /** Answer the rounds that are not there yet; return whether all are: not where [stop] said so. */
    fun answer(rounds: RoundsFile, stop: () -> Boolean = { false }, onRound: (Int) -> Unit = {}): Boolean {
        while (rounds.done < plan.rounds) {
            rounds.append(round(rounds.done, stop) ?: return false)
            onRound(rounds.done)
        }
        return true
    }

    /** Measure everything once -> one line; null where [stop] said so before it was whole. */
    fun round(number: Int, stop: () -> Boolean = { false }): String? {
        this.stop = stop
        val found = plan.sets.map { SetRound(it.settings.size) }
        val steps = mutableMapOf<String, Any>()
        val remarks = mutableListOf<String>()
        val blocks = mutableListOf<() -> Unit>({ preprocessing(steps, remarks) })
        for ((i, planned) in plan.sets.withIndex()) {
            blocks += { parts(runtimes[i], planned, found[i].parts) }
            blocks += { waking(runtimes[i], found[i].waking) }
            for ((j, setting) in planned.settings.withIndex()) {
                blocks += { found[i].points[j] = point(runtimes[i], setting) }
            }
        }
        blocks.shuffle(Random(plan.seed * 1_000_003 + number)) // the same order on every machine
        try {
            for (block in blocks) block()
        } catch (_: Stopped) {
            return null
        }
        val seen = mapOf("remarks" to remarks, "facts" to here.facts()).filterValues { it != emptyList<String>() }
        return toJson(mapOf("sets" to found.map(SetRound::line), "steps" to steps, "seen" to seen))
    }

    /** Run each set that the plan has a setting for without a pause -> one line; null where [stop] said so. */
    fun sustained(stop: () -> Boolean = { false }): String? {
        val found = mutableListOf<Map<String, Any>>()
        for ((planned, runtime) in plan.sets.zip(runtimes)) {
            val setting = planned.sustained ?: continue
            runtime.set(setting)
            val windows = windows(plan.sustainedSeconds.toDouble(), here.clock, here.facts, stop) {
                answer(runtime, job.input(it % plan.images.size))
            } ?: return null
            val (tau, most) = setting
            val at = mapOf("tau" to tau, "max_experts" to most)
            found += mapOf("set" to planned.set, "setting" to at, "windows" to windows)
        }
        return toJson(found)
    }

    /** Each part among the parts that it runs among, as if every other image exited. */
    private fun parts(runtime: Runtime, planned: PlannedSet, into: MutableMap<String, MutableList<Double>>) {
        val ranked = planned.order.map { row -> row.take(planned.settings.maxOf { it.maxExperts }).sorted() }
        val unseen = (0 until experts) - ranked.flatten().toSet() // timed as well, on a few images more
        val turns = ranked.withIndex().toMutableList()
        if (unseen.isNotEmpty()) for (t in ranked.indices.take(UNSEEN_IMAGES)) turns += IndexedValue(t, unseen)
        for ((counts, turn) in warmed(turns)) {
            val (t, ks) = turn
            lateinit var outputs: Map<String, FloatBuffer>
            fun time(part: String, input: FloatBuffer): Map<String, FloatBuffer> {
                val start = here.clock.nanos()
                val result = runtime.run(part, input)
                result.copied("logits")
                val ms = since(start)
                if (counts) into.getOrPut(part) { mutableListOf() } += ms
                return result
            }
            repeat(2) { outputs = time("base", job.input(t)) }
            if (experts > 0) time("gate", outputs.output("embedding"))
            for (k in ks) time(expertName(k), outputs.output("features"))
        }
    }

    /** Whole predictions at one setting, and what ran for each. */
    private fun point(runtime: Runtime, setting: Setting): Map<String, Any> {
        runtime.set(setting)
        val (times, ran) = mutableListOf<Double>() to mutableListOf<List<Int>?>()
        for ((counts, t) in warmed(plan.images.indices.toList())) {
            val start = here.clock.nanos()
            val answer = answer(runtime, job.input(t))
            val ms = since(start)
            if (!counts) continue
            times += ms
            ran += answer.experts.takeIf { answer.gateRan }
        }
        return mapOf("costs" to costs(times), "ran" to ran)
    }

    /** What it takes until each part could run: read, checked, opened. Files are in the system's cache. */
    private fun waking(runtime: Runtime, into: MutableMap<String, Any>) {
        for (part in partNames(experts)) {
            if (stop()) throw Stopped()
            val start = here.clock.nanos()
            val opened = runtime.open(part)
            into[part] = costs(listOf(since(start)))
            opened.close()
        }
    }

    /** From the image file to the input tensor. */
    private fun preprocessing(steps: MutableMap<String, Any>, remarks: MutableList<String>) {
        val times = mutableListOf<Double>()
        for ((counts, t) in warmed(plan.images.indices.toList())) {
            try {
                val start = here.clock.nanos()
                prepare(job.image(t), job.bundle.manifest.preprocessing, here.decoder)
                if (counts) times += since(start)
            } catch (_: DataError) { // Python reads formats that a phone does not
                remarks += "preparing images is not measured: ${plan.images[t]} cannot be decoded here"
                return
            }
        }
        steps["preprocessing"] = costs(times)
    }

    /** All turns, after some of them to warm up -> whether it counts, and the turn. */
    private fun <T> warmed(turns: List<T>) = (turns.take(WARM_UP).map { false to it } + turns.map { true to it })
        .asSequence().onEach { if (stop()) throw Stopped() }

    private fun Runtime.set(setting: Setting) {
        tau = setting.tau
        maxExperts = setting.maxExperts
    }

    private fun answer(runtime: Runtime, input: FloatBuffer): Prediction {
        val found = runtime.predict(input)
        val what = "${runtime.set.key}: experts ${found.asked} did not answer"
        if (found.withheld != null) throw BackendError("$what: ${found.withheld} ${found.problem}")
        return found
    }

    private fun since(start: Long) = (here.clock.nanos() - start) / NANOS_A_MS

    override fun close() = runtimes.forEach(Runtime::close)
}
