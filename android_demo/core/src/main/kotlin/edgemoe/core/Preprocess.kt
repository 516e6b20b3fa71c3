package edgemoe.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/*
 * Image -> input tensor: edge_moe/preprocess.py in another language.
 *
 * Axis letters: H W height and width.
 */

/** Image file -> the input tensor [1][H][W][3], in memory that a native library reads. Throws [DataError]. */
fun prepare(file: ByteArray, spec: Preprocessing, decoder: ImageDecoder): FloatBuffer =
    normalize(resizeCrop(decoder.decode(file), spec), spec)

/**
 * Resize with antialiasing and cut out the centre -> H by W pixels.
 *
 * The sizes are rounded as torchvision's Resize and CenterCrop do. Only the cut is computed.
 */
fun resizeCrop(image: Pixels, spec: Preprocessing): Pixels {
    val (width, height) = image.width to image.height
    var (newHeight, newWidth) = spec.resize
    if (spec.resize.single) {
        val short = minOf(width, height)
        if (width != short) newWidth = proportional(spec.resize.height, width, short)
        if (height != short) newHeight = proportional(spec.resize.height, height, short)
    }
    val (cropHeight, cropWidth) = spec.imageSize
    val left = Math.rint((newWidth - cropWidth) / 2.0) // of two the even one, as Python rounds
    val top = Math.rint((newHeight - cropHeight) / 2.0)
    val across = width.toDouble() / newWidth // source pixels a resized pixel
    val down = height.toDouble() / newHeight
    val box = Box(
        left = left * across,
        top = top * down,
        right = minOf((left + cropWidth) * across, width.toDouble()),
        bottom = minOf((top + cropHeight) * down, height.toDouble()),
    )
    return resize(image, cropWidth, cropHeight, spec.interpolation, box)
}

private fun proportional(resize: Int, side: Int, short: Int) = ((resize.toLong() * side).toDouble() / short).toInt()

/** Pixels -> float32 (pixel / 255 - mean) / std, in single precision throughout: [1][H][W][3]. */
fun normalize(pixels: Pixels, spec: Preprocessing): FloatBuffer {
    val tables = List(3) { channel ->
        val (mean, std) = spec.mean[channel].toFloat() to spec.std[channel].toFloat()
        FloatArray(256) { (it / 255f - mean) / std }
    }
    val tensor = floats(pixels.rgb.size)
    for ((i, byte) in pixels.rgb.withIndex()) tensor.put(i, tables[i % 3][byte.toInt() and 0xff])
    return tensor
}

/** Room for [count] floats where a native library can read them without a copy. */
fun floats(count: Int): FloatBuffer =
    ByteBuffer.allocateDirect(4 * count).order(ByteOrder.nativeOrder()).asFloatBuffer()
