package edgemoe.core

import java.security.MessageDigest

/** The SHA-256 of bytes in lowercase hexadecimal. */
fun sha256(data: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(data).joinToString("") { "%02x".format(it) }

/**
 * One digest over what decides the answers of a set, see edge_moe/digest.py: two sets with the same one answer every
 * image alike. Of canonical JSON, in which a field that has its default is left away.
 */
fun answersDigest(manifest: Manifest, set: ArtifactSet): String {
    val parts = manifest.parts.mapValues { (name, spec) ->
        val part = set.parts.getValue(name)
        mapOf(
            "kind" to spec.kind.name.lowercase(),
            "inputs" to spec.inputs.map(::stated),
            "outputs" to spec.outputs.map(::stated),
            "sha256" to part.artifact.sha256,
            "file" to mapOf("inputs" to part.inputs.map(::stated), "outputs" to part.outputs.map(::stated)),
        )
    }
    val decides = mapOf(
        "labels" to manifest.labels,
        "preprocessing" to stated(manifest.preprocessing),
        "experts" to manifest.experts,
        "ensemble" to manifest.ensemble.name.lowercase(),
        "space" to manifest.space.name.lowercase(),
        "backend" to set.backend,
        "parts" to parts,
    )
    return sha256(toJson(decides, sorted = true).toByteArray())
}

private fun stated(tensor: TensorSpec) = mapOf("name" to tensor.name, "shape" to tensor.shape)

private fun stated(tensor: PartTensor) = mapOf(
    "name" to tensor.name,
    "tensor" to tensor.tensor,
    "shape" to tensor.shape,
    "layout" to tensor.layout?.name?.replace("IN", "in"),
    "dtype" to tensor.dtype,
    "scale" to tensor.scale,
    "zero_point" to tensor.zeroPoint,
)

private fun stated(spec: Preprocessing) = buildMap {
    put("image_size", stated(spec.imageSize))
    put("resize", stated(spec.resize))
    put("mean", spec.mean)
    put("std", spec.std)
    if (spec.interpolation != Interpolation.BILINEAR) put("interpolation", spec.interpolation.name.lowercase())
}

private fun stated(size: StoredSize): Any = if (size.single) size.height else listOf(size.height, size.width)
