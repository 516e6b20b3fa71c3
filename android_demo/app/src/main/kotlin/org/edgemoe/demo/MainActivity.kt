package org.edgemoe.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.provider.MediaStore
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.ImageButton
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.TextView
import edgemoe.core.OperatingPoint
import edgemoe.core.Setting
import kotlin.math.abs
import kotlin.math.roundToInt

private const val PHOTOGRAPH = 1
private const val BUNDLE = 2
private const val STEPS = 1000 // of tau's slider
private const val CLASSES = 3 // that are shown
private const val LARGE_FONT = 1.3f
private const val TAU = "tau"
private const val MOST = "max_experts"
private const val CHOICE = "choice"

/** The one screen: an image, its answer, and a finger on tau. It draws what [Demo] says, and tells it what is wished. */
class MainActivity : Activity() {
    private val demo get() = (application as DemoApp).demo
    private val watcher = ::show
    private lateinit var words: Words
    private var drawn: Model? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        words = Words(this)
        setContentView(R.layout.main)
        findViewById<View>(R.id.root).clearOfBars()
        click(R.id.choose) { choosePhotograph() }
        click(R.id.import_bundle) { chooseBundle() }
        click(R.id.import_other) { chooseBundle() }
        click(R.id.licences) { showLicences() }
        click(R.id.problem_close) { demo.tell(null) }
        slide(R.id.tau) { demo.set(demo.screen.setting.copy(tau = it.toDouble() / STEPS)) }
        slide(R.id.most) { demo.set(demo.screen.setting.copy(maxExperts = it + 1)) }
        arrange()
        demo.start(savedInstanceState?.let(::saved))
    }

    override fun onStart() {
        super.onStart()
        demo.watcher = watcher
    }

    override fun onStop() {
        if (demo.watcher === watcher) demo.watcher = null
        super.onStop()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        val screen = demo.screen
        if (screen.model == null) return
        outState.putDouble(TAU, screen.setting.tau)
        outState.putInt(MOST, screen.setting.maxExperts)
        outState.putString(CHOICE, screen.picture?.choice?.key)
    }

    private fun saved(state: Bundle): Saved? {
        if (TAU !in state.keySet()) return null
        return Saved(Setting(state.getDouble(TAU), state.getInt(MOST)), state.getString(CHOICE)?.let(::Choice))
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data ?: return
        if (resultCode != RESULT_OK) return
        val resolver = applicationContext.contentResolver
        when (requestCode) {
            PHOTOGRAPH -> demo.takePhotograph { resolver.openInputStream(uri) }
            BUNDLE -> demo.import(Tree(resolver, uri))
        }
    }

    /** The system's picker, which needs no permission; where there is none, its file chooser. */
    private fun choosePhotograph() = choose(
        PHOTOGRAPH,
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            Intent(MediaStore.ACTION_PICK_IMAGES).setType("image/*")
        } else {
            Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*")
        },
    )

    private fun chooseBundle() = choose(BUNDLE, Intent(Intent.ACTION_OPEN_DOCUMENT_TREE))

    private fun choose(request: Int, intent: Intent) = try {
        startActivityForResult(intent, request)
    } catch (_: ActivityNotFoundException) {
        demo.tell(Problem(Trouble.NO_PICKER))
    }

    private fun showLicences() {
        val text = resources.openRawResource(R.raw.licences).use { it.reader().readText() }
        AlertDialog.Builder(this)
            .setTitle(R.string.licences)
            .setMessage(text)
            .setPositiveButton(R.string.close, null)
            .show()
    }

    private fun show(screen: Screen) {
        showTrouble(screen)
        showHead(screen)
        val model = screen.model
        view<View>(R.id.content).visible(model != null)
        view<View>(R.id.lead).visible(model == null)
        text(R.id.facts, model?.let(words::facts).orEmpty())
        if (model == null) return
        if (model !== drawn) {
            drawn = model
            drawModel(model)
        }
        showPicture(screen.picture)
        showAnswer(screen, model)
        showSetting(screen.setting, model)
    }

    private fun showTrouble(screen: Screen) {
        view<View>(R.id.problem_card).visible(screen.problem != null)
        screen.problem?.let { text(R.id.problem, words.problem(it)) }
    }

    private fun showHead(screen: Screen) {
        val busy = screen.busy
        view<View>(R.id.busy_card).visible(busy != null && (busy.task != Task.DECODING || screen.picture == null))
        view<View>(R.id.no_bundle_card).visible(busy == null && screen.model == null)
        if (busy == null) return
        text(
            R.id.busy,
            words.say(
                when (busy.task) {
                    Task.OPENING -> R.string.opening
                    Task.IMPORTING -> R.string.importing
                    Task.DECODING -> R.string.decoding
                },
            ),
        )
        view<ProgressBar>(R.id.busy_bar).apply {
            isIndeterminate = busy.share == null
            progress = part(busy.share ?: 0f)
        }
    }

    private fun drawModel(model: Model) {
        view<View>(R.id.untrained).visible(!model.trained)
        view<View>(R.id.tau_card).visible(model.experts > 0)
        view<View>(R.id.most_row).visible(model.experts > 1)
        view<SeekBar>(R.id.most).max = maxOf(0, model.experts - 1)
        view<View>(R.id.samples_title).visible(model.samples.isNotEmpty())
        val row = view<LinearLayout>(R.id.samples)
        row.removeAllViews()
        for (sample in model.samples) row.addView(button(sample))
    }

    private fun button(sample: Sample) = ImageButton(this).apply {
        val side = resources.getDimensionPixelSize(R.dimen.sample)
        val gap = resources.getDimensionPixelSize(R.dimen.gap)
        layoutParams = LinearLayout.LayoutParams(side, side).apply { marginEnd = 2 * gap }
        setPadding(gap, gap, gap, gap)
        setBackgroundResource(R.drawable.button_quiet)
        scaleType = ImageView.ScaleType.CENTER_CROP
        setImageBitmap(sample.bitmap)
        contentDescription = words.say(R.string.sample, sample.name)
        setOnClickListener { demo.takeSample(sample.name) }
    }

    private fun showPicture(picture: Picture?) = view<ImageView>(R.id.image).run {
        setImageBitmap(picture?.bitmap)
        contentDescription = if (picture == null) words.say(R.string.image_none) else words.picture(picture)
    }

    private fun showAnswer(screen: Screen, model: Model) {
        val answer = screen.answer
        view<View>(R.id.answer_card).visible(answer != null)
        view<View>(R.id.way).visible(answer != null)
        if (answer == null) {
            text(R.id.answer, words.say(if (screen.picture == null) R.string.no_answer else R.string.time_unknown))
            return
        }
        val found = answer.prediction
        text(R.id.answer, words.say(R.string.answer, model.labels[found.index], words.percent(found.probability)))
        text(R.id.way, words.way(answer, model))
        text(R.id.macs, words.macs(answer, model))
        text(R.id.time, words.ms(answer.ms))
        val rows = view<ViewGroup>(R.id.classes)
        val shares = found.probabilities
        val best = shares.indices.sortedByDescending { shares[it] }.take(CLASSES)
        while (rows.childCount < best.size) LayoutInflater.from(this).inflate(R.layout.class_row, rows)
        for ((place, y) in best.withIndex()) {
            val row = rows.getChildAt(place)
            row.findViewById<TextView>(R.id.class_name).text = model.labels[y]
            row.findViewById<TextView>(R.id.class_share).text = words.percent(shares[y], 1)
            row.findViewById<ProgressBar>(R.id.class_bar).apply { progress = part(shares[y]) }
        }
    }

    /** How long a bar is; of what is not a number, nothing. */
    private fun ProgressBar.part(share: Float) = if (share.isNaN()) 0 else (share * max).roundToInt()

    private fun showSetting(setting: Setting, model: Model) {
        val (tau, most) = setting
        val value = words.number(tau, 3)
        text(R.id.tau_value, value)
        text(R.id.most_value, words.number(most, 0))
        view<SeekBar>(R.id.tau).apply {
            progress = (tau * STEPS).roundToInt()
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) stateDescription = value
        }
        view<SeekBar>(R.id.most).apply {
            progress = most - 1
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) stateDescription = "$most"
        }
        val points = model.points.filter { it.maxExperts == most }.sortedBy(OperatingPoint::tau)
        view<CurveView>(R.id.curve).show(points, tau)
        val nearest = points.minByOrNull { abs(it.tau - tau) }
        view<View>(R.id.point).visible(nearest != null)
        if (nearest != null) text(R.id.point, words.point(nearest))
    }

    /** Image and answer, and the costs, beside each other; where the letters are large, beneath each other. */
    private fun arrange() {
        val large = resources.configuration.fontScale > LARGE_FONT
        for (row in listOf(R.id.image_row, R.id.costs)) {
            view<LinearLayout>(row).orientation = if (large) LinearLayout.VERTICAL else LinearLayout.HORIZONTAL
        }
        val gap = resources.getDimensionPixelSize(R.dimen.column_gap)
        view<View>(R.id.time_column).updated { marginStart = if (large) 0 else gap }
        if (large) {
            view<View>(R.id.answer_column).updated {
                width = LinearLayout.LayoutParams.MATCH_PARENT
                topMargin = gap / 2
            }
        }
    }

    private fun View.updated(change: LinearLayout.LayoutParams.() -> Unit) {
        layoutParams = (layoutParams as LinearLayout.LayoutParams).apply(change)
    }

    private fun <T : View> view(id: Int): T = findViewById(id)

    private fun text(id: Int, words: String) {
        val view = view<TextView>(id)
        if (view.text.toString() != words) view.text = words // a screen reader tells every change
    }

    private fun View.visible(whether: Boolean) {
        visibility = if (whether) View.VISIBLE else View.GONE
    }

    private fun click(id: Int, act: () -> Unit) = view<View>(id).setOnClickListener { act() }

    private fun slide(id: Int, act: (Int) -> Unit) =
        view<SeekBar>(id).setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, progress: Int, fromUser: Boolean) {
                if (fromUser) act(progress)
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit

            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
}
