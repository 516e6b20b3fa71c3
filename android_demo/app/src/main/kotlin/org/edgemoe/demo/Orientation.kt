package org.edgemoe.demo

import android.media.ExifInterface
import java.io.IOException
import java.nio.BufferUnderflowException
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val NONE = 1
private const val TAG = 0x0112
private const val JPEG = 0xffd8
private const val EXIF_SEGMENT = 0xffe1
private const val PIXELS = 0xffda
private const val EXIF = 0x45786966
private const val LITTLE_ENDIAN = 0x4949
private const val ENTRY_BYTES = 12

/** How a file says that its image lies, 1 to 8; 1 where it does not say. */
internal fun orientation(file: ByteArray): Int {
    val bytes = ByteBuffer.wrap(file)
    return try {
        if (bytes.unsigned() == JPEG) ofJpeg(bytes) else ofOther(file)
    } catch (_: BufferUnderflowException) { // it ends too early
        NONE
    } catch (_: IllegalArgumentException) { // it points behind its end
        NONE
    }
}

/** Of a JPEG it is read here, for Android 8's own reader misses it in some. */
private fun ofJpeg(bytes: ByteBuffer): Int {
    while (true) {
        val marker = bytes.unsigned()
        val end = bytes.position() + bytes.unsigned()
        if (marker == PIXELS) return NONE
        if (marker == EXIF_SEGMENT && bytes.int == EXIF) {
            bytes.moveTo(bytes.position() + 2)
            return ofTiff(bytes.slice())
        }
        bytes.moveTo(end)
    }
}

private fun ofTiff(bytes: ByteBuffer): Int {
    if (bytes.unsigned() == LITTLE_ENDIAN) bytes.order(ByteOrder.LITTLE_ENDIAN)
    bytes.moveTo(bytes.getInt(4))
    repeat(bytes.unsigned()) {
        val start = bytes.position()
        if (bytes.unsigned() == TAG) {
            bytes.moveTo(start + 8)
            return bytes.unsigned()
        }
        bytes.moveTo(start + ENTRY_BYTES)
    }
    return NONE
}

private fun ByteBuffer.unsigned() = short.toInt() and 0xffff

private fun ofOther(file: ByteArray): Int = try {
    ExifInterface(file.inputStream()).getAttributeInt(ExifInterface.TAG_ORIENTATION, NONE)
} catch (_: IOException) { // it has none
    NONE
}
