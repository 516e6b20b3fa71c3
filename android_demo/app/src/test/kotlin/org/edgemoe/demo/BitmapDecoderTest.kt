package org.edgemoe.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import edgemoe.core.DataError
import edgemoe.core.Interpolation
import edgemoe.core.Preprocessing
import edgemoe.core.StoredSize
import edgemoe.core.resizeCrop
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.io.ByteArrayOutputStream
import java.util.Base64
import kotlin.math.abs

/** Android's decoders beside what Python makes of the same files: docs/vectors.json, written by edge_moe/ports.py. */
@RunWith(RobolectricTestRunner::class)
class BitmapDecoderTest {
    private val vectors = JSONObject(CHECKOUT.resolve("docs/vectors.json").readText()).getJSONArray("images")

    @Test
    fun `the images of the golden vectors`() {
        val off = mutableListOf<String>()
        for (case in List(vectors.length(), vectors::getJSONObject)) {
            val expected = Base64.getDecoder().decode(case.getString("pixels"))
            val image = BitmapDecoder().decode(Base64.getDecoder().decode(case.getString("image")))
            val found = resizeCrop(image, spec(case.getJSONObject("spec"))).rgb
            assertEquals(case.getString("name"), expected.size, found.size)
            val most = expected.indices.maxOf { abs((found[it].toInt() and 0xff) - (expected[it].toInt() and 0xff)) }
            if (most > case.getInt("within")) off += "${case.getString("name")}: $most grey levels"
        }
        assertEquals(emptyList<String>(), off)
    }

    private fun spec(raw: JSONObject) = Preprocessing(
        imageSize = size(raw.get("image_size")),
        resize = size(raw.get("resize")),
        mean = listOf(0.0, 0.0, 0.0),
        std = listOf(1.0, 1.0, 1.0),
        interpolation = Interpolation.valueOf(raw.optString("interpolation", "bilinear").uppercase()),
    )

    private fun size(raw: Any) =
        if (raw is JSONArray) StoredSize(raw.getInt(0), raw.getInt(1), false) else StoredSize(raw as Int, raw, true)

    @Test
    fun `a large photograph is decoded smaller, and looks the same`() {
        val bitmap = Bitmap.createBitmap(900, 600, Bitmap.Config.ARGB_8888)
        for (y in 0 until 600) for (x in 0 until 900) bitmap.setPixel(x, y, Color.rgb(x * 255 / 899, y * 255 / 599, 40))
        val file = ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.JPEG, 95, it) }.toByteArray()
        val spec = spec(JSONObject("""{"image_size": 32, "resize": 36}"""))
        val small = BitmapDecoder(mostPixels = 100_000).decode(file)
        assertEquals(225 to 150, small.width to small.height)
        val (found, expected) = resizeCrop(small, spec).rgb to resizeCrop(BitmapDecoder().decode(file), spec).rgb
        assertTrue(found.indices.all { abs((found[it].toInt() and 0xff) - (expected[it].toInt() and 0xff)) <= 3 })
    }

    @Test
    fun `what is no image is refused`() {
        for (bytes in listOf(ByteArray(0), "no image".toByteArray())) {
            assertThrows(DataError::class.java) { BitmapDecoder().decode(bytes) }
        }
    }

    @Test
    fun `where memory does not suffice, it is decoded smaller`() {
        val bitmap = Bitmap.createBitmap(900, 600, Bitmap.Config.ARGB_8888)
        val file = ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.JPEG, 95, it) }.toByteArray()
        val sizes = mutableListOf<Int>()
        fun decoder(least: Int) = BitmapDecoder { bytes, how ->
            sizes += how.inSampleSize
            if (how.inSampleSize < least) throw OutOfMemoryError("no")
            BitmapFactory.decodeByteArray(bytes, 0, bytes.size, how)
        }
        assertEquals(450, decoder(2).decode(file).width)
        assertEquals(listOf(1, 2), sizes)
        assertThrows(OutOfMemoryError::class.java) { decoder(1000).decode(file) }
    }
}
