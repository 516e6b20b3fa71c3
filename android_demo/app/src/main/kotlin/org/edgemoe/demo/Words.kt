package org.edgemoe.demo

import android.content.Context
import edgemoe.core.OperatingPoint
import edgemoe.core.Withheld
import java.text.NumberFormat

private const val MACS_A_MILLION = 1e6
private const val QUICK_MS = 10

/** Numbers and outcomes in the reader's language. */
internal class Words(private val context: Context) {
    private val locale = context.resources.configuration.locales[0]

    fun say(text: Int, vararg values: Any): String = context.getString(text, *values)

    fun number(value: Number, digits: Int): String = NumberFormat.getInstance(locale).run {
        minimumFractionDigits = digits
        maximumFractionDigits = digits
        format(value)
    }

    /** Of what is not a number nothing is said. */
    fun percent(share: Number, digits: Int = 0) = if (share.toDouble().isNaN()) {
        say(R.string.time_unknown)
    } else {
        say(R.string.percent, number(100 * share.toDouble(), digits))
    }

    fun millions(macs: Number, digits: Int = 2) = number(macs.toDouble() / MACS_A_MILLION, digits)

    fun ms(value: Double?) = if (value ==
        null
    ) {
        say(R.string.time_unknown)
    } else {
        say(R.string.ms, number(value, if (value < QUICK_MS) 2 else 1))
    }

    fun facts(model: Model) = with(model) {
        val facts = if (experts == 0) {
            say(R.string.facts_plain, architecture, set, engine)
        } else {
            say(R.string.facts, architecture, experts, set, engine)
        }
        (listOf(facts) + skipped.map { say(R.string.skipped, it) }).joinToString("\n")
    }

    /** Who answered, and why nobody else did. */
    fun way(answer: Answer, model: Model): String {
        val found = answer.prediction
        val asked = found.asked.joinToString()
        return when {
            answer.loading -> say(R.string.loading_expert, asked)
            found.withheld == Withheld.NOT_HERE ->
                say(if (model.delivered) R.string.not_here else R.string.not_in_app, asked)
            found.withheld == Withheld.NO_MEMORY -> say(R.string.no_memory, asked)
            found.withheld == Withheld.REFUSED -> say(R.string.refused, asked)
            model.experts == 0 -> say(R.string.no_experts)
            found.exited -> say(R.string.exited)
            found.experts.size == 1 -> say(R.string.asked_one, "${found.experts.single()}")
            else -> say(R.string.asked_several, found.experts.joinToString())
        }
    }

    fun macs(answer: Answer, model: Model): String {
        val macs = answer.prediction.macs
        if (answer.prediction.experts.isEmpty()) return say(R.string.macs_base, millions(macs))
        return say(R.string.macs_more, millions(macs), number(macs.toDouble() / model.baseMacs, 2))
    }

    /** What was measured at an operating point, on how many images. */
    fun point(point: OperatingPoint): String {
        val tau = number(point.tau, if (100 * point.tau % 1 == 0.0) 2 else 3)
        val (samples, exits) = number(point.samples, 0) to percent(point.exitRate)
        val macs = millions(point.meanMacs)
        val accuracy = point.accuracy ?: return say(R.string.point_costs, tau, samples, exits, macs)
        return say(R.string.point, tau, samples, exits, macs, percent(accuracy, 1))
    }

    /** A curve for whoever does not see it. */
    fun curve(points: List<OperatingPoint>): String {
        val (first, last) = points.first() to points.last()
        val (most, least) = millions(first.meanMacs) to millions(last.meanMacs)
        val (high, low) = (first.accuracy to last.accuracy)
        if (high == null || low == null) return say(R.string.curve_costs, most, least)
        return say(R.string.curve, most, least, percent(high, 1), percent(low, 1))
    }

    fun picture(picture: Picture): String = picture.choice.sample?.let { say(R.string.image_sample, it) }
        ?: say(R.string.image_photograph, picture.width, picture.height)

    /** What went wrong and what to do; beneath it, in English, what the library says. */
    fun problem(problem: Problem): String {
        val words = when (problem.what) {
            Trouble.ALTERED -> say(R.string.problem_altered)
            Trouble.BUNDLE -> say(R.string.problem_bundle)
            Trouble.BACKEND -> say(R.string.problem_backend)
            Trouble.IMAGE -> say(R.string.problem_image)
            Trouble.STORAGE -> say(R.string.problem_storage)
            Trouble.MEMORY -> say(R.string.problem_memory)
            Trouble.DELIVERY -> say(R.string.problem_delivery, "${problem.expert}")
            Trouble.MEASURING -> say(R.string.problem_measuring)
            Trouble.NO_PICKER -> say(R.string.problem_no_picker)
            Trouble.UNEXPECTED -> say(R.string.problem_unexpected)
        }
        return if (problem.detail.isEmpty()) words else say(R.string.problem, words, problem.detail)
    }
}
