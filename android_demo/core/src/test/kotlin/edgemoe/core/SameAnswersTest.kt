package edgemoe.core

import edgemoe.jvm.ImageIoDecoder
import edgemoe.jvm.OrtEngine
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.condition.EnabledIfSystemProperty
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path
import kotlin.math.abs

private const val EXPECTED = "edgemoe.expected"
private const val TOLERANCE = 1e-5

/** A real bundle on 100 images by ONNX Runtime, beside what Python wrote of them: tests/android_demo/expected.py. */
@EnabledIfSystemProperty(named = EXPECTED, matches = ".+")
class SameAnswersTest {
    private val folder: Path = Path.of(System.getProperty(EXPECTED) ?: ".")
    private val expected = Node(parseJson(Files.readAllBytes(folder.resolve("expected.json")))).entries
    private val bundle = bundle(folder.resolve("bundle"))
    private val engine = OrtEngine(expected.getValue("saturates").boolean)
    private val sets = expected.getValue("sets").entries
    private val settings = expected.getValue("settings").items.map { it.entries }
        .map { Setting(it.getValue("tau").number, it.getValue("max_experts").int(0..9)) }
    private val tensors = readNpy(folder.resolve("tensors.npy"))
    private val files = expected.getValue("files").items.map { it.text }

    /** One answer of Python's. */
    private class Expected(node: Node) {
        private val fields = node.entries
        val index = fields.getValue("index").int(0..9)
        val experts = fields.getValue("experts").items.map { it.int(0..9) }
        val gateRan = fields.getValue("gate_ran").boolean
        val macs = fields.getValue("macs").long(0..Long.MAX_VALUE)
        val scores = floats(fields.getValue("scores"))
    }

    @Test
    fun `the parts give what the golden samples say`() {
        val inputs = npz(bundle.read(bundle.manifest.golden.tensors))
        for (set in sets.keys.map(bundle.manifest::find)) {
            val stored = npz(bundle.read(set.golden.file))
            Runtime(bundle, set, engine).use { runtime ->
                for ((key, values) in stored) {
                    val (which, tensor) = key.split("/")
                    val (part, output) = tensor.split(".", limit = 2)
                    if (part == "scores") continue
                    val input = when (bundle.manifest.parts.getValue(part).kind) {
                        PartKind.BASE -> inputs.getValue(which)
                        PartKind.GATE -> stored.getValue("$which/base.embedding")
                        PartKind.EXPERT -> stored.getValue("$which/base.features")
                    }
                    val found = runtime.run(part, input.values).copied(output)
                    val allowed = set.golden.partTolerances[part] ?: set.golden.tolerance
                    assertTrue(relativeError(found, values.toArray()) <= allowed, "${set.key} $key")
                }
                for (sample in set.golden.samples) {
                    runtime.tau = sample.tau
                    runtime.maxExperts = sample.maxExperts
                    val found = runtime.predict(inputs.getValue(sample.input).values)
                    assertEquals(
                        sample.label to sample.experts,
                        found.index to found.experts,
                        "${set.key} ${sample.role}",
                    )
                }
            }
        }
    }

    @Test
    fun `fed the same tensors the same exits, experts, classes and MACs`() {
        var worst = 0.0
        for ((key, of) in sets) {
            Runtime(bundle, bundle.manifest.find(key), engine).use { runtime ->
                for (i in files.indices) {
                    val base = floats(of.entries.getValue("base").items[i])
                    worst = maxOf(worst, relativeError(runtime.run("base", tensors[i]).copied("logits"), base))
                    val answers = of.entries.getValue("answers").items[i].items.map(::Expected)
                    for ((setting, there) in settings.zip(answers)) {
                        val found = answer(runtime, setting, tensors[i])
                        val what = "$key ${files[i]} $setting"
                        assertEquals(there.experts to there.gateRan, found.experts to found.gateRan, what)
                        assertEquals(there.index to there.macs, found.index to found.macs, what)
                        worst = maxOf(worst, relativeError(found.scores, there.scores))
                    }
                }
            }
        }
        println("logits and scores: relative error at most $worst")
        assertTrue(worst <= TOLERANCE, "$worst")
    }

    @Test
    fun `fed the same files tensors within a grey level, and flips are told`() {
        val spec = bundle.manifest.preprocessing
        val off = IntArray(256)
        val flips = mutableListOf<String>()
        val prepared = files.mapIndexed { i, file ->
            val found = resizeCrop(ImageIoDecoder.decode(Files.readAllBytes(folder.resolve(file))), spec)
            val tensor = normalize(found, spec)
            for (place in 0 until tensor.limit()) {
                val grey = abs(tensor.get(place) - tensors[i].get(place)) * spec.std[place % 3] * 255
                off[Math.round(grey).toInt()]++
                assertTrue(grey <= 1.01, "$file: $grey grey levels")
            }
            tensor
        }
        println(
            "grey levels apart -> how many of ${off.sum()}: ${off.withIndex().filter {
                it.value > 0
            }.map { it.index to it.value }}",
        )
        var answers = 0
        for ((key, of) in sets) {
            Runtime(bundle, bundle.manifest.find(key), engine).use { runtime ->
                for ((i, tensor) in prepared.withIndex()) {
                    val alphas = of.entries.getValue("alpha").items[i].items.map { it.number }
                    val expected = of.entries.getValue("answers").items[i].items.map(::Expected)
                    for ((setting, there) in settings.zip(expected)) {
                        val found = answer(runtime, setting, tensor)
                        answers++
                        if (found.index == there.index && found.experts == there.experts) continue
                        val way = "experts ${there.experts} -> ${found.experts}, class ${there.index} -> ${found.index}"
                        flips +=
                            "$key ${files[i]} $setting: $way, |alpha - tau| ${alphas.minOf { abs(it - setting.tau) }}"
                    }
                }
            }
        }
        println("${flips.size} of $answers answers flip")
        flips.forEach(::println)
        assertTrue(flips.size <= answers / 50)
    }

    private fun answer(runtime: Runtime, setting: Setting, tensor: FloatBuffer): Prediction {
        runtime.tau = setting.tau
        runtime.maxExperts = setting.maxExperts
        return runtime.predict(tensor)
    }
}

private fun floats(node: Node) = node.items.map { it.number.toFloat() }.toFloatArray()
