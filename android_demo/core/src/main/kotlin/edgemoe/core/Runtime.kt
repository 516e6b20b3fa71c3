package edgemoe.core

import java.nio.FloatBuffer
import java.util.concurrent.atomic.AtomicBoolean

/** Why the base answers where an expert was asked. */
enum class Withheld { NOT_HERE, NO_MEMORY, REFUSED }

/** The answer for one input. [Y] classes. */
class Prediction(
    /** Of the label. */
    val index: Int,
    /** [Y] the sum of g_k * d_k, not normalised; phi where no expert answered. */
    val scores: FloatArray,
    /** That ran, ascending. */
    val experts: List<Int>,
    val gateRan: Boolean,
    /** Multiply-accumulates of the parts that ran. */
    val macs: Long,
    /** The experts that were asked and did not answer: the answer is the base's, and no exit. */
    val asked: List<Int> = emptyList(),
    val withheld: Withheld? = null,
    /** What the system or the library said of that. */
    val problem: String = "",
) {
    /** Whether the base's answer was taken because no expert was asked. */
    val exited get() = experts.isEmpty() && asked.isEmpty()

    /** [Y], for a person: the scores divided by their sum. */
    val probabilities get() = scores.sum().let { sum -> FloatArray(scores.size) { scores[it] / sum } }

    val probability get() = scores[index] / scores.sum()
}

/**
 * A set of a bundle, loaded and ready to answer, with early exit: edge_moe/runtime.py in another language.
 *
 * One call at a time; two at once are refused. The base and the gate are in memory from the start; an expert is loaded
 * when it is first needed. Where an expert fails the base answers, and the answer says so.
 *
 * Axis letters: H W height and width, K experts, Y classes.
 *
 * @param set one that [pick] allows
 * @param expertBudget how many bytes the artifacts of the loaded experts may have together; null is no limit
 */
class Runtime(
    val bundle: Bundle,
    val set: ArtifactSet,
    private val engine: Engine,
    private val threads: Int = 1,
    expertBudget: Long? = null,
) : AutoCloseable {
    val manifest = bundle.manifest
    private val names = List(manifest.experts, ::expertName)
    private val experts = ExpertCache(names.map { artifact(it).bytes }, expertBudget) { open(names[it]) }
    private val base: OpenPart = open("base")
    private val gate: OpenPart? = if (manifest.experts == 0) {
        null
    } else {
        try {
            open("gate")
        } catch (error: Throwable) {
            base.close()
            throw error
        }
    }
    private val busy = AtomicBoolean()
    private var closed = false

    /** The threshold on alpha, in [0, 1]; may be set between calls. */
    var tau: Double = bundle.operating(set).defaultTau
        set(value) {
            field = checkTau(value)
        }

    /** How many experts may run for one input, in [1, K], 0 where K is; may be set between calls. */
    var maxExperts: Int = bundle.operating(set).defaultMaxExperts
        set(value) {
            field = checkMaxExperts(value, manifest.experts)
        }

    /** The experts that are in memory, ascending. */
    val loadedExperts get() = experts.loaded

    /**
     * Answer for one input tensor: float32 [1, H, W, 3].
     *
     * @param onBase told the base's answer, and whom it asks, where an expert has to be loaded first: it stands till then
     *
     * Throws [DataError]: another number of floats, or an answer that is not a number. [IntegrityError]: an expert's
     * file was altered, or is gone. [BackendError]: base or gate failed. [UsageError]: closed, or busy with another call.
     */
    fun predict(input: FloatBuffer, onBase: (Prediction) -> Unit = {}): Prediction = alone {
        checkInput(input)
        val outputs = base.run(input)
        val logits = logits("base", outputs, manifest.labels.size)
        val phi = softmax(logits)
        val index = largestIndex(logits)
        if (phi[index].isNaN()) throw DataError("the base's answer is not a number; how was the input made?")
        var macs = macs("base")
        if (gate == null || exitsBeforeGate(phi[index], tau)) return Prediction(index, phi, emptyList(), false, macs)

        val g = softmax(logits("gate", gate.run(outputs.output("embedding")), manifest.experts))
        macs += macs("gate")
        if (g.any { it.isNaN() }) throw BackendError("the gate's answer is not a number; convert the checkpoint again")
        val active = activeExperts(g, phi[index], tau, maxExperts)
        if (active.isEmpty()) return Prediction(index, phi, active, true, macs)

        fun byBase(why: Withheld?, problem: String = "") =
            Prediction(index, phi, emptyList(), true, macs, active, why, problem)
        if (active.any { it !in experts }) onBase(byBase(null))
        val features = outputs.output("features")
        val found = mutableMapOf<Int, FloatArray>() // their logits
        for (k in active) {
            try {
                if (k !in experts && bundle.isToCome(artifact(names[k]))) return byBase(Withheld.NOT_HERE)
                val one = logits(names[k], experts[k].run(features), manifest.labels.size)
                if (one.any { it.isNaN() }) return byBase(Withheld.REFUSED, "the answer of ${names[k]} is not a number")
                found[k] = one
            } catch (error: OutOfMemoryError) {
                return byBase(Withheld.NO_MEMORY, "${error.message}")
            } catch (error: BackendError) {
                return byBase(Withheld.REFUSED, error.message!!)
            }
        }
        val members = found.mapValues { (_, one) -> ensemble(logits, one, manifest.ensemble, manifest.space) }
        val scores = combine(g, members)
        return Prediction(largestIndex(scores), scores, active, true, macs + active.sumOf { macs(names[it]) })
    }

    /** Run one part by itself; its outputs are its own until it runs again. An expert is loaded if need be. */
    fun run(part: String, input: FloatBuffer): Map<String, FloatBuffer> = alone {
        when (part) {
            "base" -> base
            "gate" -> gate ?: throw UsageError("a plain network has no gate")
            else -> experts[names.indexOf(part).takeIf { it >= 0 } ?: throw UsageError("there is no part $part")]
        }.run(input)
    }

    /** Load an expert now, and not inside of the first prediction that needs it. Throws what opening throws. */
    fun load(k: Int) = alone {
        experts[k]
        Unit
    }

    /** Open a part anew, the caller's to close: the hash is compared, for altered bytes reach no native code. */
    fun open(part: String): OpenPart {
        val file = set.parts.getValue(part)
        return engine.open(PartSource(part, bundle.read(file.artifact), manifest.parts.getValue(part), file), threads)
    }

    private fun logits(part: String, outputs: Map<String, FloatBuffer>, width: Int): FloatArray {
        val found = outputs.copied("logits")
        if (found.size == width) return found
        throw BundleError(
            "${artifact(part).file} gives ${found.size} logits, expected $width; convert the checkpoint again",
        )
    }

    private fun checkInput(input: FloatBuffer) {
        val expected = manifest.parts.getValue("base").inputs.single()
        if (input.limit() == expected.count) return
        throw DataError("the input tensor has ${input.limit()} floats; expected ${expected.shape}")
    }

    private fun artifact(part: String) = set.parts.getValue(part).artifact

    private fun macs(part: String) = manifest.parts.getValue(part).macs

    private inline fun <T> alone(call: () -> T): T {
        if (!busy.compareAndSet(false, true)) throw UsageError("the runtime is busy with another call; one at a time")
        try {
            if (closed) throw UsageError("the runtime is closed; open another one")
            return call()
        } finally {
            busy.set(false)
        }
    }

    /** Release every part. May be called again; nothing else may. */
    override fun close() {
        if (closed) return
        alone {
            closed = true
            base.close()
            gate?.close()
            experts.close()
        }
    }
}
