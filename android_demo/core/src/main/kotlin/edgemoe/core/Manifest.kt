package edgemoe.core

/*
 * The records of manifest.json, schema 3: what a bundle holds. docs/bundle.md explains them, ManifestReader.kt reads
 * them, Soundness.kt says what types alone cannot rule out.
 *
 * Axis letters: H W height and width, K experts, Y classes.
 */

/** Pixels: H and W; [single] where the file has one number for both, of the shorter side where it is a resize. */
data class StoredSize(val height: Int, val width: Int, val single: Boolean)

/** How an image becomes the input tensor [1, H, W, 3]. */
data class Preprocessing(
    /** After the centre crop. */
    val imageSize: StoredSize,
    /** Before it: of the shorter side, the other in proportion; or H and W, whatever the proportions were. */
    val resize: StoredSize,
    /** Of R, G, B in 0 to 1. */
    val mean: List<Double>,
    val std: List<Double>,
    val interpolation: Interpolation = Interpolation.BILINEAR,
)

enum class Interpolation { NEAREST, BILINEAR, BICUBIC }

/** An input or an output of a part, whatever the backend: float32, a batch axis of 1, maps with channels last. */
data class TensorSpec(val name: String, val shape: List<Int>) {
    /** How many floats it has. */
    val count get() = shape.fold(1, Int::times)
}

enum class PartKind { BASE, GATE, EXPERT }

/** A part, whatever the backend. */
data class PartSpec(
    val kind: PartKind,
    val macs: Long,
    val parameters: Long,
    val inputs: List<TensorSpec>,
    val outputs: List<TensorSpec>,
)

/** One file of the bundle; its path is relative, with forward slashes. */
data class Artifact(val file: String, val sha256: String, val bytes: Long)

/** NHWC_IN_NCHW: the shape says [1, C, H, W], and the bytes lie as those of [1, H, W, C]. */
enum class Layout { NHWC, NCHW, NHWC_IN_NCHW }

/** An input or an output of an artifact, as the file itself has it. */
data class PartTensor(
    /** What the part calls it: image, features, embedding, logits. */
    val name: String,
    /** The exact name in the file; null: the format has none. */
    val tensor: String?,
    /** In the file's own order of axes. */
    val shape: List<Int>,
    /** Null: no map. */
    val layout: Layout?,
    val dtype: String,
    /** Real = scale * (integer - zeroPoint); null: real numbers. */
    val scale: Double?,
    val zeroPoint: Long?,
)

/** The file of a part, and what that file says of its tensors, in its own order. */
data class PartArtifact(val artifact: Artifact, val inputs: List<PartTensor>, val outputs: List<PartTensor>)

/** What a set cannot do without; all empty: any processor that the backend runs on. */
data class RunsOn(val processor: List<String>, val npu: String?)

/** What the golden samples of all sets share. */
data class GoldenInputs(val tensors: Artifact, val images: Map<String, Artifact>, val vectors: Artifact)

/** What the whole answers for one input at one setting. */
data class GoldenSample(
    val role: String,
    val input: String,
    val tau: Double,
    val maxExperts: Int,
    val label: Int,
    val exited: Boolean,
    val experts: List<Int>,
)

/** The golden samples of a set; tolerances are of the relative L2 error. */
data class Golden(
    val file: Artifact,
    val tolerance: Double,
    val partTolerances: Map<String, Double>,
    val samples: List<GoldenSample>,
)

/** All parts of one model for one backend, made by one recipe. */
data class ArtifactSet(
    val backend: String,
    val recipe: String,
    val runsOn: RunsOn,
    val parts: Map<String, PartArtifact>,
    val madeFrom: Map<String, String>,
    val golden: Golden,
) {
    /** backend/recipe. */
    val key get() = "$backend/$recipe"
}

/** manifest.json. */
data class Manifest(
    val architecture: String,
    /** False: random weights, for latency only. */
    val trained: Boolean,
    /** Y names. */
    val labels: List<String>,
    val preprocessing: Preprocessing,
    /** K; 0: a plain network, whose one part is the base, which gives logits alone. */
    val experts: Int,
    val ensemble: Ensemble,
    val space: Space,
    val parts: Map<String, PartSpec>,
    /** The first is the default. */
    val sets: List<ArtifactSet>,
    val golden: GoldenInputs,
    val tools: Map<String, String>,
    val network: Artifact?,
) {
    /** Every file that the manifest names. */
    val files
        get() = buildList {
            for (set in sets) {
                set.parts.values.mapTo(this) { it.artifact }
                add(set.golden.file)
            }
            add(golden.tensors)
            addAll(golden.images.values)
            add(golden.vectors)
            network?.let(::add)
        }

    /** Return the set called backend/recipe; throw [UsageError] if there is none. */
    fun find(key: String) = sets.find { it.key == key }
        ?: throw UsageError("the bundle has no set $key; it has ${sets.joinToString { it.key }}")
}

/** The name of the part that is expert [k]: expert_00, expert_01, ... */
fun expertName(k: Int) = "expert_${k.toString().padStart(2, '0')}"

/** The names of the parts of a mixture of [experts] experts, in their order; a plain network is its base. */
fun partNames(experts: Int) =
    listOf("base") + (if (experts > 0) listOf("gate") else emptyList()) + List(experts, ::expertName)
