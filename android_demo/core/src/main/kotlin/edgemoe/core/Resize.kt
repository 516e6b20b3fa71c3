package edgemoe.core

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max

/*
 * Resizing as edge_moe/preprocess.py has Pillow do it (its Resample.c, 8 bits a channel), to the last bit: a phone's own
 * resize is another one on every system, and other pixels are other answers.
 */

private const val PRECISION = 22 // bits of a weight
private const val HALF = 1 shl (PRECISION - 1)

/** What to cut out, in pixels of the image; fractions are allowed. */
internal data class Box(val left: Double, val top: Double, val right: Double, val bottom: Double)

private class Filter(val support: Double, val at: (Double) -> Double)

private val BILINEAR = Filter(1.0) { max(0.0, 1 - abs(it)) }
private val BICUBIC = Filter(2.0) {
    val a = -0.5
    val d = abs(it)
    when {
        d < 1 -> ((a + 2) * d - (a + 3)) * d * d + 1
        d < 2 -> (((d - 5) * d + 8) * d - 4) * a
        else -> 0.0
    }
}

/** Cut [box] out of an image and resize it to [width] by [height]. */
internal fun resize(image: Pixels, width: Int, height: Int, method: Interpolation, box: Box): Pixels {
    val filter = when (method) {
        Interpolation.NEAREST -> return nearest(image, width, height, box)
        Interpolation.BILINEAR -> BILINEAR
        Interpolation.BICUBIC -> BICUBIC
    }
    val reach = filter.support * max((box.bottom - box.top) / height, 1.0) + 1
    val first = max(0, (box.top - reach).toInt())
    val count = minOf(image.height, ceil(box.bottom + reach).toInt()) - first // rows that are read
    val columns = Weights.of(image.width, box.left, box.right, width, filter)
    val rows = Weights.of(count, box.top - first, box.bottom - first, height, filter)
    val across = ByteArray(3 * count * width) // each pass rounds: across first, then down
    for (y in 0 until count) {
        for ((x, one) in columns.withIndex()) {
            sum(image.rgb, 3 * ((y + first) * image.width + one.from), 3, one.by, across, 3 * (y * width + x))
        }
    }
    val found = ByteArray(3 * height * width)
    for ((y, one) in rows.withIndex()) {
        for (x in 0 until width) sum(across, 3 * (one.from * width + x), 3 * width, one.by, found, 3 * (y * width + x))
    }
    return Pixels(width, height, found)
}

private fun sum(data: ByteArray, start: Int, step: Int, by: IntArray, into: ByteArray, place: Int) {
    var red = HALF
    var green = HALF
    var blue = HALF
    var at = start
    for (weight in by) {
        red += (data[at].toInt() and 0xff) * weight
        green += (data[at + 1].toInt() and 0xff) * weight
        blue += (data[at + 2].toInt() and 0xff) * weight
        at += step
    }
    into[place] = clipped(red)
    into[place + 1] = clipped(green)
    into[place + 2] = clipped(blue)
}

private fun clipped(sum: Int) = (sum shr PRECISION).coerceIn(0, 255).toByte()

/** Where the source pixels of one result begin, and the weight of each in 1 / 2^PRECISION. */
private class Weights(val from: Int, val by: IntArray) {
    companion object {
        /** The weights of [count] results; Pillow keeps a box in single precision. */
        fun of(length: Int, start: Double, end: Double, count: Int, filter: Filter): List<Weights> {
            val begin = start.toFloat()
            val scale = (end.toFloat() - begin).toDouble() / count
            val stretch = max(scale, 1.0) // a result that covers several pixels is their mean
            val support = filter.support * stretch
            return List(count) { i ->
                val centre = begin + (i + 0.5) * scale
                val from = max(0, (centre - support + 0.5).toInt())
                val to = minOf(length, (centre + support + 0.5).toInt())
                val raw = DoubleArray(to - from) { filter.at((it + from - centre + 0.5) * (1 / stretch)) }
                val total = raw.sum().takeIf { it != 0.0 } ?: 1.0
                Weights(
                    from,
                    IntArray(raw.size) {
                        val whole = raw[it] / total * (1 shl PRECISION)
                        (if (whole < 0) whole - 0.5 else whole + 0.5).toInt()
                    },
                )
            }
        }
    }
}

private fun nearest(image: Pixels, width: Int, height: Int, box: Box): Pixels {
    val columns = places(box.left, box.right, width)
    val found = ByteArray(3 * height * width)
    for ((y, row) in places(box.top, box.bottom, height).withIndex()) {
        for ((x, column) in columns.withIndex()) {
            val at = 3 * (row * image.width + column)
            image.rgb.copyInto(found, 3 * (y * width + x), at, at + 3)
        }
    }
    return Pixels(width, height, found)
}

private fun places(start: Double, end: Double, count: Int): IntArray {
    val step = (end.toFloat() - start.toFloat()).toDouble() / count
    var at = start.toFloat() + step * 0.5
    return IntArray(count) { at.toInt().also { at += step } } // added up, as Pillow does, and not multiplied
}
