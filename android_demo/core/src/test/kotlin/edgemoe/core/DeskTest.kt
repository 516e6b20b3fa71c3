package edgemoe.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Timeout
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path
import kotlin.concurrent.thread

/** A desk asked as the harness asks it, through files alone, with clocks that are in a hurry. */
@Timeout(60)
class DeskTest {
    @TempDir
    lateinit var files: Path

    private val times = Times(silenceMs = 2_000, beatMs = 50, busyLookMs = 20, idleLookMs = 10)

    /** One sweep of the app, and its harness. */
    private inner class Asking(
        id: String,
        here: Here = here(FakeEngine()),
        times: Times = this.times,
        kept: (Path) -> Kept = ::KeptFile,
        job: Path? = JOB,
    ) : AutoCloseable {
        val folder = Desk.folder(files, id)
        val seen = mutableListOf<Progress>()

        @Volatile
        var stops = false
        private var beat = 0L
        private val working: Thread

        init {
            val desk = Desk(folder, here, times, kept)
            working = thread { desk.work({ stops }) { synchronized(seen) { seen += it } } }
            if (job != null) {
                until { state() != null }
                copied(job, folder)
                Files.deleteIfExists(folder.resolve("rounds.jsonl"))
            }
        }

        fun ask(line: Int, what: String = "round", round: Int = 0) = replaceFile(
            folder.resolve("ask.json"),
            toJson(mapOf("beat" to ++beat, "line" to line, "what" to what, "round" to round)),
        )

        fun state(): Map<*, *>? = try {
            parseJson(Files.readAllBytes(folder.resolve("state.json"))) as Map<*, *>
        } catch (_: java.nio.file.NoSuchFileException) {
            null
        }

        fun lines() = Files.readString(folder.resolve("rounds.jsonl")).lines().dropLast(1)

        /** Wait for a line, as a harness that is there. */
        fun answered(line: Int): String {
            until { state()!!["lines"] as Long >= line || state()!!["state"] == "failed" }
            assertEquals(null, state()!!["problem"])
            return lines()[line - 1]
        }

        fun failed(): Pair<String, String> {
            until { state()!!["state"] == "failed" }
            return state()!!["kind"] as String to state()!!["problem"] as String
        }

        fun isOver(): Boolean {
            working.join(20_000)
            return !working.isAlive && !Files.exists(folder)
        }

        override fun close() {
            if (Files.exists(folder)) ask(0, "end")
            assertTrue(isOver())
        }
    }

    private fun until(what: () -> Boolean) {
        val end = System.nanoTime() + 20_000_000_000
        while (!what()) {
            check(System.nanoTime() < end)
            Thread.sleep(5)
        }
    }

    private fun wantSustained(job: Path) = edit(job.resolve("plan.json")) {
        it.replaceFirst("{", "{\"sustained_s\": 1, ")
            .replaceFirst(
                "\"set\": \"litert/fp32\"",
                "\"set\": \"litert/fp32\", \"sustained\": {\"tau\": 0.5, \"max_experts\": 2}",
            )
    }

    private fun round(number: Int) = Sweep(readJob(JOB), here(FakeEngine())).use { it.round(number)!! }

    @Test
    fun `a job is opened, rounds are answered by their number, and nothing is left`() {
        val engine = FakeEngine()
        Asking("first-1", here(engine)).use { asking ->
            assertEquals(listOf("waiting", 0L), asking.state()!!.let { listOf(it["state"], it["lines"]) })
            asking.ask(0)
            asking.ask(1)
            val opening = parseJson(asking.answered(1).toByteArray()) as Map<*, *>
            assertEquals("fake", opening["target"])
            asking.ask(2, round = 1)
            assertEquals(round(1), asking.answered(2))
            asking.ask(3, round = 1) // it was not to the liking of who asked
            asking.answered(3)
            asking.ask(4, round = 0)
            assertEquals(round(0), asking.answered(4))
            asking.ask(4, round = 0) // is there
            Thread.sleep(100)
            assertEquals(4, asking.lines().size)
            assertEquals(setOf("schema_version", "state", "lines", "beat", "problem", "kind"), asking.state()!!.keys)
            assertEquals(1L, asking.state()!!["schema_version"])
        }
        assertEquals(0, engine.open)
        assertEquals(emptyList<Path>(), Files.list(files.resolve("sweeps")).use { it.toList() })
    }

