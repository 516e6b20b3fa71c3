package edgemoe.core

import edgemoe.jvm.ImageIoDecoder
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import java.nio.file.Files
import java.util.Base64
import kotlin.math.abs

/** docs/vectors.json: what every port of the runtime is held against, written by edge_moe/ports.py. */
class VectorsTest {
    private val vectors = Node(parseJson(Files.readAllBytes(VECTORS))).entries

    @TestFactory
    fun manifests(): List<DynamicTest> {
        val sound = (parseJson(Files.readAllBytes(VECTORS)) as Map<*, *>)["manifest"]
        return vectors.getValue("manifests").items.map { it.entries }.map { case ->
            dynamicTest(case.getValue("name").text) {
                val raw = case["value"].let {
                    changed(sound, case.getValue("at").items, it!!, case.getValue("removed").boolean)
                }
                val data = toJson(raw).toByteArray()
                if (case.getValue("sound").boolean) {
                    parseManifest(data, "it")
                } else {
                    assertThrows<BundleError> {
                        parseManifest(data, "it")
                    }
                }
            }
        }
    }

    @TestFactory
    fun images(): List<DynamicTest> = vectors.getValue("images").items.map { it.entries }.map { case ->
        val name = case.getValue("name").text
        dynamicTest(name) {
            fun bytes(field: String) = Base64.getDecoder().decode(case.getValue(field).text)
            val spec = case.getValue("spec").record { preprocessing() }
            if (name == "WebP") { // which a JVM does not read: refused, and no crash
                assertThrows<DataError> { ImageIoDecoder.decode(bytes("image")) }
            } else {
                val found = resizeCrop(ImageIoDecoder.decode(bytes("image")), spec)
                val expected = bytes("pixels")
                assertEquals(spec.imageSize.height to spec.imageSize.width, found.height to found.width)
                val off = expected.indices.maxOf {
                    abs((found.rgb[it].toInt() and 0xff) - (expected[it].toInt() and 0xff))
                }
                assertTrue(off <= case.getValue("within").int(0..255), "$off grey levels")
            }
        }
    }

    @TestFactory
    fun rule(): List<DynamicTest> = vectors.getValue("rule").items.flatMap { file ->
        val of = file.entries
        val kind = Ensemble.valueOf(of.getValue("ensemble").text.uppercase())
        val space = Space.valueOf(of.getValue("space").text.uppercase())
        val tolerance = of.getValue("tolerance").number
        of.getValue("vectors").items.map { it.entries }.map { vector ->
            dynamicTest("$kind $space of ${of.getValue("experts").number}: ${vector.getValue("name").text}") {
                fun floats(node: Node) = node.items.map { it.number.toFloat() }.toFloatArray()
                val base = floats(vector.getValue("base_logits"))
                val experts = vector.getValue("expert_logits").entries.map { (k, one) ->
                    k.toInt() to floats(one)
                }.toMap()
                val (tau, most) = vector.getValue("tau").number to vector.getValue("max_experts").int(0..9)
                val phi = softmax(base)
                val maxPhi = phi[largestIndex(base)]
                val gate = floats(vector.getValue("gate_logits"))
                val ran = gate.isNotEmpty() && !exitsBeforeGate(maxPhi, tau)
                val g = softmax(gate)
                val active = if (ran) activeExperts(g, maxPhi, tau, most) else emptyList()
                val members = active.associateWith { ensemble(base, experts.getValue(it), kind, space) }
                val scores = if (active.isEmpty()) phi else combine(g, members)
                assertEquals(vector.getValue("gate_ran").boolean, ran)
                assertEquals(vector.getValue("experts").items.map { it.int(0..9) }, active)
                assertEquals(vector.getValue("label").int(0..9), largestIndex(if (active.isEmpty()) base else scores))
                assertTrue(relativeError(scores, floats(vector.getValue("scores"))) <= tolerance)
            }
        }
    }

    /** The manifest with the value at a place replaced, or removed; an index behind a list's last adds to it. */
    private fun changed(value: Any?, at: List<Node>, new: Node, removed: Boolean): Any? {
        if (at.isEmpty()) return new.raw
        val rest = at.drop(1)
        if (value is List<*>) {
            val place = at.first().int(0..value.size)
            return value.toMutableList().apply {
                if (removed && rest.isEmpty()) {
                    removeAt(place)
                } else if (place == size) {
                    add(new.raw)
                } else {
                    set(place, changed(value[place], rest, new, removed))
                }
            }
        }
        val key = at.first().text
        val map = (value as Map<*, *>).toMutableMap()
        if (removed && rest.isEmpty()) map.remove(key) else map[key] = changed(value[key], rest, new, removed)
        return map
    }
}
