package edgemoe.core

import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path

/*
 * The job folder that comes from the harness; docs/targets.md has the format.
 *
 *     plan.json    what to measure
 *     bundle/      the bundle; of its files those of the plan's sets are enough
 *     inputs.npy   float32 [T, H, W, 3]: the input tensors of the timed images
 *     images/      the files that they were made of
 *
 * Axis letters: T timed images, K experts.
 */

private const val PLAN = "plan.json"
private const val MOST_PLAN_BYTES = 64L shl 20
private val NUMBER = 0..Int.MAX_VALUE

/** An operating point to measure. */
data class Setting(val tau: Double, val maxExperts: Int)

/** One set of the bundle, and what to do with it. */
data class PlannedSet(
    /** backend/recipe. */
    val set: String,
    val settings: List<Setting>,
    /** [T][K] the experts of each timed image, the gate's first choice first. */
    val order: List<List<Int>>,
    /** At which it runs without a pause; null: it does not. */
    val sustained: Setting?,
)

/** plan.json. */
data class Plan(
    val bundle: String,
    val sets: List<PlannedSet>,
    val inputs: String,
    /** [T] files. */
    val images: List<String>,
    val threads: Int,
    val rounds: Int,
    val coldStarts: Int,
    /** Of the order in which a round takes its turns. */
    val seed: Long,
    val peers: Boolean,
    val sustainedSeconds: Int,
)

/** A job, read and checked. */
class Job(private val folder: Path, val plan: Plan, val bundle: Bundle, private val inputs: Floats) {
    /** Input tensor [t]: float32 [1, H, W, 3]. */
    fun input(t: Int) = inputs[t]

    /** The bytes of image file [t]. */
    fun image(t: Int): ByteArray = try {
        Files.readAllBytes(folder.resolve(plan.images[t]))
    } catch (error: IOException) {
        throw DataError("${plan.images[t]} cannot be read: ${error.message}; copy the job again")
    }
}

/** Read a job. Throws [DataError]: there is none, or one that cannot be; [BundleError]: its bundle cannot be used. */
fun readJob(folder: Path): Job {
    val plan = try {
        val file = folder.resolve(PLAN)
        if (Files.size(file) > MOST_PLAN_BYTES) throw DataError("$PLAN is too large; copy the job again")
        parsePlan(Files.readAllBytes(file))
    } catch (error: IOException) {
        throw DataError("$folder holds no job: ${error.message}; expected $PLAN as 'edge-moe bench' writes it")
    }
    for (path in listOf(plan.bundle, plan.inputs) + plan.images) {
        if (leaves(path)) throw DataError("the path '$path' leaves the job; copy the job again")
    }
    val store = Folder(folder.resolve(plan.bundle))
    val wanted = plan.sets.map { it.set }.toSet()
    // Of the bundle what the plan needs has to be there: other sets are a waste of a phone's room.
    val needed = Bundle(store) { true }.manifest.sets
        .filter { it.key in wanted }.flatMap { set -> set.parts.values.map { it.artifact } }.toSet()
    val bundle = Bundle(store) { it !in needed }
    val inputs = readNpy(folder.resolve(plan.inputs))
    problem(plan, bundle.manifest, inputs.shape)?.let { throw DataError("$PLAN $it; copy the job again") }
    return Job(folder, plan, bundle, inputs)
}

/** Return the plan that the bytes of a file hold; throw [DataError]. */
fun parsePlan(data: ByteArray): Plan = try {
    readRecord(data, PLAN, "plan", SCHEMA_VERSION) { plan() }
} catch (error: BundleError) {
    throw DataError(error.message!!)
}

private fun Fields.plan() = Plan(
    bundle = this["bundle"].text,
    sets = this["sets"].items.map { it.record { plannedSet() } },
    inputs = this["inputs"].text,
    images = this["images"].items.map { it.text },
    threads = this["threads"].int(1..1_000),
    rounds = this["rounds"].int(1..Int.MAX_VALUE),
    coldStarts = this["cold_starts"].int(NUMBER),
    seed = this["seed"].long(0..Long.MAX_VALUE),
    peers = optional("peers")?.boolean ?: false,
    sustainedSeconds = optional("sustained_s")?.int(NUMBER) ?: 0,
)

private fun Fields.plannedSet() = PlannedSet(
    set = this["set"].text,
    settings = this["settings"].items.map { it.record { setting() } },
    order = this["order"].items.map { row -> row.items.map { it.int(NUMBER) } },
    sustained = optional("sustained")?.orNull { record { setting() } },
)

private fun Fields.setting() = Setting(this["tau"].fraction(), this["max_experts"].int(NUMBER))

/** What a plan alone cannot know, in words; null: nothing is wrong. */
private fun problem(plan: Plan, manifest: Manifest, shape: List<Int>): String? {
    val (timed, experts) = plan.images.size to manifest.experts
    val expected =
        manifest.parts.getValue("base").inputs.singleOrNull()?.shape ?: return "is of a base without an image"
    if (timed == 0 || shape != listOf(timed) + expected.drop(1)) return "has $timed images, but inputs $shape"
    if (plan.sets.isEmpty()) return "has no set"
    for (one in plan.sets) {
        if (manifest.sets.none { it.key == one.set }) return "has the set ${one.set}, which the bundle has not"
        if (one.settings.isEmpty()) return "has no setting for ${one.set}"
        if ((one.settings + listOfNotNull(one.sustained)).any { it.maxExperts !in minOf(1, experts)..experts }) {
            return "has a max_experts for ${one.set} that is not from 1 to $experts"
        }
        if (one.order.size != timed || one.order.any { it.sorted() != List(experts) { k -> k } }) {
            return "has not an order of $experts experts for each image of ${one.set}"
        }
    }
    return null
}
