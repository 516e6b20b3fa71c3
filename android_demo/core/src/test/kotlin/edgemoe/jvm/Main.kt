package edgemoe.jvm

import edgemoe.core.EdgeMoeError
import edgemoe.core.Here
import edgemoe.core.Processor
import edgemoe.core.Sweep
import edgemoe.core.readJob
import java.nio.file.Files
import java.nio.file.Path
import kotlin.system.exitProcess

/**
 * `answer JOB`: a target of the harness on a JVM, by the protocol of docs/targets.md, "A stream". The opening goes to
 * stdout; then the number of the first round comes from stdin, and the rounds go out, one a line.
 */
fun main(arguments: Array<String>) {
    val (verb, folder) = arguments.takeIf { it.size == 2 } ?: fail("expected: answer JOB")
    if (verb != "answer") fail("expected: answer JOB")
    try {
        val job = readJob(Path.of(folder))
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
    } catch (error: EdgeMoeError) {
        fail(error.message!!)
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
)

private fun say(line: String) {
    println(line)
    System.out.flush()
}

private fun fail(message: String): Nothing {
    System.err.println(message)
    exitProcess(1)
}
