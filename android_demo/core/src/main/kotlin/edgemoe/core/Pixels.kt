package edgemoe.core

/** An image: RGB bytes [[height]][[width]][3]. */
class Pixels(val width: Int, val height: Int, val rgb: ByteArray) {
    init {
        require(width > 0 && height > 0 && rgb.size.toLong() == 3L * width * height) {
            "$width x $height has not ${rgb.size} bytes"
        }
    }

    /** Turn an image as its EXIF [orientation] (1 to 8) says; any other number is none. */
    fun upright(orientation: Int): Pixels {
        if (orientation !in 2..8) return this
        val sideways = orientation >= 5
        val (newWidth, newHeight) = if (sideways) height to width else width to height
        val turned = ByteArray(rgb.size)
        for (y in 0 until newHeight) {
            for (x in 0 until newWidth) {
                val (fromX, fromY) = when (orientation) {
                    2 -> width - 1 - x to y
                    3 -> width - 1 - x to height - 1 - y
                    4 -> x to height - 1 - y
                    5 -> y to x
                    6 -> y to height - 1 - x
                    7 -> width - 1 - y to height - 1 - x
                    else -> width - 1 - y to x
                }
                val from = 3 * (fromY * width + fromX)
                rgb.copyInto(turned, 3 * (y * newWidth + x), from, from + 3)
            }
        }
        return Pixels(newWidth, newHeight, turned)
    }

    companion object {
        /**
         * An image of ARGB numbers, not premultiplied, its transparent pixels on white.
         *
         * On Android: `BitmapFactory.Options.inPremultiplied = false`, and `Bitmap.copyPixelsToBuffer`, for `getPixels`
         * would take the colours for premultiplied ones.
         */
        fun onWhite(width: Int, height: Int, argb: IntArray): Pixels {
            val rgb = ByteArray(3 * argb.size)
            for ((i, pixel) in argb.withIndex()) {
                val alpha = pixel ushr 24
                for (channel in 0..2) {
                    val value = pixel ushr (16 - 8 * channel) and 0xff
                    rgb[3 * i + channel] = ((value * alpha + 255 * (255 - alpha) + 127) / 255).toByte()
                }
            }
            return Pixels(width, height, rgb)
        }
    }
}

/** What decodes image files: the system's own on a phone. */
fun interface ImageDecoder {
    /**
     * The bytes of an image file -> its pixels, upright (EXIF), transparent ones on white; of an animation the first frame.
     *
     * Throws [DataError]: it is not an image that can be decoded here, or one of an absurd size.
     */
    fun decode(file: ByteArray): Pixels
}
