package edgemoe.core

import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path

/*
 * The app's side of `--device app:SERIAL`: the harness, over adb, and the app talk through files of a folder of the
 * app's own, `sweeps/ID`. docs/targets.md has what is in them.
 *
 *     plan.json, bundle/, inputs.npy, images/    the job: Job.kt
 *     ask.json      what the harness wants next, and that it is there: Ask.kt
 *     state.json    what becomes of it, and that the app is there: Pulse.kt
 *     rounds.jsonl  the opening, then a line for each ask: Rounds.kt
 */

private const val ROUNDS = "rounds.jsonl"
private val ID = Regex("[a-z0-9-]{1,64}")

/** How far a sweep is, as state.json has it. */
enum class DeskState { WAITING, OPENING, RUNNING, DONE, FAILED }

/** Why a sweep failed. STOPPED: by the person who holds the phone. BUSY: another one runs. */
enum class Failure { DATA, BUNDLE, BACKEND, STORAGE, MEMORY, BUSY, STOPPED, INTERNAL }

/** How far a sweep is, for whoever watches. */
data class Progress(
    val state: DeskState,
    /** How many lines rounds.jsonl has: the opening, and a line for each round. */
    val lines: Int = 0,
    /** How many rounds the plan has; 0: it was not read yet. */
    val rounds: Int = 0,
    /** Where it failed: why, and in words what is wrong and what to do. */
    val kind: Failure? = null,
    val problem: String? = null,
)

/** The person wants it to end. */
private class StoppedHere : Exception("it was stopped on the phone")

/**
 * Where a sweep is asked for and answered: one job folder, from the intent that starts it to its removal.
 *
 * One sweep runs at a time in a process; another is told that it is busy. The same folder twice is one.
 *
 * @param folder as [Desk.folder] names it; it is made where it is not there, and is gone when [work] returns
 * @param here where it is measured; its facts may have "in front", whether the app is what the person sees: the harness
 *   discards a round where it is false, for Android gives little time to what is behind
 */
class Desk internal constructor(
    private val folder: Path,
    private val here: Here,
    private val times: Times,
    private val kept: (Path) -> Kept = ::KeptFile,
) {
    constructor(folder: Path, here: Here) : this(folder, here, Times())

    private val file = folder.resolve(ROUNDS)
    private var progress = Progress(DeskState.WAITING)

    /**
     * Do what is asked until the harness says that it is enough, or is gone for 60 s, and remove the folder. Takes as long
     * as the sweep: call it on a thread of its own, which measures. It throws nothing: what goes wrong is told in
     * state.json, and to [onProgress].
     *
     * @param stop whether the person wants it to end; asked often
     * @param onProgress told of every change, on this thread
     */
    fun work(stop: () -> Boolean = { false }, onProgress: (Progress) -> Unit = {}) {
        val other = try {
            Desks.enter(folder)
        } catch (_: AlreadyThere) {
            return
        }
        try {
            serve(other, stop, onProgress)
        } catch (error: Throwable) { // before there was a state.json to tell it in
            onProgress(failed(error))
        } finally {
            try {
                removeTree(folder)
            } finally {
                Desks.leave(folder) // else the app were busy until it is killed
            }
        }
    }

    private fun serve(other: Path?, stop: () -> Boolean, onProgress: (Progress) -> Unit) {
        storing("the folder of the sweep cannot be made") { Files.createDirectories(folder) }
        if (other == null) {
            Desks.removeOthers(folder)
        } else {
            val words = "the sweep ${other.fileName} runs in the app; wait until it is done"
            progress = Progress(DeskState.FAILED, kind = Failure.BUSY, problem = words)
            onProgress(progress)
        }
        Pulse(folder, times, progress).use { pulse ->
            fun tell(now: Progress) {
                progress = now
                pulse.tell(now)
                onProgress(now)
            }
            if (other != null) return pulse.awaitEnd() // so that the harness reads why
            try {
                pulse.reserve()
                measure(pulse, stop, ::tell)
                onProgress(progress.copy(state = DeskState.DONE))
            } catch (error: Throwable) { // also what no one foresees: an app that crashes says nothing
                Desks.free(folder) // another one may begin
                tell(failed(error))
                pulse.awaitEnd()
            }
        }
    }

    private fun measure(pulse: Pulse, stop: () -> Boolean, tell: (Progress) -> Unit) {
        fun stopped() = if (stop()) throw StoppedHere() else pulse.ends
        pulse.await(1, ::stopped) ?: return
        tell(Progress(DeskState.OPENING))
        val job = readJob(folder)
        Sweep(job, here).use { sweep ->
            kept(file).use { lines -> // closed, too, where not even the opening can be kept
                val rounds = RoundsFile(lines, sweep.opening)
                fun now(state: DeskState) = Progress(state, 1 + rounds.done, job.plan.rounds)
                while (true) {
                    tell(now(DeskState.WAITING))
                    val ask = pulse.await(2 + rounds.done, ::stopped) ?: return
                    if (ask.line > 2 + rounds.done) {
                        throw DataError("line ${ask.line} is asked for, but ${1 + rounds.done} are there; repeat it")
                    }
                    tell(now(DeskState.RUNNING))
                    val line = when (ask.what) {
                        What.ROUND -> sweep.round(ask.round, ::stopped)
                        What.SUSTAINED -> sweep.sustained(::stopped)
                        What.END -> null
                    }
                    pulse.raise()
                    rounds.append(line ?: return)
                }
            }
        }
    }

    private fun failed(error: Throwable): Progress {
        val kind = when (error) {
            is StoppedHere -> Failure.STOPPED
            is DataError, is UsageError -> Failure.DATA
            is BundleError -> Failure.BUNDLE
            is BackendError -> Failure.BACKEND
            is StorageError -> Failure.STORAGE
            is OutOfMemoryError -> Failure.MEMORY
            else -> Failure.INTERNAL
        }
        val words = when (kind) {
            Failure.MEMORY -> "the app has not enough memory (${error.message}); close other apps, or take smaller parts"
            Failure.INTERNAL -> "the app met $error; report this"
            else -> error.message!!
        }
        return progress.copy(state = DeskState.FAILED, kind = kind, problem = words)
    }

    companion object {
        /**
         * The folder of the sweep [id] in the folder of an app's own files, on Android `getExternalFilesDir(null)`.
         *
         * Throws [UsageError]: that is no id, which has 1 to 64 of a-z, 0-9 and "-".
         */
        fun folder(files: Path, id: String): Path {
            if (!ID.matches(id)) throw UsageError("'$id' is no sweep; expected 1 to 64 of a-z, 0-9 and '-'")
            return files.resolve(SWEEPS).resolve(id)
        }
    }
}

/** Do what may fail for want of room or right; throw [StorageError] where it does. */
internal fun <T> storing(what: String, act: () -> T): T = try {
    act()
} catch (error: IOException) {
    throw StorageError("$what: $error; make room", error)
}
