package edgemoe.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.nio.file.Files
import java.nio.file.Path

/** The recorded job, answered with an engine that computes anything: the figures are a clock's that ticks evenly. */
class SweepTest {
    private val job = readJob(JOB)

    private fun <T> sweep(engine: FakeEngine = FakeEngine(), use: (Sweep) -> T): T = Sweep(job, here(engine)).use(use)

    private fun map(line: String) = parseJson(line.toByteArray()) as Map<*, *>

    @Test
    fun `a round has all of the plan, once`() = sweep { sweep ->
        val round = map(sweep.round(0)!!)
        val sets = (round["sets"] as List<*>).map { it as Map<*, *> }
        assertEquals(job.plan.sets.size, sets.size)
        for ((planned, set) in job.plan.sets.zip(sets)) {
            val samples = (set["parts"] as Map<*, *>).mapValues { (_, costs) ->
                ((costs as Map<*, *>)["ms"] as List<*>).size
            }
            assertEquals(setOf("base", "gate", "expert_00", "expert_01"), samples.keys)
            assertEquals(8 to 4, samples["base"] to samples["gate"])
            val points = set["points"] as List<*>
            assertEquals(planned.settings.size, points.size)
            for ((setting, point) in planned.settings.zip(points)) {
                val ran = (point as Map<*, *>)["ran"] as List<*>
                assertEquals(4, ran.size)
                if (setting.tau == 0.0) assertTrue(ran.all { (it as List<*>).size == setting.maxExperts })
                if (setting.tau == 1.0) assertTrue(ran.all { it == null })
            }
            assertEquals(samples.keys, (set["waking"] as Map<*, *>).keys)
        }
        assertEquals(4, (((round["steps"] as Map<*, *>)["preprocessing"] as Map<*, *>)["ms"] as List<*>).size)
    }

    @Test
    fun `the order is drawn from seed and number, and is the same again`() {
        fun order(number: Int) = FakeEngine().also { engine -> sweep(engine) { it.round(number) } }.ran
        assertEquals(order(0), order(0))
        assertNotEquals(order(0), order(1))
        assertEquals(order(0).sorted(), order(1).sorted()) // nothing more and nothing less
    }

    @Test
    fun `rounds are kept, each on a line, and a sweep that was stopped goes on`() {
        val kept = Memory()
        sweep { assertTrue(it.answer(RoundsFile(kept, it.opening))) }
        assertEquals(1 + job.plan.rounds, kept.lines.size)
        val whole = kept.lines
        val again = Memory()
        val engine = FakeEngine()
        sweep(engine) { sweep ->
            val rounds = RoundsFile(again, sweep.opening)
            var left = 200
            assertFalse(sweep.answer(rounds, stop = { left-- == 0 }))
            assertEquals(rounds.done + 1, again.lines.size)
            assertTrue(rounds.done < job.plan.rounds)
        }
        assertEquals(0, engine.open)
        again.bytes += "{\"sets\":[{\"par".toByteArray() // a kill in the middle of a line
        sweep { assertTrue(it.answer(RoundsFile(again, it.opening))) }
        assertEquals(whole, again.lines)
    }

    @Test
    fun `a full disk leaves whole lines, and room lets it go on`() {
        val kept = Memory()
        sweep { it.answer(RoundsFile(kept, it.opening)) }
        val whole = kept.lines
        for (room in listOf(10, whole[0].length + 50)) {
            val full = Memory(room = room)
            val error = assertThrows<StorageError> { sweep { it.answer(RoundsFile(full, it.opening)) } }
            assertTrue("No space left" in error.message!!)
            assertEquals(whole.take(full.lines.size), full.lines)
            assertTrue(full.bytes.isEmpty() || full.bytes.last() == '\n'.code.toByte())
            full.room = Int.MAX_VALUE
            sweep { it.answer(RoundsFile(full, it.opening)) }
            assertEquals(whole, full.lines)
        }
    }

    @Test
    fun `rounds of another machine are not gone on with`() {
        val kept = Memory()
        sweep { RoundsFile(kept, it.opening) }
        assertThrows<DataError> { RoundsFile(kept, toJson(mapOf("target" to "another"))) }
        assertThrows<DataError> { RoundsFile(Memory("no opening\n".toByteArray()), "{\"target\":\"it\"}") }
    }

    /** The same as tests/benchmarks/test_sustained.py has of benchmarks/sustained.py. */
    @Test
    fun `windows of ten seconds`() {
        assertEquals(listOf(10.0, 20.0), windowEnds(24.0))
        assertEquals(listOf(10.0, 20.0, 25.0), windowEnds(25.0))
        assertEquals(listOf(3.0), windowEnds(3.0))
        var (now, calls) = 0L to 0
        val found = windows(20.0, { now }, { mapOf("warm" to true) }, { false }) {
            now +=
                if (calls++ < 5) 2_000_000_000 else 2_500_000_000
        }
        assertEquals(listOf(0.0 to 5, 10.0 to 4), found!!.map { it["start_s"] to it["count"] })
        assertEquals(listOf(2000.0, 2500.0), found.map { it["median"] })
        assertEquals(null, windows(20.0, { now }, { emptyMap() }, { calls++ > 12 }) { })
    }

