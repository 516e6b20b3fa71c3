package edgemoe.core

import com.fasterxml.jackson.core.JsonFactory
import com.fasterxml.jackson.core.JsonFactoryBuilder
import com.fasterxml.jackson.core.JsonGenerator
import com.fasterxml.jackson.core.json.JsonWriteFeature
import java.io.StringWriter
import java.math.BigDecimal
import java.math.MathContext
import java.math.RoundingMode
import kotlin.math.abs

private val FACTORY: JsonFactory = JsonFactoryBuilder().disable(JsonWriteFeature.WRITE_HEX_UPPER_CASE).build()

/**
 * Maps with texts as keys, lists, texts, numbers, booleans and null -> JSON in one line, to the letter as Python's
 * msgspec writes it: what Python hashes can be hashed here. [sorted]: keys in the order of their characters.
 */
internal fun toJson(value: Any?, sorted: Boolean = false): String {
    val text = StringWriter()
    FACTORY.createGenerator(text).use { write(it, value, sorted) }
    return text.toString()
}

private fun write(to: JsonGenerator, value: Any?, sorted: Boolean) {
    when (value) {
        null -> to.writeNull()
        is String -> to.writeString(value)
        is Boolean -> to.writeBoolean(value)
        is Int -> to.writeNumber(value)
        is Long -> to.writeNumber(value)
        is Double -> to.writeRawValue(numberText(value))
        is Map<*, *> -> {
            to.writeStartObject()
            for (name in if (sorted) value.keys.sortedBy { it as String } else value.keys) {
                to.writeFieldName(name as String)
                write(to, value[name], sorted)
            }
            to.writeEndObject()
        }
        is Iterable<*> -> {
            to.writeStartArray()
            for (one in value) write(to, one, sorted)
            to.writeEndArray()
        }
        else -> throw UsageError("JSON has no ${value::class}")
    }
}

/**
 * The shortest decimal that is this double and no other: 0.485, 1.0, 1e16, 1e-6.
 *
 * `Double.toString` is not it: before Java 19, and so on phones, some have a digit too many, 2.0E-3 is another form, and
 * what Python hashes is the shortest.
 */
internal fun numberText(value: Double): String {
    if (!value.isFinite()) throw UsageError("JSON has no $value")
    if (value == 0.0) return if (1 / value < 0) "-0.0" else "0.0"
    val decimal = shortest(value).stripTrailingZeros()
    val digits = decimal.unscaledValue().abs().toString()
    val exponent = digits.length - 1 - decimal.scale() // of the first digit
    val sign = if (value < 0) "-" else ""
    if (abs(value) in 1e-5..<1e16) {
        val plain = decimal.abs().toPlainString()
        return sign + if ('.' in plain) plain else "$plain.0"
    }
    val fraction = if (digits.length > 1) ".${digits.drop(1)}" else ""
    return "$sign${digits[0]}${fraction}e$exponent"
}

private fun shortest(value: Double): BigDecimal {
    val exact = BigDecimal(value)
    for (precision in 1..17) {
        // Nearest first; at a power of two only the neighbour on the wider side may be it.
        for (mode in listOf(RoundingMode.HALF_EVEN, RoundingMode.UP, RoundingMode.DOWN)) {
            val rounded = exact.round(MathContext(precision, mode))
            if (rounded.toDouble() == value) return rounded
        }
    }
    return exact
}
