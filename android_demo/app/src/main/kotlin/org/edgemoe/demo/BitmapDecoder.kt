package org.edgemoe.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import edgemoe.core.DataError
import edgemoe.core.ImageDecoder
import edgemoe.core.Pixels
import java.nio.ByteBuffer

private const val MOST_PIXELS = 16L shl 20 // 112 MiB while they are turned into RGB
private const val MOST_FILE_PIXELS = 1L shl 30

/**
 * Decodes with what Android has, as far as it can be as Python does: colours as the file has them, not those of the
 * screen, and no colour multiplied by its alpha.
 *
 * A photograph of more than [mostPixels] is decoded at a half, a quarter, ... of its size: then its pixels are not quite
 * Python's.
 */
internal class BitmapDecoder(private val mostPixels: Long = MOST_PIXELS) : ImageDecoder {
    override fun decode(file: ByteArray): Pixels {
        val size = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(file, 0, file.size, size)
        val (width, height) = size.outWidth to size.outHeight
        if (width <= 0 || height <= 0) throw DataError("it is not an image that Android decodes")
        val count = width.toLong() * height
        if (count > MOST_FILE_PIXELS) throw DataError("the image has $width x $height pixels, which is too many")
        val options = BitmapFactory.Options().apply {
            inPremultiplied = false
            inScaled = false
            inSampleSize = generateSequence(1) { 2 * it }.first { count / it / it <= mostPixels }
        }
        val bitmap = BitmapFactory.decodeByteArray(file, 0, file.size, options)
            ?: throw DataError("the image is damaged, or of a kind that Android does not decode")
        return pixels(bitmap).upright(orientation(file))
    }

    private fun pixels(bitmap: Bitmap): Pixels {
        // An image of 16 bits a channel comes in half floats.
        val plain = if (bitmap.config ==
            Bitmap.Config.ARGB_8888
        ) {
            bitmap
        } else {
            bitmap.copy(Bitmap.Config.ARGB_8888, false)
        }
        val (width, height) = plain.width to plain.height
        val bytes = ByteBuffer.allocate(plain.byteCount)
        plain.copyPixelsToBuffer(bytes) // getPixels would divide by alpha once more
        plain.recycle()
        if (plain !== bitmap) bitmap.recycle()
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
