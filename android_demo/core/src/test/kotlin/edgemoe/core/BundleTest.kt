package edgemoe.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource
import java.nio.file.Files
import java.nio.file.Path

class BundleTest {
    @TempDir
    lateinit var folder: Path

    private val spoilt by lazy { copied(BUNDLE, folder.resolve("bundle")) }
    private val base = "litert/int8/base.tflite"

    @Test
    fun `the recorded bundle is read, whole, and its operating points are of its artifacts`() {
        val bundle = bundle()
        assertEquals(listOf("litert/int8", "litert/fp32"), bundle.manifest.sets.map { it.key })
        assertEquals(listOf("across", "diagonal", "down"), bundle.manifest.labels)
        for (set in bundle.manifest.sets) {
            assertEquals(
                bundle.operating(set).digest,
                answersDigest(bundle.manifest, set),
            )
        }
        val seen = mutableListOf<String>()
        bundle.verify { seen += it.file }
        assertEquals(bundle.manifest.files.map { it.file }, seen)
    }

    @Test
    fun `another set may be the default`() {
        val operating = spoilt.resolve("operating.json")
        edit(operating) { it.replaceFirst("{", "{\"default_set\": \"litert/fp32\", ") }
        assertEquals(listOf("litert/fp32", "litert/int8"), bundle(spoilt).manifest.sets.map { it.key })
        edit(operating) { it.replaceFirst("litert/fp32", "litert/int4") }
        assertTrue("default set is litert/int4" in assertThrows<BundleError> { bundle(spoilt) }.message!!)
    }

    @Test
    fun `what a default promises is read`() {
        val digest = "0".repeat(64)
        val certificate = """{"rule": "drop", "tau": 0.3, "max_experts": 1, "n": 1250, "losses": 7, "epsilon": 0.01, "delta": 0.05, "m": 2,
            "images": "$digest", "bundle": "$digest", "gained": 4, "chose_recipe": 1250}"""
        edit(spoilt.resolve("operating.json")) { it.replaceFirst("\"certificate\": null", "\"certificate\": $certificate") }
        val bundle = bundle(spoilt)
        val found = bundle.operating(bundle.manifest.sets[0]).certificate!!
        assertEquals(listOf("drop", 1250L, 7L, 2), listOf(found.rule, found.n, found.losses, found.m))
        assertEquals(listOf(4L, null, 1250L), listOf(found.gained, found.groups, found.choseRecipe))
        edit(spoilt.resolve("operating.json")) { it.replaceFirst("\"m\": 2", "\"m\": 0") }
        assertThrows<BundleError> { bundle(spoilt) }
    }

    @Test
    fun `no folder, no bundle, half a bundle`() {
        assertThrows<BundleError> { bundle(folder.resolve("nowhere")) }
        assertThrows<BundleError> { bundle(folder) }
        Files.delete(spoilt.resolve("operating.json"))
        assertTrue("operating.json" in assertThrows<BundleError> { bundle(spoilt) }.message!!)
    }

    @ParameterizedTest
    @ValueSource(
        strings = ["", "{", "[]", "null", "{\"schema_version\": 3}", "{\"schema_version\": 3.0}", "PK\u0003\u0004"],
    )
    fun `a file of JSON that is none`(text: String) {
        for (file in listOf("manifest.json", "operating.json")) {
            val there = copied(BUNDLE, folder.resolve(file))
            Files.writeString(there.resolve(file), text)
            assertThrows<BundleError> { bundle(there) }
        }
    }

    @Test
    fun `every cut of a manifest is refused`() {
        val whole = Files.readAllBytes(BUNDLE.resolve("manifest.json"))
        val text = whole.toString(Charsets.UTF_8).trimEnd().toByteArray()
        for (length in text.indices step 97) assertThrows<BundleError> { parseManifest(text.copyOf(length), "it") }
        parseManifest(text, "it")
    }

    @Test
    fun `a manifest of absurd size is not read`() {
        Files.newByteChannel(spoilt.resolve("manifest.json"), java.nio.file.StandardOpenOption.WRITE).use {
            it.position((16L shl 20) + 1)
            it.write(java.nio.ByteBuffer.wrap(byteArrayOf(0)))
        }
        assertTrue("no bundle has" in assertThrows<BundleError> { bundle(spoilt) }.message!!)
    }

    @Test
    fun `numbers that would break something later are refused`() {
        val sound = Files.readString(BUNDLE.resolve("manifest.json"))
        for ((from, to) in listOf(
            "\"experts\": 2" to "\"experts\": 2000000000",
            "\"experts\": 2" to "\"experts\": 99999999999999999999",
            "\"resize\": 32" to "\"resize\": 2000000000",
            "\"macs\": 160" to "\"macs\": 1e3",
        )) {
            assertTrue(from in sound)
            assertThrows<BundleError>(to) { parseManifest(sound.replaceFirst(from, to).toByteArray(), "it") }
        }
        val shapes = sound.replace(Regex("\"shape\": \\[\\s*1,\\s*8,\\s*8,\\s*80"), "\"shape\": [1, 65536, 65536, 80")
        assertThrows<BundleError> { parseManifest(shapes.toByteArray(), "it") }
        edit(spoilt.resolve("manifest.json")) { it.replaceFirst(base, "a/".repeat(600) + "base.tflite") }
        assertThrows<BundleError> { bundle(spoilt) }
    }

