package edgemoe.core

/*
 * operating.json: what may be chosen for a set after it was made. Each set names the digest of all that decides its
 * answers: figures that were measured on other artifacts are refused.
 */

private const val OPERATING_SCHEMA = 1L

/** What one setting does to a set of validation images, measured on the artifacts. */
data class OperatingPoint(
    val tau: Double,
    val maxExperts: Int,
    val samples: Long,
    val exitRate: Double,
    val meanMacs: Double,
    /** Null: the images had no labels. */
    val accuracy: Double?,
    /** 95% Wilson interval. */
    val accuracyLow: Double?,
    val accuracyHigh: Double?,
)

/** What the default tau promises: P(E loss <= epsilon) >= 1 - delta. */
data class Certificate(
    val rule: String,
    /** The setting that it is of. */
    val tau: Double,
    val maxExperts: Int,
    val n: Long,
    val losses: Long,
    val epsilon: Double,
    val delta: Double,
    /** Of so many answers it was chosen from: each was tested at delta / m. */
    val m: Int,
    val images: String,
    val bundle: String,
    /** By "drop": images that are right at this tau alone. */
    val gained: Long?,
    /** Originals of which the images are versions; null: each stands for itself. */
    val groups: Long?,
    /** Of the images, those by which the set's recipe had been chosen. */
    val choseRecipe: Long,
)

/** What one set does where nobody says otherwise, and what it was seen to do. */
data class SetOperating(
    val digest: String,
    val defaultTau: Double,
    val defaultMaxExperts: Int,
    val operatingPoints: List<OperatingPoint>,
    val certificate: Certificate?,
)

/** What operating.json says: backend/recipe -> what it has of the set, the default first. */
class Operating(val sets: Map<String, SetOperating>) {
    /** Return the manifest with the sets in this order: whoever names none takes the first that can run. */
    fun inOrder(manifest: Manifest) =
        manifest.copy(sets = sets.keys.map { key -> manifest.sets.first { it.key == key } })
}

/**
 * Read operating.json.
 *
 * Throws [BundleError]: it is damaged, of another schema, or of other artifacts than the manifest's.
 */
fun parseOperating(data: ByteArray, name: String, manifest: Manifest): Operating {
    val (found, first) = readRecord(data, name, "file of operating points", OPERATING_SCHEMA) {
        this["sets"].entries.mapValues { (_, one) -> one.record { setOperating() } } to
            optional("default_set")?.orNull { text }
    }
    val todo = "copy or convert the bundle again"
    val keys = manifest.sets.map { it.key }
    if (found.keys != keys.toSet()) {
        throw BundleError("$name is of the sets ${found.keys}, but the manifest has $keys; $todo")
    }
    if (first != null && first !in keys) {
        throw BundleError("$name is damaged: its default set is $first, expected one of $keys; $todo")
    }
    val sets = manifest.sets.associate { set ->
        val one = found.getValue(set.key)
        val digest = answersDigest(manifest, set)
        if (one.digest != digest) {
            val (there, here) = listOf(one.digest, digest).map { it.take(12) }
            throw BundleError(
                "$name was made for another ${set.key}: it names the digest $there, the set has $here; $todo",
            )
        }
        val most = one.defaultMaxExperts
        if (most > manifest.experts || (manifest.experts > 0 && most == 0)) {
            throw BundleError("$name is damaged: ${set.key} has max_experts $most of ${manifest.experts}; $todo")
        }
        set.key to one
    }
    return Operating(keys.sortedBy { it != first }.associateWith { sets.getValue(it) })
}
