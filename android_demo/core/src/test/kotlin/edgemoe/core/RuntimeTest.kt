package edgemoe.core

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path

class RuntimeTest {
    private val bundle = bundle()
    private val set = bundle.manifest.sets[0]
    private val inputs = npz(bundle.read(bundle.manifest.golden.tensors))
    private val input = inputs.getValue("00").values

    private fun runtime(engine: FakeEngine, budget: Long? = null) =
        Runtime(bundle, set, engine, expertBudget = budget).apply { tau = 0.0 }

    /** A base that always doubts, and a gate whose first choice is [best]. */
    private open class Doubting(var best: Int = 0) : FakeEngine() {
        override fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer) = when (source.name) {
            "base" -> FloatArray(count) { 0.25f * it }
            "gate" -> FloatArray(count) { if (it == best) 2f else 1f }
            else -> FloatArray(count) { if (it == 0) 5f else 0f }
        }
    }

    /** The whole of docs/bundle.md's list: parts that give what is stored, so that what follows is this runtime's doing. */
    @Test
    fun `the answers of the golden samples`() {
        for (set in bundle.manifest.sets) {
            Runtime(bundle, set, ReplayEngine(bundle, set)).use { runtime ->
                val stored = npz(bundle.read(set.golden.file))
                for (sample in set.golden.samples) {
                    runtime.tau = sample.tau
                    runtime.maxExperts = sample.maxExperts
                    val found = runtime.predict(inputs.getValue(sample.input).values)
                    assertEquals(sample.label to sample.exited, found.index to found.exited, sample.role)
                    assertEquals(sample.experts, found.experts)
                    val scores = stored.getValue("${sample.input}/scores.${sample.role}").toArray()
                    assertTrue(relativeError(found.scores, scores) < 1e-6)
                    assertEquals(1.0, found.probabilities.sum().toDouble(), 1e-6)
                }
            }
        }
    }

    @Test
    fun `an expert is opened when it is first asked, and MACs are of what ran`() {
        val engine = Doubting(best = 1)
        runtime(engine).use { runtime ->
            assertEquals(listOf("base", "gate"), engine.opened)
            val macs = bundle.manifest.parts.mapValues { it.value.macs }
            var told: Prediction? = null
            val found = runtime.predict(input) { told = it }
            assertEquals(listOf(1), found.experts)
            assertEquals(macs.getValue("base") + macs.getValue("gate") + macs.getValue("expert_01"), found.macs)
            assertEquals(listOf(1) to 2, told!!.asked to told.index)
            assertFalse(told.exited)
            told = null
            runtime.predict(input) { told = it }
            assertEquals(null, told)
            assertEquals(listOf("base", "gate", "expert_01"), engine.opened)
            runtime.tau = 1.0
            val exit = runtime.predict(input)
            assertTrue(exit.exited && !exit.gateRan && exit.macs == macs["base"])
        }
        assertEquals(0, engine.open)
    }

    @Test
    fun `the budget holds one expert, the least recently used goes`() {
        val engine = Doubting()
        val bytes = set.parts.getValue("expert_00").artifact.bytes
        assertThrows<UsageError> { runtime(Doubting(), bytes - 1) }
        runtime(engine, bytes).use { runtime ->
            for (best in listOf(0, 1, 1, 0)) {
                engine.best = best
                assertEquals(listOf(best), runtime.predict(input).experts)
                assertEquals(listOf(best), runtime.loadedExperts)
                assertEquals(3, engine.open)
            }
            runtime.maxExperts = 2
            assertEquals(listOf(0, 1), runtime.predict(input).experts)
        }
        assertEquals(0, engine.open)
    }

    @Test
    fun `without memory for an expert the base answers, says so, and later the expert does`() {
        val engine = Doubting()
        engine.refused["expert_00"] = mutableListOf(OutOfMemoryError())
        runtime(engine).use { runtime ->
            val found = runtime.predict(input)
            assertEquals(Withheld.NO_MEMORY, found.withheld)
            assertEquals(listOf(0) to emptyList<Int>(), found.asked to found.experts)
            assertEquals(2, found.index) // the base's
            assertArrayEquals(softmax(floatArrayOf(0f, 0.25f, 0.5f)), found.scores)
            assertFalse(found.exited)
            assertEquals(listOf(0), runtime.predict(input).experts)
        }
    }

    @Test
    fun `what other experts hold is given up for one that is asked`() {
        val engine = Doubting()
        engine.refused["expert_01"] = mutableListOf(OutOfMemoryError())
        runtime(engine).use { runtime ->
            runtime.predict(input)
            engine.best = 1
            assertEquals(listOf(1), runtime.predict(input).experts)
            assertEquals(listOf(1), runtime.loadedExperts)
            assertEquals(3, engine.open)
        }
    }

    @Test
    fun `an expert that the library refuses`() {
        val engine = Doubting()
        engine.refused["expert_00"] = mutableListOf(BackendError("it is of a newer version"))
        runtime(engine).use { assertEquals(Withheld.REFUSED, it.predict(input).withheld) }
    }

    @Test
    fun `an expert that opens, and then fails`() {
        for ((error, why) in listOf(
            BackendError("no") to Withheld.REFUSED,
            OutOfMemoryError("no") to Withheld.NO_MEMORY,
        )) {
            val engine = object : Doubting() {
                override fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer) =
                    if (source.name == "expert_00") throw error else super.compute(source, name, count, input)
            }
            runtime(engine).use {
                val found = it.predict(input)
                assertEquals(Triple(why, 2, "no"), Triple(found.withheld, found.index, found.problem))
            }
        }
    }

    @Test
    fun `what is not a number is no answer`() {
        for (part in listOf("expert_00", "gate")) {
            val engine = object : Doubting() {
                override fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer) =
                    super.compute(source, name, count, input).also { if (source.name == part) it[0] = Float.NaN }
            }
            runtime(engine).use {
                if (part == "gate") {
                    assertTrue("not a number" in assertThrows<BackendError> { it.predict(input) }.message!!)
                } else {
                    val found = it.predict(input)
                    assertEquals(Withheld.REFUSED to 2, found.withheld to found.index)
                    assertTrue("expert_00 is not a number" in found.problem)
                    assertFalse(found.probabilities.any(Float::isNaN))
                }
            }
        }
    }

    @Test
    fun `an expert that is gone, of a bundle that came whole`(@TempDir folder: Path) {
        val there = copied(BUNDLE, folder.resolve("bundle"))
        val bundle = bundle(there)
        Runtime(bundle, bundle.manifest.sets[0], Doubting()).use { runtime ->
            Files.delete(there.resolve(set.parts.getValue("expert_00").artifact.file))
            runtime.tau = 0.0
            assertTrue("missing" in assertThrows<IntegrityError> { runtime.predict(input) }.message!!)
        }
    }

    @Test
    fun `an expert that is still on its way, and one that came broken`(@TempDir folder: Path) {
        val there = copied(BUNDLE, folder.resolve("bundle"))
        val file = there.resolve(set.parts.getValue("expert_00").artifact.file)
        val whole = Files.readAllBytes(file)
        Files.delete(file)
        assertThrows<IntegrityError> { bundle(there) }
        val bundle = Bundle(Folder(there)) { "expert" in it.file }
        bundle.verify()
        Runtime(bundle, bundle.manifest.sets[0], Doubting()).use { runtime ->
            runtime.tau = 0.0
            assertEquals(Withheld.NOT_HERE, runtime.predict(input).withheld)
            Files.write(file, whole.copyOf().also { it[100]++ })
            assertThrows<IntegrityError> { runtime.predict(input) }
            assertThrows<IntegrityError> { bundle.verify() }
            Files.write(file, whole)
            assertEquals(listOf(0), runtime.predict(input).experts)
        }
    }

    @Test
    fun `a base or gate that cannot be opened leaves nothing open`() {
        for (part in listOf("base", "gate")) {
            val engine = FakeEngine().apply { refused[part] = mutableListOf(BackendError("no")) }
            assertThrows<BackendError> { runtime(engine) }
            assertEquals(0, engine.open)
        }
    }

    @Test
    fun `what is no input, no setting, no number, no more`() {
        val runtime = runtime(FakeEngine())
        assertThrows<DataError> { runtime.predict(floats(7)) }
        for (tau in listOf(-0.1, 1.1, Double.NaN)) assertThrows<UsageError> { runtime.tau = tau }
        for (most in listOf(0, 3)) assertThrows<UsageError> { runtime.maxExperts = most }
        assertEquals(0, checkMaxExperts(0, 0))
        assertThrows<UsageError> { checkMaxExperts(1, 0) }
        runtime.close()
        runtime.close()
        assertThrows<UsageError> { runtime.predict(input) }
        val broken = object : FakeEngine() {
            override fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer) =
                FloatArray(count) { Float.NaN }
        }
        runtime(broken).use { assertThrows<DataError> { it.predict(input) } }
    }

    @Test
    fun `two calls at once are refused`() {
        val engine = Doubting()
        val runtime = runtime(engine)
        runtime.predict(input) { assertThrows<UsageError> { runtime.predict(input) } }
        runtime.close()
    }
}