    @Test
    fun `a round is that of its number`() {
        fun order(number: Int) = FakeEngine().also { engine ->
            Sweep(readJob(JOB), here(engine)).use { it.round(number) }
        }.ran
        assertNotEquals(order(0), order(7))
        val engine = FakeEngine()
        Asking("numbered", here(engine)).use { asking ->
            asking.ask(1)
            asking.answered(1)
            for ((place, number) in listOf(7, 0).withIndex()) {
                val before = engine.ran.size
                asking.ask(2 + place, round = number)
                asking.answered(2 + place)
                assertTrue(order(number) == engine.ran.drop(before)) // too long to be shown
            }
        }
    }

    @Test
    fun `whoever watches is told how far it is`() {
        val asking = Asking("watched")
        asking.ask(2)
        asking.answered(2)
        asking.close()
        val states = asking.seen.map { it.state to it.lines }
        assertEquals(
            listOf(
                DeskState.OPENING to 0,
                DeskState.WAITING to 1,
                DeskState.RUNNING to 1,
                DeskState.WAITING to 2,
                DeskState.DONE to 2,
            ),
            states,
        )
        assertEquals(readJob(JOB).plan.rounds, asking.seen.last().rounds)
    }

    @Test
    fun `without a pause`() = Asking("sustained").use { asking ->
        wantSustained(asking.folder)
        asking.ask(2, "sustained")
        val (only) = parseJson(asking.answered(2).toByteArray()) as List<*>
        assertEquals("litert/fp32", (only as Map<*, *>)["set"])
    }

    @Test
    fun `it beats while it waits, while it measures, and after it failed`() {
        val engine = Blocked()
        Asking("beats", here(engine)).use { asking ->
            fun beats() {
                val before = asking.state()!!["beat"] as Long
                until { asking.state()!!["beat"] as Long > before + 2 }
            }
            beats()
            asking.ask(2)
            until { asking.state()!!["state"] == "running" }
            until { engine.isHeld }
            beats()
            engine.fails = true
            engine.release()
            asking.failed()
            beats()
        }
    }

    @Test
    fun `a harness that says nothing is gone, whatever the app does`() {
        assertTrue(Asking("never").isOver())
        val waiting = Asking("waits")
        waiting.ask(1)
        waiting.answered(1)
        assertTrue(waiting.isOver())
        val measuring = Asking("measures", here(FakeEngine(), clock = Still()))
        wantSustained(measuring.folder)
        measuring.ask(2, "sustained") // by that clock it never ends
        until { measuring.state()?.get("state") == "running" }
        repeat(6) {
            Thread.sleep(500)
            measuring.ask(2, "sustained")
            assertEquals("running", measuring.state()!!["state"])
        }
        assertTrue(measuring.isOver())
        assertEquals(DeskState.DONE, measuring.seen.last().state)
    }

    @Test
    fun `it ends in the middle of a round, and when its folder is gone`() {
        val patient = Times(beatMs = 50, busyLookMs = 20, idleLookMs = 10) // silence is not what ends it
        val measuring = Asking("ends", here(FakeEngine(), clock = Still()), patient)
        wantSustained(measuring.folder)
        measuring.ask(2, "sustained")
        until { measuring.state()?.get("state") == "running" }
        measuring.close()
        val removed = Asking("removed", times = patient)
        removed.ask(1)
        removed.answered(1)
        removeTree(removed.folder)
        assertTrue(removed.isOver())
    }

