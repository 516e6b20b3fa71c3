package edgemoe.core

/** Of the manifest that this reads. */
const val SCHEMA_VERSION = 3L

// More than any bundle has; what claims more is made to harm, or is none.
private val SIDE = 1..65_536
private const val MOST_FLOATS = 1L shl 28
private const val MOST_EXPERTS = 10_000
private const val LONGEST_PATH = 1_000
private val COUNT = 0..Long.MAX_VALUE
private val INDEX = 0..Int.MAX_VALUE
private val DIGEST = Regex("[0-9a-f]{64}")

private val ENSEMBLES = mapOf("bagging" to Ensemble.BAGGING, "expert" to Ensemble.EXPERT)
private val SPACES = mapOf("logit" to Space.LOGIT, "probability" to Space.PROBABILITY)
private val KINDS = mapOf("base" to PartKind.BASE, "gate" to PartKind.GATE, "expert" to PartKind.EXPERT)
private val LAYOUTS = mapOf("NHWC" to Layout.NHWC, "NCHW" to Layout.NCHW, "NHWC_in_NCHW" to Layout.NHWC_IN_NCHW)
private val DTYPES = listOf("float32", "float16", "int8", "uint8", "int16", "int32").associateWith { it }
private val RULES = listOf("changed", "lost", "drop").associateWith { it }
private val INTERPOLATIONS = Interpolation.entries.associateBy { it.name.lowercase() }

/**
 * Return the manifest that the bytes of a file called [name] hold.
 *
 * Throws [BundleError]: they are no manifest, or one of another schema version, or one that cannot be true.
 */
fun parseManifest(data: ByteArray, name: String): Manifest {
    val manifest = readRecord(data, name, "manifest", SCHEMA_VERSION) { manifest() }
    inconsistency(manifest)?.let { throw BundleError("$name is not a manifest: $it; convert the checkpoint again") }
    return manifest
}

/** Read a file of JSON whose version is looked at first, for with another one nothing else needs to be as expected. */
internal fun <T> readRecord(data: ByteArray, name: String, what: String, version: Long, read: Fields.() -> T): T {
    try {
        val raw = parseJson(data)
        val found = (raw as? Map<*, *>)?.get("schema_version")
        if (found != version) {
            throw BundleError("$name has schema version $found; this app reads $version: update it, or convert again")
        }
        return Node(raw).record {
            this["schema_version"].long(version..version)
            read()
        }
    } catch (error: Malformed) {
        throw BundleError("$name is no $what: ${error.message}; copy or convert the bundle again")
    }
}

private fun Fields.manifest() = Manifest(
    architecture = this["architecture"].text,
    trained = this["trained"].boolean,
    labels = this["labels"].items.map { it.text },
    preprocessing = this["preprocessing"].record { preprocessing() },
    experts = this["experts"].int(0..MOST_EXPERTS),
    ensemble = this["ensemble"].oneOf(ENSEMBLES),
    space = this["space"].oneOf(SPACES),
    parts = this["parts"].entries.mapValues { (_, one) -> one.record { partSpec() } },
    sets = this["sets"].items.map { it.record { artifactSet() } },
    golden = this["golden"].record { goldenInputs() },
    tools = this["tools"].entries.mapValues { (_, one) -> one.text },
    network = optional("network")?.orNull { record { artifact() } },
)

internal fun Fields.preprocessing() = Preprocessing(
    imageSize = this["image_size"].size(),
    resize = this["resize"].size(),
    mean = this["mean"].colours(),
    std = this["std"].colours(),
    interpolation = optional("interpolation")?.oneOf(INTERPOLATIONS) ?: Interpolation.BILINEAR,
).also { optional("layout")?.oneOf(mapOf("NHWC" to Layout.NHWC)) }

private fun Node.size(): StoredSize {
    if (!isList) return int(SIDE).let { StoredSize(it, it, single = true) }
    val sides = items.map { it.int(SIDE) }
    return if (sides.size == 2) StoredSize(sides[0], sides[1], single = false) else refuse("height and width")
}

private fun Node.colours() = items.map { it.number }.also { if (it.size != 3) refuse("numbers of R, G, B") }

private fun Node.shape(): List<Int> {
    val sides = items.map { it.int(1..Int.MAX_VALUE) }
    var count = 1L
    for (side in sides) {
        count *= side // of two numbers below 2^31
        if (count > MOST_FLOATS) refuse("a tensor of at most $MOST_FLOATS numbers")
    }
    return sides
}

private fun Node.digest() = text.takeIf { DIGEST.matches(it) } ?: refuse("64 hexadecimal digits")

