package edgemoe.jvm

import edgemoe.core.Desk
import edgemoe.core.EdgeMoeError
import edgemoe.core.Here
import edgemoe.core.Processor
import edgemoe.core.Sweep
import edgemoe.core.Times
import edgemoe.core.readJob
import java.nio.file.Files
import java.nio.file.Path
import kotlin.concurrent.thread
import kotlin.system.exitProcess

private const val USAGE = "expected: answer JOB, or app FILES"

/**
 * `answer JOB`: a target of the harness on a JVM, by the protocol of docs/targets.md, "A stream".
 *
 * `app FILES`: stands for the app's process, whose own files lie in FILES. A line of stdin is an intent: the id of a
 * sweep. It ends with its stdin.
 */
fun main(arguments: Array<String>) {
    val (verb, folder) = arguments.takeIf { it.size == 2 } ?: fail(USAGE)
    try {
        when (verb) {
            "answer" -> answer(Path.of(folder))
            "app" -> app(Path.of(folder))
            else -> fail(USAGE)
        }
    } catch (error: EdgeMoeError) {
        fail(error.message!!)
    }
}

/** The opening goes to stdout; then the number of the first round comes from stdin, and rounds go out, one a line. */
private fun answer(folder: Path) {
    val job = readJob(folder)
    Sweep(job, hereOnJvm()).use { sweep ->
        say(sweep.opening)
        // An empty line says that somebody is there.
        val asked = generateSequence(::readlnOrNull).filter(String::isNotBlank).iterator()
        var first = if (asked.hasNext()) asked.next() else return
        if (first != SUSTAINED) {
            for (number in first.trim().toInt() until job.plan.rounds) say(sweep.round(number)!!)
            if (job.plan.sustainedSeconds == 0 || !asked.hasNext()) return
            first = asked.next()
        }
        if (first == SUSTAINED) say(sweep.sustained()!!)
    }
}

/** Every sweep gets a thread, as an app gives it one: whether it may run is its desk's to say. */
private fun app(files: Path) {
    val here = hereOnJvm()
    val times = Times(
        silenceMs = System.getProperty("edgemoe.silence_ms", "60000").toLong(),
        beatMs = System.getProperty("edgemoe.beat_ms", "5000").toLong(),
    )
    for (id in generateSequence(::readlnOrNull)) {
        thread(isDaemon = true) { Desk(Desk.folder(files, id), here, times).work(onProgress = System.err::println) }
    }
}

private const val SUSTAINED = "\"sustained\""

/** This JVM as a place to measure at. */
fun hereOnJvm() = Here(
    engines = mapOf("onnx" to OrtEngine(System.getProperty("edgemoe.unsigned").toBoolean())),
    processor = Path.of("/proc/cpuinfo").let { Processor.parse(if (Files.exists(it)) Files.readString(it) else "") },
    decoder = ImageIoDecoder,
    target = "jvm",
    how = "on a JVM",
    machine = mapOf(
        "name" to "a JVM",
        "system" to "${System.getProperty("os.name")} ${System.getProperty("os.arch")}",
        "logical_cpus" to Runtime.getRuntime().availableProcessors(),
    ),
    facts = { mapOf("in front" to inFront()) },
)

/** What the tests' phone says of it; see tests/phone/state.py. */
private fun inFront(): Boolean {
    val state = System.getenv("PHONE_STATE") ?: return true
    return Files.readString(Path.of(state, "in_front")).trim() == "1"
}

private fun say(line: String) {
    println(line)
    System.out.flush()
}

private fun fail(message: String): Nothing {
    System.err.println(message)
    exitProcess(1)
}
