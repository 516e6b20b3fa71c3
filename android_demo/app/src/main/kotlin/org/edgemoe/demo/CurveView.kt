package org.edgemoe.demo

import android.content.Context
import android.graphics.Canvas
import android.graphics.DashPathEffect
import android.graphics.Paint
import android.graphics.Path
import android.util.AttributeSet
import android.util.TypedValue
import android.view.View
import edgemoe.core.OperatingPoint

private const val PANEL_DP = 96f
private const val GAP_SP = 34f
private const val TEXT_SP = 13f

/** Two curves over tau, one above the other, MACs and accuracy, with a mark where the finger is. */
class CurveView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private class Panel(val title: String, val values: List<Double>, val text: (Double) -> String)

    private val words = Words(context)
    private var points: List<OperatingPoint> = emptyList()
    private var panels: List<Panel> = emptyList()
    private var tau = 0.0

    private val gap = sp(GAP_SP)
    private val text = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        color = context.getColor(R.color.quiet)
        textSize = sp(TEXT_SP)
    }
    private val grid = stroke(R.color.edge, dp(1f))
    private val line = stroke(R.color.accent, dp(2.5f)).apply { strokeJoin = Paint.Join.ROUND }
    private val at = stroke(R.color.quiet, dp(1f)).apply {
        pathEffect = DashPathEffect(floatArrayOf(dp(4f), dp(4f)), 0f)
    }
    private val dot = Paint(Paint.ANTI_ALIAS_FLAG).apply { color = context.getColor(R.color.accent) }
    private val hole = Paint(Paint.ANTI_ALIAS_FLAG).apply { color = context.getColor(R.color.card) }
    private val ring = stroke(R.color.accent, dp(3f))

    /** Draw these, in the order of tau, and the mark at [tau]. Less than two are not drawn. */
    fun show(points: List<OperatingPoint>, tau: Double) {
        if (points != this.points) {
            this.points = points
            panels = if (points.size < 2) emptyList() else panels()
            contentDescription = if (points.size < 2) null else words.curve(points)
            visibility = if (points.size < 2) GONE else VISIBLE
            requestLayout()
        }
        this.tau = tau
        invalidate()
    }

    private fun panels(): List<Panel> {
        val macs = Panel(words.say(R.string.axis_macs), points.map { it.meanMacs }) { words.millions(it, 1) }
        val accuracies = points.mapNotNull { it.accuracy }
        if (accuracies.size < points.size) return listOf(macs)
        return listOf(macs, Panel(words.say(R.string.axis_accuracy), accuracies) { words.percent(it, 1) })
    }

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val height = panels.size * (dp(PANEL_DP) + gap) + gap
        setMeasuredDimension(getDefaultSize(suggestedMinimumWidth, widthMeasureSpec), height.toInt())
    }

    override fun onDraw(canvas: Canvas) {
        val left =
            panels.flatMap { panel -> panel.values.map { text.measureText(panel.text(it)) } }.maxOrNull() ?: return
        val (from, to) = left + dp(10f) to width - dp(10f)
        fun x(tau: Double) = from + tau.toFloat() * (to - from)
        val bottom = panels.size * (dp(PANEL_DP) + gap)
        canvas.drawLine(x(tau), gap - dp(6f), x(tau), bottom, at)
        for ((i, panel) in panels.withIndex()) draw(canvas, panel, i * (dp(PANEL_DP) + gap) + gap, from, to, ::x)
        val middle = text.fontMetrics.run { (ascent + descent) / 2 }
        val name = words.say(R.string.tau)
        canvas.drawText(name, from - dp(16f) - text.measureText(name), bottom + gap / 2 - middle, text)
        for (tick in listOf(0.0, 0.25, 0.5, 0.75, 1.0)) {
            val words = words.number(tick, if (tick % 1 == 0.0) 0 else 2)
            canvas.drawText(words, x(tick) - text.measureText(words) / 2, bottom + gap / 2 - middle, text)
        }
    }

    private fun draw(canvas: Canvas, panel: Panel, top: Float, from: Float, to: Float, x: (Double) -> Float) {
        val (low, high) = panel.values.min() to panel.values.max()
        fun y(value: Double): Float {
            val share = if (high > low) (value - low) / (high - low) else 0.5
            return top + dp(PANEL_DP) * (1 - share.toFloat())
        }
        val middle = text.fontMetrics.run { (ascent + descent) / 2 }
        for (value in setOf(low, high)) {
            canvas.drawLine(from, y(value), to, y(value), grid)
            val words = panel.text(value)
            canvas.drawText(words, from - dp(8f) - text.measureText(words), y(value) - middle, text)
        }
        canvas.drawText(panel.title, to - text.measureText(panel.title), top - dp(8f), text)
        val path = Path()
        for ((point, value) in points.zip(panel.values)) {
            if (path.isEmpty) path.moveTo(x(point.tau), y(value)) else path.lineTo(x(point.tau), y(value))
        }
        canvas.drawPath(path, line)
        for ((point, value) in points.zip(panel.values)) canvas.drawCircle(x(point.tau), y(value), dp(3f), dot)
        val mark = y(between(panel.values))
        canvas.drawCircle(x(tau), mark, dp(7f), hole)
        canvas.drawCircle(x(tau), mark, dp(7f), ring)
    }

    /** What the line has at tau. */
    private fun between(values: List<Double>): Double {
        val after = points.indexOfFirst { it.tau >= tau }.let { if (it < 0) points.lastIndex else it }
        val before = maxOf(0, after - 1)
        val span = points[after].tau - points[before].tau
        val share = if (span > 0) ((tau - points[before].tau) / span).coerceIn(0.0, 1.0) else 0.0
        return values[before] + share * (values[after] - values[before])
    }

    private fun stroke(colour: Int, width: Float) = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        style = Paint.Style.STROKE
        color = context.getColor(colour)
        strokeWidth = width
    }

    private fun dp(value: Float) =
        TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_DIP, value, resources.displayMetrics)

    private fun sp(value: Float) =
        TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_SP, value, resources.displayMetrics)
}