private fun Fields.partSpec() = PartSpec(
    kind = this["kind"].oneOf(KINDS),
    macs = this["macs"].long(COUNT),
    parameters = this["parameters"].long(COUNT),
    inputs = this["inputs"].items.map { it.record { tensorSpec() } },
    outputs = this["outputs"].items.map { it.record { tensorSpec() } },
)

private fun Fields.tensorSpec() = TensorSpec(this["name"].text, this["shape"].shape())
    .also { optional("dtype")?.oneOf(mapOf("float32" to Unit)) }

private fun Fields.artifact() =
    Artifact(this["file"].text(LONGEST_PATH), this["sha256"].digest(), this["bytes"].long(COUNT))

private fun Fields.partArtifact() = PartArtifact(
    artifact = artifact(),
    inputs = this["inputs"].items.map { it.record { partTensor() } },
    outputs = this["outputs"].items.map { it.record { partTensor() } },
)

private fun Fields.partTensor() = PartTensor(
    name = this["name"].text,
    tensor = this["tensor"].orNull { text },
    shape = this["shape"].shape(),
    layout = this["layout"].orNull { oneOf(LAYOUTS) },
    dtype = this["dtype"].oneOf(DTYPES),
    scale = this["scale"].orNull { number },
    zeroPoint = this["zero_point"].orNull { long(Long.MIN_VALUE..Long.MAX_VALUE) },
)

private fun Fields.artifactSet() = ArtifactSet(
    backend = this["backend"].text,
    recipe = this["recipe"].record {
        this["settings"].entries // whatever is in it: how the set was made, and nothing to run it by
        this["name"].text
    },
    runsOn = this["runs_on"].record {
        RunsOn(
            processor = optional("processor")?.items?.map { it.text } ?: emptyList(),
            npu = optional("npu")?.orNull { text },
        )
    },
    parts = this["parts"].entries.mapValues { (_, one) -> one.record { partArtifact() } },
    madeFrom = this["made_from"].entries.mapValues { (_, one) -> one.digest() },
    golden = this["golden"].record { golden() },
)

private fun Fields.golden() = Golden(
    file = this["file"].record { artifact() },
    tolerance = this["tolerance"].number,
    partTolerances = this["part_tolerances"].entries.mapValues { (_, one) -> one.number },
    samples = this["samples"].items.map { it.record { goldenSample() } },
).also { this["missing"].items.forEach { it.text } }

private fun Fields.goldenSample() = GoldenSample(
    role = this["role"].text,
    input = this["input"].text,
    tau = this["tau"].fraction(),
    maxExperts = this["max_experts"].int(INDEX),
    label = this["label"].int(INDEX),
    exited = this["exited"].boolean,
    experts = this["experts"].items.map { it.int(INDEX) },
).also { this["unlike_base"].orNull { oneOf(mapOf("label" to Unit, "probabilities" to Unit)) } }

private fun Fields.goldenInputs() = GoldenInputs(
    tensors = this["tensors"].record { artifact() },
    images = this["images"].entries.mapValues { (_, one) -> one.record { artifact() } },
    vectors = this["vectors"].record { artifact() },
)

/** What operating.json has of it. */
internal fun Fields.setOperating() = SetOperating(
    digest = this["digest"].digest(),
    defaultTau = this["default_tau"].fraction(),
    defaultMaxExperts = this["default_max_experts"].int(INDEX),
    operatingPoints = this["operating_points"].items.map { it.record { operatingPoint() } },
    certificate = optional("certificate")?.orNull { record { certificate() } },
)

private fun Fields.operatingPoint() = OperatingPoint(
    tau = this["tau"].fraction(),
    maxExperts = this["max_experts"].int(INDEX),
    samples = this["samples"].long(1..Long.MAX_VALUE),
    exitRate = this["exit_rate"].fraction(),
    meanMacs = this["mean_macs"].number,
    accuracy = this["accuracy"].orNull { fraction() },
    accuracyLow = this["accuracy_low"].orNull { fraction() },
    accuracyHigh = this["accuracy_high"].orNull { fraction() },
)

private fun Fields.certificate() = Certificate(
    rule = this["rule"].oneOf(RULES),
    tau = this["tau"].fraction(),
    maxExperts = this["max_experts"].int(1..Int.MAX_VALUE),
    n = this["n"].long(1..Long.MAX_VALUE),
    losses = this["losses"].long(COUNT),
    epsilon = this["epsilon"].fraction(),
    delta = this["delta"].fraction(),
    m = this["m"].int(1..Int.MAX_VALUE),
    images = this["images"].digest(),
    bundle = this["bundle"].digest(),
    gained = optional("gained")?.orNull { long(COUNT) },
    groups = optional("groups")?.orNull { long(1..Long.MAX_VALUE) },
    choseRecipe = optional("chose_recipe")?.long(COUNT) ?: 0,
)
