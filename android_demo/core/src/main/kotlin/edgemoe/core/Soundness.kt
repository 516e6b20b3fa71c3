package edgemoe.core

private const val LARGEST = 8192 // pixels a side
private const val LONGEST_PATH = 255 // characters

/** What the types of a manifest alone cannot rule out: null where it is sound, else in words what is wrong. */
internal fun inconsistency(manifest: Manifest): String? = with(manifest) {
    // Counted first: the names of a number of experts that nothing else bears out are not made.
    if (parts.size != partCount(experts) || parts.keys.toList() != partNames(experts)) {
        return "its parts should be those of $experts experts, in order"
    }
    if (sets.isEmpty()) return "it has no artifacts"
    if (labels.isEmpty()) return "it has no labels"
    wrongWidth(this)?.let { return it }
    wrongImage(this)?.let { return it }
    resizeProblem(preprocessing)?.let { return "its images would be resized to less than the crop: $it" }
    if (!preprocessing.std.all { it > 0 }) return "its preprocessing divides by a std that is not above 0"
    if (sets.distinctBy { it.key }.size < sets.size) return "two of its sets have the same name"
    for (set in sets) ofSet(this, set)?.let { return "${set.key} $it" }
    return files.find { leaves(it.file) }?.let { "the path '${it.file}' leaves the bundle" }
}

private fun partCount(experts: Int) = if (experts == 0) 1 else experts + 2

/** Which part's logits are not [1, Y], those of the gate [1, K]. One too many would put answers under other names. */
private fun wrongWidth(manifest: Manifest): String? {
    for ((name, spec) in manifest.parts) {
        val width = if (name == "gate") manifest.experts else manifest.labels.size
        val found = spec.outputs.find { it.name == "logits" }?.shape
        if (found != listOf(1, width)) return "$name gives logits $found, expected ${listOf(1, width)}"
    }
    return null
}

/** Where images would be another size than the base takes, or a huge one: room is made for them before it is asked. */
private fun wrongImage(manifest: Manifest): String? {
    val (image, resize) = manifest.preprocessing.let { it.imageSize to it.resize }
    if (maxOf(image.height, image.width) > LARGEST || maxOf(resize.height, resize.width) > 8 * LARGEST) {
        return "its images are larger than $LARGEST pixels a side, or than ${8 * LARGEST} before the crop"
    }
    val taken = manifest.parts.getValue("base").inputs.map { it.shape }
    val expected = listOf(1, image.height, image.width, 3)
    return if (taken == listOf(expected)) null else "its images are $expected, but the base takes $taken"
}

/** Why a picture, of whatever proportions, cannot be cropped once it was resized; null where it can. */
internal fun resizeProblem(spec: Preprocessing): String? {
    val (height, width) = spec.imageSize
    val small = with(spec.resize) {
        if (single) {
            this.height < maxOf(height, width)
        } else {
            this.height < height ||
                this.width < width
        }
    }
    return if (small) "resize is ${text(spec.resize)}, image_size ${text(spec.imageSize)}" else null
}

private fun text(size: StoredSize) = if (size.single) "${size.height}" else "${size.height} x ${size.width}"

private fun ofSet(manifest: Manifest, set: ArtifactSet): String? {
    if (set.parts.keys != manifest.parts.keys) return "should have an artifact for each of ${manifest.parts.keys}"
    if (!set.parts.keys.containsAll(set.madeFrom.keys)) return "says what parts were made from that it does not have"
    for ((name, part) in set.parts) {
        val spec = manifest.parts.getValue(name)
        unlike("inputs of $name", part.inputs, spec.inputs, set.runsOn.npu)?.let { return it }
        unlike("outputs of $name", part.outputs, spec.outputs, set.runsOn.npu)?.let { return it }
    }
    val samples = set.golden.samples
    if (samples.distinctBy { it.role }.size < samples.size) return "has two golden samples of the same role"
    for (sample in samples) {
        if (sample.maxExperts > manifest.experts) return "has a max_experts above the number of experts"
        if (manifest.experts > 0 && sample.maxExperts == 0) return "has a max_experts of 0, as a plain network"
        if (sample.label >= manifest.labels.size) return "has a golden label that does not exist"
        if (sample.experts.any { it >= manifest.experts }) return "has a golden expert that does not exist"
    }
    return null
}

/** A graph for an NPU may have integers at its ends, of which it is known what they mean: whoever runs it rounds. */
private fun unlike(what: String, here: List<PartTensor>, there: List<TensorSpec>, npu: String?): String? {
    if (here.map { it.name }.sorted() != there.map { it.name }.sorted()) {
        return "has $what that are not ${there.joinToString { it.name }}"
    }
    val byName = there.associateBy { it.name }
    for (one in here) {
        val shape = byName.getValue(one.name).shape
        val turned = one.layout in listOf(Layout.NCHW, Layout.NHWC_IN_NCHW) && shape.size == 4
        val expected = if (turned) listOf(shape[0], shape[3], shape[1], shape[2]) else shape
        if (one.shape != expected) return "has ${one.name} among the $what as ${one.shape}, expected $expected"
        val rounded = npu != null && one.dtype in listOf("int8", "uint8", "int16") && one.scale != null
        if (one.dtype != "float32" && !rounded) return "has ${one.name} among the $what in ${one.dtype}, expected float32"
    }
    return null
}

/** Whether a path is not one inside of the bundle, on any system. */
internal fun leaves(path: String) =
    path.length > LONGEST_PATH || path.startsWith("/") || path.any { it in "\\:\u0000" } || ".." in path.split("/")
