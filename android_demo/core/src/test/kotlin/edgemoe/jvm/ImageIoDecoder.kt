package edgemoe.jvm

import edgemoe.core.DataError
import edgemoe.core.ImageDecoder
import edgemoe.core.Pixels
import java.awt.image.BufferedImage
import java.io.IOException
import java.nio.BufferUnderflowException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import javax.imageio.ImageIO

/** Decodes with what a JVM has; on a phone BitmapFactory does it. WebP is not among what a JVM reads. */
object ImageIoDecoder : ImageDecoder {
    init {
        ImageIO.setUseCache(false)
    }

    override fun decode(file: ByteArray): Pixels {
        val image = try {
            ImageIO.read(file.inputStream())
        } catch (error: IOException) {
            throw DataError("the image cannot be decoded: ${error.message}")
        } ?: throw DataError("it is not an image that is decoded here")
        return pixels(image).upright(orientation(file))
    }

    private fun pixels(image: BufferedImage): Pixels {
        val (width, height) = image.width to image.height
        if (image.raster.numBands > 1 || image.colorModel.numComponents > 1) {
            return Pixels.onWhite(width, height, image.getRGB(0, 0, width, height, null, 0, width))
        }
        // getRGB would take grey for linear light and make it brighter.
        val grey = image.raster.getSamples(0, 0, width, height, 0, null as IntArray?)
        val deep = image.colorModel.getComponentSize(0) == 16
        return Pixels(
            width,
            height,
            ByteArray(3 * grey.size) { i ->
                val value = grey[i / 3]
                (if (deep) (value / 257.0 + 0.5).toInt() else value).toByte()
            },
        )
    }

    /** The EXIF orientation of a JPEG; 1 where it says none. */
    fun orientation(jpeg: ByteArray): Int {
        val bytes = ByteBuffer.wrap(jpeg)
        try {
            if (bytes.short != 0xffd8.toShort()) return 1
            while (true) {
                val marker = bytes.short.toInt() and 0xffff
                val end = bytes.position() + (bytes.short.toInt() and 0xffff)
                if (marker == 0xffda) return 1
                if (marker == 0xffe1 &&
                    bytes.int == 0x45786966
                ) {
                    return inTiff(bytes.position(bytes.position() + 2).slice())
                }
                bytes.position(end)
            }
        } catch (_: BufferUnderflowException) {
            return 1
        } catch (_: IllegalArgumentException) {
            return 1
        }
    }

    private fun inTiff(bytes: ByteBuffer): Int {
        bytes.order(if (bytes.short == 0x4949.toShort()) ByteOrder.LITTLE_ENDIAN else ByteOrder.BIG_ENDIAN)
        bytes.position(bytes.getInt(4))
        repeat(bytes.short.toInt()) {
            val tag = bytes.short.toInt()
            if (tag == 0x0112) return bytes.getShort(bytes.position() + 6).toInt()
            bytes.position(bytes.position() + 10)
        }
        return 1
    }
}