    @Test
    fun `another sweep is busy, the same one is one, and what runs is not disturbed`() {
        val engine = Blocked()
        Asking("one", here(engine)).use { one ->
            one.ask(2)
            until { engine.isHeld }
            Asking("other").use { other ->
                assertEquals("busy" to "the sweep one runs in the app; wait until it is done", other.failed())
            }
            Desk(one.folder, here(FakeEngine()), times).work() // returns, and does nothing
            assertTrue(Files.exists(one.folder))
            engine.release()
            one.answered(2)
            one.ask(3)
            one.answered(3)
        }
        Asking("other").use {
            it.ask(1)
            it.answered(1)
        }
    }

    @Test
    fun `one that failed does not keep others from beginning`() {
        Asking("fails", here(FakeEngine("onnx"))).use { fails ->
            fails.ask(1)
            assertEquals("backend", fails.failed().first)
            Asking("next").use {
                it.ask(1)
                it.answered(1)
                assertTrue(Files.exists(fails.folder)) // somebody may still read why
            }
        }
    }

    @Test
    fun `what a process that was killed has left goes with the next sweep`() {
        val left = files.resolve("sweeps/left/bundle")
        Files.createDirectories(left)
        Files.writeString(left.resolve("part"), "x")
        Files.createSymbolicLink(left.resolve("link"), files)
        Asking("next").use {
            it.ask(1)
            it.answered(1)
            assertFalse(Files.exists(left.parent))
        }
        assertTrue(Files.exists(files))
    }

    @Test
    fun `a sweep whose process was killed goes on with the lines that are there`() {
        val asking = Asking("again", job = null)
        until { asking.state() != null }
        copied(JOB, asking.folder)
        val opening = Sweep(readJob(JOB), here(FakeEngine())).use { it.opening }
        Files.writeString(asking.folder.resolve("rounds.jsonl"), "$opening\n${round(0)}\n{\"half")
        asking.ask(3, round = 1)
        assertEquals(round(1), asking.answered(3))
        assertEquals(3, asking.lines().size)
        asking.close()
    }

    @Test
    fun `what is wrong is told by its kind`() {
        class Spoilt(val kind: String, val words: String, val file: String, val bytes: ByteArray?)

        val base = "bundle/litert/int8/base.tflite"
        val spoilt = listOf(
            Spoilt("data", "cannot be read: ", "inputs.npy", null),
            Spoilt("data", "holds no job", "plan.json", null),
            Spoilt("bundle", "manifest.json", "bundle/manifest.json", "{".toByteArray()),
            Spoilt("bundle", "altered", base, ByteArray(Files.size(JOB.resolve(base)).toInt())),
        )
        for ((place, one) in spoilt.withIndex()) {
            Asking("spoilt-$place").use {
                val file = it.folder.resolve(one.file)
                if (one.bytes == null) Files.delete(file) else Files.write(file, one.bytes)
                it.ask(1)
                val (kind, problem) = it.failed()
                assertEquals(one.kind, kind, problem)
                assertTrue(one.words in problem, problem)
                assertFalse('\n' in problem)
            }
        }
    }

    @Test
    fun `what goes wrong in the engine is told, and the app lives`() {
        val thrown = listOf(
            "backend" to BackendError("it refuses"),
            "memory" to OutOfMemoryError("Failed to allocate"),
            "internal" to IllegalStateException("who knows"),
            "internal" to StackOverflowError(),
        )
        for ((place, one) in thrown.withIndex()) {
            val engine = FakeEngine().apply { refused["gate"] = mutableListOf(one.second) }
            val asking = Asking("thrown-$place", here(engine))
            asking.ask(1)
            assertEquals(one.first, asking.failed().first)
            asking.close()
            assertEquals(asking.seen.last().kind!!.name.lowercase(), one.first)
            assertEquals(0, engine.open)
        }
    }

