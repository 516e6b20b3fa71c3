package org.edgemoe.demo

import edgemoe.core.Desk
import edgemoe.core.DeskState
import edgemoe.core.EdgeMoeError
import edgemoe.core.Failure
import edgemoe.core.Here
import edgemoe.core.Progress
import java.io.File
import java.util.concurrent.Executor

/** A sweep, as its screen shows it. [progress]: null as long as nothing is known of it. */
internal class Shown(val id: String, val progress: Progress?)

/**
 * The sweeps of this process: each on a thread of its own, which measures and does nothing else. Methods are the main
 * thread's.
 *
 * @param files the folder in which jobs come; null: the storage is not there
 */
internal class Sweeps(
    private val files: () -> File?,
    private val here: () -> Here,
    private val main: Executor,
    private val quiet: Quiet,
) {
    private val running = mutableSetOf<String>()

    @Volatile
    private var stopping: String? = null

    /** Whether the screen of the sweep is what the person sees. */
    val attention = Attention()

    /** What to show; null: nothing was asked for yet. */
    var shown: Shown? = null
        private set

    var watcher: ((Shown?) -> Unit)? = null
        set(value) {
            field = value
            value?.invoke(shown)
        }

    /** Begin with a job, or go on with it. While another one runs, that one stays on the screen. */
    fun start(id: String) {
        if (id in running) return
        val root = files()
        val folder = try {
            if (root == null) null else Desk.folder(root.toPath(), id)
        } catch (error: EdgeMoeError) {
            return failed(id, Failure.DATA, error.message)
        }
        if (folder == null) return failed(id, Failure.STORAGE, "the storage for jobs is not there")
        if (free()) show(Shown(id, null))
        if (running.isEmpty()) attention.anew()
        running += id
        quiet.begin()
        if (stopping == id) stopping = null
        Thread({
            try {
                Desk(folder, here()).work({ stopping == id }) { progress -> main.execute { told(id, progress) } }
            } catch (error: Throwable) { // before there was a desk; thrown on this thread, it would end the app
                val progress = Progress(DeskState.FAILED, kind = Failure.INTERNAL, problem = "$error")
                main.execute { told(id, progress) }
            } finally {
                quiet.end()
                main.execute { running -= id }
            }
        }, "edge-moe's sweep").start()
    }

    /** End the one that is shown: the person wants it. */
    fun stop() {
        stopping = shown?.id
    }

    private fun told(id: String, progress: Progress) {
        if (shown?.id == id) show(Shown(id, progress))
    }

    private fun failed(id: String, kind: Failure, problem: String?) {
        if (free()) show(Shown(id, Progress(DeskState.FAILED, kind = kind, problem = problem)))
    }

    /** Whether what is shown has ended; a failed one runs on until the harness has read why. */
    private fun free(): Boolean {
        val now = shown ?: return true
        return now.id !in running || now.progress?.state in setOf(DeskState.DONE, DeskState.FAILED)
    }

    private fun show(now: Shown?) {
        shown = now
        watcher?.invoke(now)
    }
}
