package edgemoe.core

import edgemoe.jvm.ImageIoDecoder
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path
import java.util.zip.ZipInputStream
import kotlin.io.path.copyToRecursively
import kotlin.math.sin
import kotlin.math.sqrt

/** The checkout, and what Python recorded in it. */
val CHECKOUT: Path = Path.of(System.getProperty("edgemoe.checkout"))
val VECTORS: Path = CHECKOUT.resolve("docs/vectors.json")
val JOB: Path = CHECKOUT.resolve("tests/data/job")
val BUNDLE: Path = JOB.resolve("bundle")

fun bundle(folder: Path = BUNDLE) = Bundle(Folder(folder))

/** A copy of a folder that may be spoilt. */
@OptIn(kotlin.io.path.ExperimentalPathApi::class)
fun copied(from: Path, to: Path): Path = to.also { from.copyToRecursively(it, followLinks = true, overwrite = true) }

/** Change a text in a file. */
fun edit(file: Path, change: (String) -> String) = Files.writeString(file, change(Files.readString(file)))

/** The arrays of an .npz. */
fun npz(data: ByteArray): Map<String, Floats> = ZipInputStream(data.inputStream()).use { zip ->
    generateSequence(zip::getNextEntry).associate {
        it.name.removeSuffix(".npy") to
            npy(ByteBuffer.wrap(zip.readBytes()), it.name)
    }
}

fun Floats.toArray() = FloatArray(values.limit()) { values.get(it) }

/** |found - expected| / |expected| in the L2 norm. */
fun relativeError(found: FloatArray, expected: FloatArray): Double {
    check(found.size == expected.size)
    val off = sqrt(found.indices.sumOf { i -> (found[i] - expected[i]).toDouble().let { it * it } })
    val norm = sqrt(expected.sumOf { it.toDouble() * it })
    return off / if (norm > 0) norm else 1.0
}

/** An engine that computes something that is the same everywhere, and counts what is open. */
open class FakeEngine(override val backend: String = "litert") : Engine {
    override val version = "fake 1"
    var open = 0
    val opened = mutableListOf<String>()
    val ran = mutableListOf<String>() // files

    /** Part -> what opening it throws, so many times. */
    val refused = mutableMapOf<String, MutableList<Throwable>>()

    override fun open(source: PartSource, threads: Int): OpenPart {
        refused[source.name]?.removeFirstOrNull()?.let { throw it }
        open++
        opened += source.name
        return FakePart(source)
    }

    open fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer): FloatArray {
        val sum = (0 until input.limit()).sumOf { input.get(it).toDouble() }
        return FloatArray(count) { (2 * sin(sum / 50 + source.name.hashCode() % 7 + it * (1 + name.length))).toFloat() }
    }

    private inner class FakePart(private val source: PartSource) : OpenPart {
        private var closed = false

        override fun run(input: FloatBuffer): Map<String, FloatBuffer> {
            check(!closed) { "it is closed" }
            ran += source.file.artifact.file
            return source.spec.outputs.associate {
                it.name to FloatBuffer.wrap(compute(source, it.name, it.count, input))
            }
        }

        override fun close() {
            check(!closed) { "it is closed already" }
            closed = true
            open--
        }
    }
}

/** An engine that gives what the golden samples of a set say, for the inputs that they have. */
class ReplayEngine(private val bundle: Bundle, private val set: ArtifactSet) : FakeEngine(set.backend) {
    private val inputs = npz(bundle.read(bundle.manifest.golden.tensors))
    private val stored = npz(bundle.read(set.golden.file))

    override fun compute(source: PartSource, name: String, count: Int, input: FloatBuffer): FloatArray {
        val given = FloatArray(input.limit()) { input.get(it) }
        val which = inputs.keys.first { feed(source.spec.kind, it)?.contentEquals(given) == true }
        return stored.getValue("$which/${source.name}.$name").toArray()
    }

    private fun feed(kind: PartKind, which: String) = when (kind) {
        PartKind.BASE -> inputs[which]
        PartKind.GATE -> stored["$which/base.embedding"]
        PartKind.EXPERT -> stored["$which/base.features"]
    }?.toArray()
}

fun here(engine: Engine, clock: Clock = Ticking(), target: String = "fake") = Here(
    engines = mapOf(engine.backend to engine),
    processor = Processor(emptySet()),
    decoder = ImageIoDecoder,
    target = target,
    how = "",
    machine = mapOf("name" to "a test"),
    clock = clock,
)

/** A clock by which everything takes a millisecond. */
class Ticking : Clock {
    private var now = 0L

    override fun nanos() = (now + 1_000_000).also { now = it }
}

/** Bytes that are kept in memory, on a disk of so much [room]. */
class Memory(var bytes: ByteArray = ByteArray(0), var room: Int = Int.MAX_VALUE) : Kept {
    override fun read() = bytes

    override fun append(length: Long, bytes: ByteArray) {
        val whole = this.bytes.copyOf(length.toInt()) + bytes
        this.bytes = whole.copyOf(minOf(whole.size, room))
        if (whole.size > room) throw IOException("No space left on device")
    }

    override fun cut(length: Long) {
        bytes = bytes.copyOf(length.toInt())
    }

    override fun close() = Unit

    val lines get() = String(bytes).lines().dropLast(1)
}
