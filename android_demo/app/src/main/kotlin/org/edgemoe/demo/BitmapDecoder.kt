package org.edgemoe.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import edgemoe.core.DataError
import edgemoe.core.ImageDecoder
import edgemoe.core.Pixels
import java.nio.ByteBuffer

private const val MOST_PIXELS = 16L shl 20
private const val BYTES_A_PIXEL = 7L // while one is turned into RGB
private const val LEAST_PIXELS = 1L shl 16 // where there is no room for those, there is none
private const val MOST_FILE_PIXELS = 1L shl 30

/**
 * Decodes with what Android has, as far as it can be as Python does: colours as the file has them, not those of the
 * screen, and no colour multiplied by its alpha.
 *
 * A photograph of more than [mostPixels] is decoded at a half, a quarter, ... of its size: then its pixels are not quite
 * Python's. So is one for which there is not enough memory.
 *
 * @param read as [BitmapFactory.decodeByteArray]
 */
internal class BitmapDecoder(
    private val mostPixels: Long = mostPixels(),
    private val read: (ByteArray, BitmapFactory.Options) -> Bitmap? = { file, how ->
        BitmapFactory.decodeByteArray(file, 0, file.size, how)
    },
) : ImageDecoder {
    override fun decode(file: ByteArray): Pixels {
        val size = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(file, 0, file.size, size)
        val (width, height) = size.outWidth to size.outHeight
        if (width <= 0 || height <= 0) throw DataError("it is not an image that Android decodes")
        val count = width.toLong() * height
        if (count > MOST_FILE_PIXELS) throw DataError("the image has $width x $height pixels, which is too many")
        var every = generateSequence(1) { 2 * it }.first { count / it / it <= mostPixels }
        while (true) {
            try {
                return decode(file, every)
            } catch (error: OutOfMemoryError) {
                if (count / every / every <= LEAST_PIXELS) throw error
                every *= 2
            }
        }
    }

    private fun decode(file: ByteArray, every: Int): Pixels {
        val options = BitmapFactory.Options().apply {
            inPremultiplied = false
            inScaled = false
            inSampleSize = every
        }
        val bitmap = read(file, options)
            ?: throw DataError("the image is damaged, or of a kind that Android does not decode")
        return try {
            pixels(bitmap)
        } finally {
            bitmap.recycle()
        }.upright(orientation(file))
    }

    private fun pixels(bitmap: Bitmap): Pixels {
        // An image of 16 bits a channel comes in half floats.
        val kind = Bitmap.Config.ARGB_8888
        val plain = if (bitmap.config == kind) {
            bitmap
        } else {
            bitmap.copy(kind, false) ?: throw OutOfMemoryError("of a copy of the image")
        }
        val (width, height) = plain.width to plain.height
        val bytes = ByteBuffer.allocate(plain.byteCount)
        plain.copyPixelsToBuffer(bytes) // getPixels would divide by alpha once more
        if (plain !== bitmap) plain.recycle()
        bytes.toStart()
        val rgb = ByteArray(3 * width * height)
        val row = IntArray(width)
        for (y in 0 until height) { // row by row, for all at once would be in memory once more
            for (x in 0 until width) row[x] = argb(bytes.int)
            Pixels.onWhite(width, 1, row).rgb.copyInto(rgb, 3 * width * y)
        }
        return Pixels(width, height, rgb)
    }

    private fun argb(memory: Int) = if (RED_FIRST) Integer.rotateRight(memory, 8) else Integer.reverseBytes(memory)
}

/** Of how many pixels an image is decoded whole: this app's memory has room for twice as much. */
private fun mostPixels() = minOf(MOST_PIXELS, Runtime.getRuntime().maxMemory() / 2 / BYTES_A_PIXEL)

/** Whether red is a pixel's first byte, as on every phone; on a JVM, where tests run, blue is. */
private val RED_FIRST by lazy {
    val pixel = Bitmap.createBitmap(intArrayOf(0xffff0000.toInt()), 1, 1, Bitmap.Config.ARGB_8888)
    val bytes = ByteBuffer.allocate(4).also(pixel::copyPixelsToBuffer)
    bytes.get(0) != 0.toByte()
}

/** What a screen shows of an image, no side longer than [most]. */
internal fun Pixels.toBitmap(most: Int): Bitmap {
    val step = (maxOf(width, height) + most - 1) / most
    val (across, down) = maxOf(1, width / step) to maxOf(1, height / step)
    val argb = IntArray(across * down) { i ->
        val at = 3 * (i / across * step * width + i % across * step)
        fun channel(c: Int) = rgb[at + c].toInt() and 0xff
        0xff shl 24 or (channel(0) shl 16) or (channel(1) shl 8) or channel(2)
    }
    return Bitmap.createBitmap(argb, across, down, Bitmap.Config.ARGB_8888)
}
