package edgemoe.core

import java.io.IOException
import java.nio.file.Files
import java.nio.file.NoSuchFileException
import java.nio.file.Path

private const val ASK = "ask.json"
private const val MOST_BYTES = 10_000L
private val WHATS = What.entries.associateBy { it.name.lowercase() }

internal enum class What { ROUND, SUSTAINED, END }

/** What the harness wants next. */
internal class Ask(
    /** Another number than before says that the harness is there. */
    val beat: Long,
    /** How many lines rounds.jsonl has when it is done; 1 is the opening alone, 0 nothing yet: the job is still sent. */
    val line: Int,
    val what: What,
    /** The number of the round. */
    val round: Int,
)

/** Read ask.json of a job folder; null: there is none. Throws [DataError]: it cannot be read, or is none. */
internal fun readAsk(folder: Path): Ask? = try {
    val file = folder.resolve(ASK)
    if (Files.size(file) > MOST_BYTES) throw DataError("$ASK is too large to be one")
    val node = Node(parseJson(Files.readAllBytes(file)))
    node.record {
        Ask(
            beat = this["beat"].long(0..Long.MAX_VALUE),
            line = this["line"].int(0..Int.MAX_VALUE),
            what = this["what"].oneOf(WHATS),
            round = this["round"].int(0..Int.MAX_VALUE),
        )
    }
} catch (_: NoSuchFileException) {
    null
} catch (error: IOException) { // of another owner's, as some phones have what adb wrote
    throw DataError("$ASK cannot be read by the app: $error")
} catch (error: Malformed) {
    throw DataError("$ASK is none of this app's: ${error.message}; install the app of the edge-moe that asks")
}
