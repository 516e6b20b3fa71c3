package edgemoe.core

import com.fasterxml.jackson.core.JsonFactoryBuilder
import com.fasterxml.jackson.core.JsonParser
import com.fasterxml.jackson.core.JsonProcessingException
import com.fasterxml.jackson.core.JsonToken
import com.fasterxml.jackson.core.StreamReadConstraints
import com.fasterxml.jackson.core.StreamReadFeature
import com.fasterxml.jackson.core.json.JsonReadFeature
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import kotlin.text.Charsets.UTF_8

/** A text is no JSON, or not the record that was expected; the message says where. */
internal class Malformed(message: String) : Exception(message)

// What a file of ours never needs, and what one made to harm would have.
private val LIMITS = StreamReadConstraints.builder()
    .maxNestingDepth(64)
    .maxNameLength(1_000)
    .maxNumberLength(64)
    .maxStringLength(1 shl 20)
    .build()

// A key twice: Python takes the last one. Two readers that take different ones would run different things: refused.
private val FACTORY = JsonFactoryBuilder()
    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
    .also { for (lenient in JsonReadFeature.entries) it.disable(lenient) }
    .streamReadConstraints(LIMITS)
    .build()

/**
 * Read JSON of RFC 8259 and nothing else: no byte order mark, comments, NaN, trailing commas, second value.
 *
 * @return maps in the file's order, lists, texts, [Long] for what is written as a whole number, [Double], [Boolean], null
 */
internal fun parseJson(data: ByteArray): Any? {
    try {
        // Strictly UTF-8: the library would guess UTF-16 and UTF-32 by itself, and skip a byte order mark.
        val text = UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString()
        FACTORY.createParser(text).use { parser ->
            parser.nextToken() ?: throw Malformed("it is empty")
            val value = read(parser)
            if (parser.nextToken() != null) throw Malformed("trailing characters")
            return value
        }
    } catch (error: JsonProcessingException) {
        val place = error.location?.let { " (line ${it.lineNr}, column ${it.columnNr})" } ?: ""
        throw Malformed("JSON is malformed: ${error.originalMessage.lineSequence().first()}$place")
    } catch (_: CharacterCodingException) {
        throw Malformed("it is not UTF-8")
    }
}

private fun read(parser: JsonParser): Any? = when (val token = parser.currentToken()) {
    JsonToken.START_OBJECT -> buildMap {
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            val name = checked(parser.currentName())
            parser.nextToken()
            put(name, read(parser))
        }
    }
    JsonToken.START_ARRAY -> buildList { while (parser.nextToken() != JsonToken.END_ARRAY) add(read(parser)) }
    JsonToken.VALUE_STRING -> checked(parser.text)
    JsonToken.VALUE_TRUE -> true
    JsonToken.VALUE_FALSE -> false
    JsonToken.VALUE_NULL -> null
    JsonToken.VALUE_NUMBER_INT ->
        if (parser.numberType == JsonParser.NumberType.BIG_INTEGER) finite(parser.doubleValue) else parser.longValue
    JsonToken.VALUE_NUMBER_FLOAT -> finite(parser.doubleValue)
    else -> throw Malformed("JSON is malformed: $token")
}

private fun finite(value: Double) = if (value.isFinite()) value else throw Malformed("a number is out of range")

/** An escape can write half of a surrogate pair, which no UTF-8 has. */
private fun checked(text: String): String {
    if (!UTF_8.newEncoder().canEncode(text)) throw Malformed("a text has half a character")
    return text
}

/** A value of a JSON file, and where it stands, for errors. A type is never another one: "3" and 3.0 are not 3. */
internal class Node(internal val raw: Any?, private val at: String = "$") {
    val isNull get() = raw == null
    val text get() = raw as? String ?: refuse("text")
    val boolean get() = raw as? Boolean ?: refuse("true or false")
    val number get() = raw as? Double ?: (raw as? Long)?.toDouble() ?: refuse("a number")
    val isList get() = raw is List<*>
    val items get() = (raw as? List<*> ?: refuse("a list")).mapIndexed { i, one -> Node(one, "$at[$i]") }
    val entries
        get() = (raw as? Map<*, *> ?: refuse("an object"))
            .entries.associate { (name, one) -> name as String to Node(one, "$at.$name") }

    fun long(range: LongRange) = (raw as? Long)?.takeIf { it in range }
        ?: refuse("a whole number from ${range.first} to ${range.last}")

    fun int(range: IntRange) = long(range.first.toLong()..range.last).toInt()

    fun fraction() = number.takeIf { it in 0.0..1.0 } ?: refuse("a number from 0 to 1")

    fun text(longest: Int) = text.takeIf { it.length <= longest } ?: refuse("a text of at most $longest characters")

    /** A text that is the name of one of [words]. */
    fun <T> oneOf(words: Map<String, T>): T = words[text] ?: refuse(words.keys.joinToString(" or "))

    fun <T> orNull(read: Node.() -> T): T? = if (isNull) null else read()

    /** Read an object; a key that [read] did not ask for is an error, as one that it misses. */
    fun <T> record(read: Fields.() -> T): T {
        val fields = Fields(entries, at)
        return fields.read().also { fields.end() }
    }

    fun refuse(expected: String): Nothing = throw Malformed("Expected $expected, got $kind - at `$at`")

    private val kind
        get() = when (raw) {
            null -> "null"
            is String -> "text"
            is Map<*, *> -> "an object"
            is List<*> -> "a list of ${raw.size}"
            else -> raw.toString()
        }
}

/** The fields of an object while it is read. */
internal class Fields(private val values: Map<String, Node>, private val at: String) {
    private val asked = mutableSetOf<String>()

    operator fun get(name: String): Node =
        optional(name) ?: throw Malformed("Object missing required field `$name` - at `$at`")

    /** A field that may be left away. */
    fun optional(name: String): Node? {
        asked += name
        return values[name]
    }

    fun end() {
        val unknown = values.keys.firstOrNull { it !in asked } ?: return
        throw Malformed("Object contains unknown field `$unknown` - at `$at`")
    }
}
