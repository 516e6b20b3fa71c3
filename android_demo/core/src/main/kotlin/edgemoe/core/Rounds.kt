package edgemoe.core

import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.channels.OverlappingFileLockException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.nio.file.StandardOpenOption.CREATE
import java.nio.file.StandardOpenOption.READ
import java.nio.file.StandardOpenOption.TRUNCATE_EXISTING
import java.nio.file.StandardOpenOption.WRITE
import kotlin.text.Charsets.UTF_8

/** Bytes that are kept: a file, or in tests one that fails. Every method throws [IOException]. */
interface Kept : AutoCloseable {
    fun read(): ByteArray

    /** Write at [length], and be sure of it. */
    fun append(length: Long, bytes: ByteArray)

    /** Forget what is behind [length]. */
    fun cut(length: Long)
}

/** A file that nobody else writes meanwhile. */
class KeptFile(file: Path) : Kept {
    private val channel = try {
        FileChannel.open(file, CREATE, READ, WRITE)
    } catch (error: IOException) {
        throw StorageError("$file cannot be written: ${error.message}; choose another folder", error)
    }

    init {
        val alone = try {
            channel.tryLock() != null
        } catch (_: OverlappingFileLockException) { // of this process
            false
        } catch (_: IOException) { // no locks here, as on some storages; of one process Desks lets one write
            true
        }
        if (!alone) {
            channel.close()
            throw UsageError("$file is being written by another sweep; wait for it, or stop it")
        }
    }

    override fun read(): ByteArray {
        val bytes = ByteBuffer.allocate(Math.toIntExact(channel.size()))
        channel.position(0)
        do {
            val count = channel.read(bytes)
        } while (count > 0)
        return bytes.array().copyOf(bytes.position())
    }

    override fun append(length: Long, bytes: ByteArray) {
        channel.position(length)
        val rest = ByteBuffer.wrap(bytes)
        while (rest.hasRemaining()) channel.write(rest)
        channel.force(true)
    }

    override fun cut(length: Long) {
        channel.truncate(length)
    }

    override fun close() = channel.close()
}

/**
 * rounds.jsonl: the opening, then one round a line, each whole when it is there. One that was begun is gone on with.
 *
 * @param opening this machine's. Where the file has another machine's already, that is refused.
 */
class RoundsFile(private val kept: Kept, opening: String) : AutoCloseable {
    private var length = 0L

    /** How many rounds are there: the number of the next one. */
    var done = 0
        private set

    init {
        val there = storing { kept.read() }
        // What follows the last line break was cut off by a kill, or by a full disk.
        length = there.indexOfLast { it == '\n'.code.toByte() } + 1L
        val lines = String(there, 0, length.toInt(), UTF_8).split("\n").dropLast(1)
        if (lines.isEmpty()) {
            add(opening)
        } else {
            if (whose(lines.first()) != whose(opening)) {
                throw DataError("rounds.jsonl has rounds of another machine or version; begin with an empty folder")
            }
            done = lines.size - 1
        }
    }

    /** Keep a round. Throws [StorageError]: it cannot be, and nothing of it is; what was there stays. */
    fun append(round: String) {
        add(round)
        done++
    }

    private fun add(line: String) {
        require('\n' !in line)
        val bytes = "$line\n".toByteArray()
        storing {
            try {
                kept.append(length, bytes)
            } catch (error: IOException) {
                try {
                    kept.cut(length)
                } catch (second: IOException) { // the half line is known by its missing end
                    error.addSuppressed(second)
                }
                throw error
            }
        }
        length += bytes.size
    }

    private fun <T> storing(what: () -> T): T = try {
        what()
    } catch (error: IOException) {
        throw StorageError("rounds cannot be kept: ${error.message}; make room, and start the sweep again", error)
    }

    override fun close() = kept.close()
}

/** What has to be the same for rounds to be of one measurement. */
private fun whose(opening: String): Map<*, *> = try {
    (parseJson(opening.toByteArray()) as? Map<*, *>).orEmpty()
        .filterKeys { it in listOf("schema_version", "target", "units", "machine", "versions") }
} catch (_: Malformed) {
    emptyMap<String, Any>()
}

/**
 * Write a file that others read at any time: they see the old text or the new one. Throws [StorageError].
 *
 * @param sure whether it has to be there after a loss of power as well, which takes time
 */
fun replaceFile(file: Path, text: String, sure: Boolean = true) {
    val draft = file.resolveSibling("${file.fileName}.part")
    try {
        FileChannel.open(draft, CREATE, TRUNCATE_EXISTING, WRITE).use {
            val rest = ByteBuffer.wrap(text.toByteArray())
            while (rest.hasRemaining()) it.write(rest)
            if (sure) it.force(true)
        }
        Files.move(draft, file, ATOMIC_MOVE)
    } catch (error: IOException) {
        throw StorageError("${file.fileName} cannot be written: ${error.message}; make room", error)
    }
}