    @Test
    fun `a full storage is told, and what was there stays whole`() {
        val full = Memory(room = 20_000)
        Asking("full", kept = { full }).use { asking ->
            asking.ask(1)
            until { asking.state()!!["lines"] == 1L }
            var line = 1
            while (asking.state()!!["state"] != "failed") {
                asking.ask(++line)
                until { asking.state()!!["lines"] as Long >= line || asking.state()!!["state"] == "failed" }
            }
            val (kind, problem) = asking.failed()
            assertEquals("storage", kind)
            assertTrue("No space left" in problem && "make room" in problem, problem)
            assertEquals(asking.state()!!["lines"], full.lines.size.toLong())
            assertFalse(Files.exists(asking.folder.resolve("reserve")))
        }
        Asking("unwritable", kept = { throw StorageError("no") }).use {
            it.ask(1)
            assertEquals("storage" to "no", it.failed())
        }
    }

    @Test
    fun `where not even the folder can be made, who watches is told`() {
        Files.writeString(files.resolve("sweeps"), "a file")
        val seen = mutableListOf<Progress>()
        Desk(Desk.folder(files, "nowhere"), here(FakeEngine())).work { seen += it }
        assertEquals(listOf(DeskState.FAILED to Failure.STORAGE), seen.map { it.state to it.kind })
    }

    @Test
    fun `what is asked is checked`() {
        val asked = listOf(
            "{" to "malformed",
            "{}" to "missing required field",
            "{\"beat\":1,\"line\":1,\"what\":\"fly\",\"round\":0}" to "Expected round or sustained or end",
            "{\"beat\":1,\"line\":1,\"what\":\"round\",\"round\":-1}" to "Expected a whole number",
            "{\"beat\":1,\"line\":1,\"what\":\"round\",\"round\":0,\"more\":1}" to "unknown field `more`",
            "{\"beat\":1,\"line\":9,\"what\":\"round\",\"round\":0}" to "line 9 is asked for, but 1 are there",
            " ".repeat(20_000) to "too large",
        )
        for ((place, one) in asked.withIndex()) {
            Asking("asked-$place").use {
                replaceFile(it.folder.resolve("ask.json"), one.first)
                val (kind, problem) = it.failed()
                assertEquals("data", kind)
                assertTrue(one.second in problem, problem)
            }
        }
    }

    @Test
    fun `the person stops it`() {
        for (line in listOf(0, 1, 2)) {
            val engine = Blocked(holds = line == 2)
            val asking = Asking("stopped-$line", here(engine))
            asking.ask(line)
            if (line == 1) asking.answered(1)
            if (line == 2) until { engine.isHeld }
            asking.stops = true
            engine.release()
            assertEquals("stopped" to "it was stopped on the phone", asking.failed())
            asking.close()
        }
    }

    @Test
    fun `a sweep is named so that it is a folder`() {
        assertEquals(files.resolve("sweeps/a-1"), Desk.folder(files, "a-1"))
        for (id in listOf("", "..", "a/b", "A", "a.b", "x".repeat(65), "a\n")) {
            assertThrows<UsageError>(id) { Desk.folder(files, id) }
        }
        assertNotEquals(Desk.folder(files, "a"), Desk.folder(files, "b"))
    }
}

/** An engine whose first part that runs waits to be released, and then may fail. */
private class Blocked(private val holds: Boolean = true) : FakeEngine() {
    private val gate = java.util.concurrent.CountDownLatch(1)

    @Volatile
    var fails = false

    @Volatile
    var isHeld = false

    fun release() = gate.countDown()

    override fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer): FloatArray {
        if (holds) {
            isHeld = true
            gate.await()
        }
        if (fails) throw BackendError("it fails")
        return super.compute(source, name, count, input)
    }
}

/** A clock by which nothing takes any time. */
private class Still : Clock {
    override fun nanos() = 0L
}
