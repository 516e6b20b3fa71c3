package edgemoe.core

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

class PixelsTest {
    /** One channel of a picture, row by row. */
    private fun reds(pixels: Pixels) = List(pixels.height) { y ->
        List(pixels.width) { x ->
            pixels.rgb[
                3 *
                    (y * pixels.width + x),
            ].toInt()
        }
    }

    /** The table of the EXIF standard: which row and column are first; by hand, of [[1, 2, 3], [4, 5, 6]]. */
    @Test
    fun `eight ways to hold a camera`() {
        val picture = Pixels(3, 2, ByteArray(18) { (it / 3 + 1).toByte() })
        val expected = mapOf(
            1 to listOf(listOf(1, 2, 3), listOf(4, 5, 6)),
            2 to listOf(listOf(3, 2, 1), listOf(6, 5, 4)),
            3 to listOf(listOf(6, 5, 4), listOf(3, 2, 1)),
            4 to listOf(listOf(4, 5, 6), listOf(1, 2, 3)),
            5 to listOf(listOf(1, 4), listOf(2, 5), listOf(3, 6)),
            6 to listOf(listOf(4, 1), listOf(5, 2), listOf(6, 3)),
            7 to listOf(listOf(6, 3), listOf(5, 2), listOf(4, 1)),
            8 to listOf(listOf(3, 6), listOf(2, 5), listOf(1, 4)),
            0 to listOf(listOf(1, 2, 3), listOf(4, 5, 6)),
            99 to listOf(listOf(1, 2, 3), listOf(4, 5, 6)),
        )
        for ((orientation, rows) in expected) assertEquals(rows, reds(picture.upright(orientation)), "$orientation")
    }

    @Test
    fun `transparent pixels on white`() {
        val found = Pixels.onWhite(4, 1, intArrayOf(0x00102030, 0xff102030.toInt(), 0x80000000.toInt(), 0x01ff0000))
        val bytes = listOf(255, 255, 255, 16, 32, 48, 127, 127, 127, 255, 254, 254)
        assertArrayEquals(bytes.map(Int::toByte).toByteArray(), found.rgb)
    }

    @Test
    fun `a picture of one by a million pixels needs no more memory than another`() {
        val spec = Preprocessing(StoredSize(8, 8, true), StoredSize(9, 9, true), List(3) { 0.5 }, List(3) { 0.5 })
        for ((width, height) in listOf(1 to 1_000_000, 1_000_000 to 1)) {
            val found = resizeCrop(Pixels(width, height, ByteArray(3_000_000) { 7 }), spec)
            assertArrayEquals(ByteArray(192) { 7 }, found.rgb)
        }
    }
}
