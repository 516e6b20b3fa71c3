package edgemoe.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

class JsonTest {
    @ParameterizedTest
    @ValueSource(
        strings = [
            "", " ", "{", "[1,]", "{\"a\":1,}", "{\"a\":1} x", "[1] [2]", "[01]", "[+1]", "[.5]", "[1.]", "[NaN]",
            "[Infinity]", "[1e400]", "{'a':1}", "{a:1}", "// c\n[1]", "[1] # c", "\uFEFF[1]", "[\"\u0001\"]",
            "[\"\\ud800\"]", "[\"\\x\"]", "{\"a\":1,\"a\":1}", "[tru]", "[1 2]", "{\"a\" 1}", "\u0000",
        ],
    )
    fun `what is no JSON is refused`(text: String) {
        assertThrows<Malformed> { parseJson(text.toByteArray()) }
    }

    @Test
    fun `bytes that are not UTF-8 are refused, and UTF-16, which the library would take`() {
        assertThrows<Malformed> { parseJson(byteArrayOf('"'.code.toByte(), 0xff.toByte(), '"'.code.toByte())) }
        assertThrows<Malformed> { parseJson("[1]".toByteArray(Charsets.UTF_16LE)) }
    }

    @Test
    fun `what is made to harm is refused, and nothing overflows`() {
        for (text in listOf(
            "[".repeat(100_000),
            "{\"a\":".repeat(100_000),
            "9".repeat(100_000),
            "\"${"a".repeat(5 shl 20)}\"",
        )) {
            assertThrows<Malformed> { parseJson(text.toByteArray()) }
        }
        assertThrows<Malformed> { parseJson("{\"${"k".repeat(5_000)}\":1}".toByteArray()) }
    }

    @Test
    fun `a type is never another one`() {
        fun node(text: String) = Node(parseJson(text.toByteArray()))
        for (text in listOf("1.0", "1e0", "\"1\"", "true", "null", "-1", "9223372036854775808", "[1]")) {
            assertThrows<Malformed>(text) { node(text).int(0..Int.MAX_VALUE) }
        }
        assertEquals(1.0, node("1").number)
        assertEquals(1e30, node("1" + "0".repeat(30)).number)
        for (text in listOf("\"1\"", "true", "null")) assertThrows<Malformed> { node(text).number }
        assertThrows<Malformed> { node("1").boolean }
        assertThrows<Malformed> { node("1").text }
    }

    /** What msgspec 0.22 makes of these numbers and texts. */
    @Test
    fun `JSON is written as Python writes it`() {
        val numbers = mapOf(
            0.0 to "0.0", -0.0 to "-0.0", 1.0 to "1.0", 0.485 to "0.485", 1e-5 to "0.00001", 1.234e-5 to "0.00001234",
            1e-6 to "1e-6", 0.00392157 to "0.00392157", 123456789.0 to "123456789.0", 1e15 to "1000000000000000.0",
            1e16 to "1e16", 1e22 to "1e22", 1.2345678901234568e17 to "1.2345678901234568e17",
            0.1 + 0.2 to "0.30000000000000004",
            5.684341886080802e-14 to "5.684341886080802e-14", 2e-3 to "0.002", 2.0e23 to "2e23", -1.5 to "-1.5",
            Double.MIN_VALUE to "5e-324", Double.MAX_VALUE to "1.7976931348623157e308",
        )
        for ((value, text) in numbers) assertEquals(text, numberText(value))
        val expected = "\"a\\u0000\\u001f\u007f\u2028é\uD83D\uDE00\\\"\\\\/\\n\\t\\r\\b\\f\""
        assertEquals(expected, toJson("a\u0000\u001f\u007f\u2028é\uD83D\uDE00\"\\/\n\t\r\b\u000c"))
        assertEquals(
            "{\"a\":[1,null,true],\"b\":{}}",
            toJson(
                mapOf(
                    "b" to mapOf<String, Int>(),
                    "a" to listOf(1, null, true),
                ),
                sorted = true,
            ),
        )
    }
}
