package edgemoe.core

import java.nio.FloatBuffer

/** What executes artifacts of one backend: a native library behind the little that is needed of it. */
interface Engine {
    /** As manifests name it: "litert", "onnx". */
    val backend: String

    /** Name and version of the library, for reports. */
    val version: String

    /**
     * Load a part on so many [threads], at least 1.
     *
     * Throws [BackendError]: the library refuses the bytes. An [OutOfMemoryError] is let through.
     */
    fun open(source: PartSource, threads: Int): OpenPart
}

/** What a part is opened from: bytes that were compared with their hash. */
class PartSource(val name: String, val bytes: ByteArray, val spec: PartSpec, val file: PartArtifact)

/** One part, loaded and ready. Not thread-safe: one thread at a time. */
interface OpenPart : AutoCloseable {
    /**
     * Run the part on its one input, floats in the order of its spec's shape (channels last).
     *
     * @return name in the spec -> floats in the order of its shape. They are the part's own, until it runs again or is
     *   closed; to read them, use absolute places, for nobody resets their position.
     *
     * Throws [BackendError]: the library failed.
     */
    fun run(input: FloatBuffer): Map<String, FloatBuffer>

    /** Release the native memory. The part cannot be used again. */
    override fun close()
}

/** A copy of an output. */
internal fun Map<String, FloatBuffer>.copied(name: String): FloatArray {
    val from = output(name)
    return FloatArray(from.limit()) { from.get(it) }
}

internal fun Map<String, FloatBuffer>.output(name: String) =
    this[name] ?: throw BackendError("the artifact has no output $name; it has ${keys.sorted().joinToString()}")

/** What a set may need of the machine it runs on. [features]: by their names in /proc/cpuinfo. */
data class Processor(val features: Set<String>) {
    companion object {
        /** Read them from what /proc/cpuinfo says: "flags" on x86, "Features" on Arm; of several cores what all have. */
        fun parse(cpuinfo: String) = Processor(
            cpuinfo.lineSequence()
                .filter { it.substringBefore(':').trim() in listOf("flags", "Features") }
                .map { it.substringAfter(':').split(' ').filter(String::isNotBlank).toSet() }
                .reduceOrNull(Set<String>::intersect) ?: emptySet(),
        )
    }
}

/** In words what a machine lacks to run a set; null: it can run there, as far as can be known. */
fun unmet(set: ArtifactSet, engines: Map<String, Engine>, processor: Processor): String? {
    if (set.backend !in engines) return "it needs the backend ${set.backend}, which is not here"
    set.runsOn.npu?.let { return "it needs the NPU $it, which is not here" }
    val lacking = set.runsOn.processor - processor.features
    if (lacking.isNotEmpty()) return "it needs a processor with ${lacking.joinToString()}, which this one has not"
    val odd = set.parts.filterValues { it.inputs.size != 1 }.keys
    if (odd.isNotEmpty()) return "its ${odd.joinToString()} should have one input"
    val turned = set.parts.filterValues { part -> (part.inputs + part.outputs).any { it.layout == Layout.NCHW } }.keys
    return if (turned.isEmpty()) null else "its ${turned.joinToString()} want channels first, which is not done here"
}

/**
 * Return the first set of a bundle that can run here, or the one called [wanted].
 *
 * Throws [UsageError]: there is none of that name. [BackendError]: it, or none, can run here; says why.
 */
fun pick(manifest: Manifest, engines: Map<String, Engine>, processor: Processor, wanted: String? = null): ArtifactSet {
    val candidates = if (wanted == null) manifest.sets else listOf(manifest.find(wanted))
    return candidates.find { unmet(it, engines, processor) == null }
        ?: throw BackendError(
            candidates.joinToString("; ") {
                "${it.key} cannot run here: ${unmet(it, engines, processor)}"
            },
        )
}
