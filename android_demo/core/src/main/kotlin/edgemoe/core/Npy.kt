package edgemoe.core

import java.io.IOException
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.channels.FileChannel
import java.nio.file.Path
import java.nio.file.StandardOpenOption.READ

/** float32 numbers in C order. */
class Floats(val shape: List<Int>, val values: FloatBuffer) {
    /** Item [i] along the first axis, without a copy. */
    operator fun get(i: Int): FloatBuffer {
        val size = values.limit() / shape.first()
        return values.duplicate().apply { window(i * size, (i + 1) * size) }.slice()
    }
}

/** Read an .npy file, numpy's of one array, without taking it into memory; throws [DataError]. */
fun readNpy(file: Path): Floats = try {
    FileChannel.open(file, READ).use {
        npy(it.map(FileChannel.MapMode.READ_ONLY, 0, it.size()), file.fileName.toString())
    }
} catch (error: IOException) {
    throw DataError("$file cannot be read: ${error.message}; copy the job again")
} catch (_: IllegalArgumentException) { // 2 GiB or more
    throw DataError("$file is too large; measure with fewer images")
}

private val MAGIC = "\u0093NUMPY".toByteArray(Charsets.ISO_8859_1)
private val SHAPE = Regex("'shape': \\(([\\d, ]*)\\)")

/** The bytes of an .npy of float32 in C order. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
fun npy(data: ByteBuffer, name: String): Floats {
    val bytes = data.duplicate().order(ByteOrder.LITTLE_ENDIAN)
    val wide = bytes.limit() > 12 && bytes.get(6) > 1 // version 1 has a length of two bytes
    val start = if (wide) 12 else 10
    val length = when {
        bytes.limit() <= start -> 0
        wide -> bytes.getInt(8)
        else -> bytes.getShort(8).toInt() and 0xffff
    }
    fun refuse(): Nothing = throw DataError("$name holds no float32 array; copy the job again")
    if (MAGIC.indices.any { it >= bytes.limit() || bytes.get(it) != MAGIC[it] }) refuse()
    if (length !in 1..bytes.limit() - start) refuse()
    val header = String(CharArray(length) { (bytes.get(start + it).toInt() and 0xff).toChar() })
    val sides = SHAPE.find(header)?.groupValues?.get(1)?.split(',')?.map(String::trim)?.filter(String::isNotEmpty)
    val shape = sides?.map { it.toIntOrNull() ?: refuse() } ?: refuse()
    val count = shape.fold(1L) { product, side -> if (product > Int.MAX_VALUE) refuse() else product * side }
    if ("'<f4'" !in header || "'fortran_order': False" !in header) refuse()
    bytes.window(start + length, bytes.limit())
    if (bytes.remaining().toLong() != 4 * count) refuse()
    return Floats(shape, bytes.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer())
}

/** Written for any buffer, for on Android 8 one of bytes has no `position` of its own, as it has in later Javas. */
private fun Buffer.window(from: Int, to: Int) {
    limit(to)
    position(from)
}