    @Test
    fun `without a pause, set by set`(@TempDir folder: Path) {
        val there = copied(JOB, folder.resolve("job"))
        edit(there.resolve("plan.json")) {
            it.replaceFirst("{", "{\"sustained_s\": 1, ")
                .replaceFirst(
                    "\"set\": \"litert/fp32\"",
                    "\"set\": \"litert/fp32\", \"sustained\": {\"tau\": 0.5, \"max_experts\": 2}",
                )
        }
        Sweep(readJob(there), here(FakeEngine())).use { sweep ->
            val (only) = parseJson(sweep.sustained()!!.toByteArray()) as List<*>
            assertEquals("litert/fp32", (only as Map<*, *>)["set"])
            assertEquals(mapOf("tau" to 0.5, "max_experts" to 2L), only["setting"])
            assertEquals(1, (only["windows"] as List<*>).size)
            assertEquals(null, sweep.sustained { true })
        }
    }

    @Test
    fun `one sweep writes a file at a time`(@TempDir folder: Path) {
        val file = folder.resolve("rounds.jsonl")
        RoundsFile(KeptFile(file), "{}").use { first ->
            assertThrows<UsageError> { KeptFile(file) }
            first.append("{\"sets\":[]}")
            assertEquals("{}\n{\"sets\":[]}\n", Files.readString(file)) // whoever pulls it meanwhile
        }
        RoundsFile(KeptFile(file), "{}").use { assertEquals(1, it.done) }
        replaceFile(folder.resolve("state"), "a")
        replaceFile(folder.resolve("state"), "b")
        assertEquals("b", Files.readString(folder.resolve("state")))
        assertThrows<StorageError> { replaceFile(folder.resolve("nowhere/state"), "a") }
    }

    @Test
    fun `a set that cannot run, an expert that cannot be opened, an image that cannot be decoded`(
        @TempDir folder: Path,
    ) {
        assertThrows<BackendError> { sweep(FakeEngine("onnx")) { } }
        val engine = FakeEngine().apply { refused["expert_01"] = mutableListOf(BackendError("no")) }
        assertThrows<BackendError> { sweep(engine) { } }
        assertEquals(0, engine.open)
        val there = copied(JOB, folder.resolve("job"))
        Files.writeString(there.resolve("images/0002.png"), "no image")
        Sweep(readJob(there), here(FakeEngine())).use {
            val round = map(it.round(0)!!)
            assertEquals(emptyMap<String, Any>(), round["steps"])
            assertTrue("images/0002.png" in round["seen"].toString())
        }
    }

    @Test
    fun `of the bundle what the plan needs is enough`(@TempDir folder: Path) {
        val there = copied(JOB, folder.resolve("job"))
        val bundle = there.resolve("bundle")
        for (other in listOf("golden", "network.npz")) removeTree(bundle.resolve(other))
        assertEquals(2, readJob(there).plan.sets.size)
        removeTree(bundle.resolve("litert/fp32/gate.tflite"))
        assertThrows<IntegrityError> { readJob(there) }
    }

    @Test
    fun `a job that is none`(@TempDir folder: Path) {
        assertThrows<DataError> { readJob(folder) }
        val there = copied(JOB, folder.resolve("job"))
        val plan = there.resolve("plan.json")
        val sound = Files.readString(plan)
        for ((from, to) in listOf(
            "\"schema_version\": 3" to "\"schema_version\": 4",
            "\"seed\": 0" to "\"seed\": -1",
            "\"seed\": 0" to "\"sead\": 0",
            "\"threads\": 1" to "\"threads\": 0",
            "\"bundle\": \"bundle\"" to "\"bundle\": \"../job/bundle\"",
            "\"images/0001.png\"" to "\"/etc/passwd\"",
            "\"images/0001.png\"," to "",
            "\"set\": \"litert/fp32\"" to "\"set\": \"litert/int4\"",
            "\"max_experts\": 1" to "\"max_experts\": 3",
            "\"tau\": 1.0" to "\"tau\": 1.1",
        )) {
            assertTrue(from in sound, from)
            Files.writeString(plan, sound.replaceFirst(from, to))
            assertThrows<DataError>(to) { readJob(there) }
        }
        Files.writeString(plan, sound)
        val inputs = Files.readAllBytes(there.resolve("inputs.npy"))
        for (length in listOf(0, 5, 11, 64, inputs.size - 4)) {
            Files.write(there.resolve("inputs.npy"), inputs.copyOf(length))
            assertThrows<DataError> { readJob(there) }
        }
    }
}