    @ParameterizedTest
    @ValueSource(strings = ["../secret", "a/../../secret", "/etc/passwd", "C:secret", "a\\\\b", "a\\u0000b"])
    fun `a path that leaves the bundle is refused before anything is looked for there`(path: String) {
        Files.writeString(folder.resolve("secret"), "x")
        edit(spoilt.resolve("manifest.json")) { it.replaceFirst(base, path) }
        assertTrue("leaves the bundle" in assertThrows<BundleError> { bundle(spoilt) }.message!!)
    }

    @Test
    fun `a file that is missing, cut or longer is seen at once, one that is altered before it is used`() {
        val file = spoilt.resolve(base)
        val whole = Files.readAllBytes(file)
        Files.delete(file)
        assertTrue("missing" in assertThrows<IntegrityError> { bundle(spoilt) }.message!!)
        Files.write(file, whole.copyOf(whole.size - 1))
        assertThrows<IntegrityError> { bundle(spoilt) }
        Files.write(file, whole + 0)
        assertThrows<IntegrityError> { bundle(spoilt) }
        Files.write(file, whole.also { it[it.size / 2]++ })
        val bundle = bundle(spoilt)
        val engine = FakeEngine()
        assertTrue(
            "altered" in assertThrows<IntegrityError> {
                Runtime(bundle, bundle.manifest.sets[0], engine)
            }.message!!,
        )
        assertEquals(emptyList<String>(), engine.opened)
        assertThrows<IntegrityError> { bundle.verify() }
    }

    @Test
    fun `operating points of other artifacts, sets or defaults are refused`() {
        val sound = Files.readString(BUNDLE.resolve("operating.json"))
        val manifest = bundle().manifest
        fun refused(from: Regex, to: String) {
            assertTrue(from in sound)
            assertThrows<BundleError> { parseOperating(sound.replaceFirst(from, to).toByteArray(), "it", manifest) }
        }
        refused(Regex("\"digest\": \"[0-9a-f]"), "\"digest\": \"x")
        refused(Regex("\"digest\": \"[0-9a-f]{64}"), "\"digest\": \"${"0".repeat(64)}")
        refused(Regex("litert/fp32"), "litert/fp16")
        refused(Regex("\"default_max_experts\": 1"), "\"default_max_experts\": 0")
        refused(Regex("\"default_max_experts\": 1"), "\"default_max_experts\": 3")
        refused(Regex("\"default_tau\": [0-9.]+"), "\"default_tau\": 1.5")
        refused(Regex("\"samples\": [0-9]+"), "\"samples\": 0")
        refused(Regex("\"exit_rate\""), "\"exit_rates\"")
    }

    @Test
    fun `what a set needs of the machine`() {
        val cpuinfo = "processor : 0\nFeatures\t: fp asimd asimddp\n\nprocessor : 1\nFeatures\t: fp asimd\n"
        assertEquals(Processor(setOf("fp", "asimd")), Processor.parse(cpuinfo))
        assertEquals(Processor(setOf("sse", "avx2")), Processor.parse("flags\t\t: sse avx2\n"))
        assertEquals(Processor(emptySet()), Processor.parse(""))
        val engines = mapOf("litert" to FakeEngine())
        fun manifest(needs: RunsOn) =
            bundle().manifest.let { it.copy(sets = listOf(it.sets[0].copy(runsOn = needs), it.sets[1])) }
        val arm = Processor.parse(cpuinfo)
        assertEquals("litert/int8", pick(manifest(RunsOn(listOf("asimd"), null)), engines, arm).key)
        assertEquals("litert/fp32", pick(manifest(RunsOn(listOf("asimddp"), null)), engines, arm).key)
        assertEquals("litert/fp32", pick(manifest(RunsOn(emptyList(), "ethos")), engines, arm).key)
        assertThrows<BackendError> { pick(manifest(RunsOn(listOf("i8mm"), null)), engines, arm, "litert/int8") }
        assertThrows<UsageError> { pick(bundle().manifest, engines, arm, "litert/int4") }
        val two = manifest(RunsOn(emptyList(), null)).let { whole ->
            val set = whole.sets[0]
            val base = set.parts.getValue("base").let { it.copy(inputs = it.inputs + it.inputs) }
            whole.copy(sets = listOf(set.copy(parts = set.parts + ("base" to base))))
        }
        assertTrue("one input" in assertThrows<BackendError> { pick(two, engines, arm) }.message!!)
        val none = assertThrows<BackendError> { pick(bundle().manifest, emptyMap(), arm) }
        assertTrue("litert/fp32 cannot run here: it needs the backend litert" in none.message!!)
    }
}
