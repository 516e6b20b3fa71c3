package edgemoe.core

import java.io.IOException
import java.nio.file.FileVisitResult
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.SimpleFileVisitor
import java.nio.file.attribute.BasicFileAttributes

internal const val SWEEPS = "sweeps"

internal class AlreadyThere : Exception()

/** The desks of this process. It knows nothing of one before, so that nothing stays locked when a process dies. */
internal object Desks {
    private val open = mutableSetOf<Path>()
    private var running: Path? = null

    /** Take a folder -> the one whose sweep runs, null where this one's may. Throws [AlreadyThere]: it is taken. */
    @Synchronized
    fun enter(folder: Path): Path? {
        if (!open.add(folder)) throw AlreadyThere()
        return running.also { if (it == null) running = folder }
    }

    /** Another sweep may run. */
    @Synchronized
    fun free(folder: Path) {
        if (running == folder) running = null
    }

    @Synchronized
    fun leave(folder: Path) {
        free(folder)
        open.remove(folder)
    }

    /** Remove what a process that was killed has left beside this folder: nobody answers there any more. */
    @Synchronized
    fun removeOthers(folder: Path) {
        val parent = folder.toAbsolutePath().parent
        if (parent.fileName?.toString() != SWEEPS) return
        val others = Files.newDirectoryStream(parent).use { it.toList() }
        val mine = open.map { it.fileName }
        for (other in others) if (other.fileName !in mine) removeTree(other)
    }
}

/** Remove a folder and all in it, as far as it can be; what a link leads to stays. */
internal fun removeTree(folder: Path) {
    val visitor = object : SimpleFileVisitor<Path>() {
        override fun visitFile(file: Path, attributes: BasicFileAttributes) = gone(file)

        override fun visitFileFailed(file: Path, error: IOException) = FileVisitResult.CONTINUE

        override fun postVisitDirectory(folder: Path, error: IOException?) = gone(folder)

        private fun gone(path: Path): FileVisitResult {
            try {
                Files.deleteIfExists(path)
            } catch (_: IOException) { // it goes with the app, or with the next sweep
            }
            return FileVisitResult.CONTINUE
        }
    }
    Files.walkFileTree(folder, visitor)
}
