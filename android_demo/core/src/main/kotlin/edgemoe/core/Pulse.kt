package edgemoe.core

import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.TimeUnit.MILLISECONDS
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

private const val STATE = "state.json"
private const val STATE_SCHEMA = 1
private const val RESERVE = "reserve"
private const val RESERVE_BYTES = 1 shl 16
private const val NANOS_A_MS = 1_000_000L

/** How long things take; tests are in more of a hurry. */
internal class Times(
    /** After which a harness that says nothing is gone. */
    val silenceMs: Long = 60_000,
    /** Between two signs of life. */
    val beatMs: Long = 5_000,
    /** Between two looks at what is asked: while something is measured, and while nothing is. */
    val busyLookMs: Long = 1_000,
    val idleLookMs: Long = 200,
)

/**
 * A thread that says every few seconds in state.json that the app is there, and looks in ask.json what is wanted and
 * whether anybody is there. The thread that measures does neither.
 */
internal class Pulse(private val folder: Path, private val times: Times, first: Progress) : AutoCloseable {
    private val lock = ReentrantLock()
    private val changed = lock.newCondition()
    private var now = first
    private var beat = 0L
    private var saidAt = 0L
    private var heardAt = System.nanoTime()
    private var ask: Ask? = null
    private var problem: Throwable? = null
    private var closed = false

    /** Whether the harness has enough, or is gone, or this has met a problem: see [raise]. */
    @Volatile
    var ends = false
        private set

    private val thread = Thread(::run, "edge-moe's pulse").apply { isDaemon = true }

    init {
        lock.withLock { say() }
        thread.start()
    }

    /** Keep some room, so that a full storage can still be told of. Throws [StorageError]. */
    fun reserve() =
        storing("the sweep cannot be kept") { Files.write(folder.resolve(RESERVE), ByteArray(RESERVE_BYTES)) }

    /** Write how far it is, now. Throws [StorageError]; not of a failure, for that is told later then, or by silence. */
    fun tell(progress: Progress) = lock.withLock {
        now = progress
        val failed = progress.state == DeskState.FAILED
        if (failed) {
            ends = false // and from now on only where the harness says so
            problem = null
            Files.deleteIfExists(folder.resolve(RESERVE))
        }
        try {
            say()
        } catch (error: StorageError) {
            if (!failed) throw error
        }
    }

    /** Wait until a line is asked for; null: it ends. [stopped]: whether nobody has to wait any more. */
    fun await(line: Int, stopped: () -> Boolean): Ask? {
        val found = lock.withLock {
            while (!stopped() && wanted(line) == null) changed.await(times.idleLookMs, MILLISECONDS)
            wanted(line).takeUnless { ends }
        }
        raise()
        return found
    }

    private fun wanted(line: Int) = ask?.takeIf { it.line >= line }

    /** Wait until the harness has enough, or is gone. */
    fun awaitEnd() = lock.withLock {
        while (!ends) changed.await(times.idleLookMs, MILLISECONDS)
    }

    /** Throw the problem that was met meanwhile. */
    fun raise() {
        lock.withLock { problem }?.let { throw it }
    }

    private fun run() {
        while (true) {
            val (found, met) = try {
                readAsk(folder) to null
            } catch (error: Throwable) { // thrown on this thread, it would end the app
                null to error
            }
            val pause = lock.withLock {
                if (closed) return
                look(found, met)
            }
            Thread.sleep(pause)
        }
    }

    /** See what was found, or met in its place, and say that the app is there -> how long until the next look, in ms. */
    private fun look(found: Ask?, met: Throwable?): Long {
        val wrong = try {
            hear(found)
            if (!ends && System.nanoTime() - saidAt >= times.beatMs * NANOS_A_MS) say()
            met
        } catch (error: Throwable) {
            met ?: error
        }
        if (wrong != null && now.state != DeskState.FAILED) {
            problem = problem ?: wrong
            ends = true
        }
        changed.signalAll()
        return if (now.state == DeskState.RUNNING) times.busyLookMs else times.idleLookMs
    }

    private fun hear(found: Ask?) {
        val at = System.nanoTime()
        if (found != null && found.beat != ask?.beat) heardAt = at
        if (found != null) ask = found
        val silent = at - heardAt >= times.silenceMs * NANOS_A_MS
        if (found?.what == What.END || silent || !Files.isDirectory(folder)) ends = true
    }

    private fun say() {
        beat++
        saidAt = System.nanoTime()
        val said = mapOf(
            "schema_version" to STATE_SCHEMA,
            "state" to now.state.name.lowercase(),
            "lines" to now.lines,
            "beat" to beat,
            "problem" to now.problem,
            "kind" to now.kind?.name?.lowercase(),
        )
        try {
            replaceFile(folder.resolve(STATE), toJson(said), sure = false)
        } catch (error: StorageError) {
            if (Files.isDirectory(folder)) throw error
            ends = true // whoever removed it wants no more
        }
    }

    override fun close() {
        lock.withLock { closed = true }
        thread.join()
    }
}
