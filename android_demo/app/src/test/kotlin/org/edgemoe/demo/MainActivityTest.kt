package org.edgemoe.demo

import android.app.AlertDialog
import android.content.res.Configuration
import android.graphics.Insets
import android.os.Bundle
import android.view.View
import android.view.WindowInsets
import android.widget.Button
import android.widget.ImageButton
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.TextView
import edgemoe.core.Folder
import edgemoe.core.Runtime
import edgemoe.core.Setting
import edgemoe.core.normalize
import edgemoe.core.resizeCrop
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowDialog
import java.util.Locale
import edgemoe.core.Bundle as MoeBundle

/** The real screen, with real inference by ONNX Runtime. */
@RunWith(RobolectricTestRunner::class)
class MainActivityTest : OnPhone() {
    /** Label, experts and MACs, as :core says them of a sample. */
    private fun expected(sample: String, setting: Setting): String {
        var found = ""
        offMain {
            val bundle = MoeBundle(Folder(BUNDLE.toPath()))
            val manifest = bundle.manifest
            Runtime(bundle, manifest.sets[0], OrtEngine()).use { runtime ->
                runtime.tau = setting.tau
                runtime.maxExperts = setting.maxExperts
                val file = bundle.read(manifest.golden.images.getValue(sample))
                val pixels = resizeCrop(BitmapDecoder().decode(file), manifest.preprocessing)
                val answer = runtime.predict(normalize(pixels, manifest.preprocessing))
                found = words(manifest.labels[answer.index], answer.experts, answer.macs, 100 * answer.probability)
            }
        }
        return found
    }

    private fun words(label: String, experts: List<Int>, macs: Long, percent: Float): String {
        val way = when (experts.size) {
            0 -> "It left early: the base alone answered."
            1 -> "It asked expert ${experts[0]}."
            else -> "It asked experts ${experts.joinToString()}."
        }
        return "$label, ${"%.0f".format(Locale.US, percent)}%|$way|${"%.2f".format(Locale.US, macs / 1e6)} M"
    }

    /** The same, as the screen says it. */
    private fun MainActivity.shown(): String {
        answered()
        return "${says(R.id.answer)}|${says(R.id.way)}|${says(R.id.macs)!!.substringBefore(",")}"
    }

    @Test
    fun `samples are answered as core answers them, and a finger on the sliders changes the answers`() {
        val activity = open().get()
        val ways = mutableSetOf<String>()
        for ((place, sample) in activity.demo.screen.model!!.samples.withIndex()) {
            activity.tap(activity.view<LinearLayout>(R.id.samples).getChildAt(place))
            eventually("it is there") { activity.demo.screen.picture?.choice == Choice.sample(sample.name) }
            for ((tau, most) in listOf(0f to 0f, 0f to 1f, 1f to 1f)) {
                val at = activity.demo.screen.setting
                activity.drag(activity.view(R.id.tau), at.tau.toFloat(), tau)
                activity.drag(activity.view(R.id.most), (at.maxExperts - 1) / 3f, most)
                val setting = activity.demo.screen.setting
                assertEquals(tau.toDouble() to (if (most == 0f) 1 else 4), setting.tau to setting.maxExperts)
                assertEquals(expected(sample.name, setting), activity.shown())
                ways += activity.says(R.id.way)!!
            }
        }
        assertTrue("$ways", ways.size >= 4)
    }

    @Test
    fun `costs follow the finger`() {
        val activity = open(sample = "00").get()
        activity.drag(activity.view(R.id.tau), 0.2f, 0f)
        activity.answered()
        val (macs, time) = activity.says(R.id.macs) to activity.says(R.id.time)
        assertEquals("0.000", activity.says(R.id.tau_value))
        activity.drag(activity.view(R.id.tau), 0f, 1f)
        activity.answered()
        assertEquals("1.000", activity.says(R.id.tau_value))
        assertNotEquals(macs, activity.says(R.id.macs))
        assertEquals("0.39 ms" to "0.13 ms", time to activity.says(R.id.time)) // three parts, and one
        assertTrue(activity.says(R.id.point)!!.startsWith("At tau 1.00, of 3,600 validation images 100% leave early"))
    }

    @Test
    fun `the newest setting wins while the engine is busy, and no frame waits for it`() {
        val activity = open().get()
        activity.demo.set(Setting(1.0, 1))
        activity.demo.takeSample("01") // of which the base is less sure
        activity.answered()
        engine.gate.lock() // an expert takes its time
        try {
            for (i in 0..20) activity.demo.set(Setting(i / 1000.0, 1))
            eventually("the base answers meanwhile") { activity.demo.screen.answer?.loading == true }
            assertTrue(activity.says(R.id.way)!!.startsWith("The base’s answer, until expert"))
            assertEquals("…", activity.says(R.id.time))
        } finally {
            engine.gate.unlock()
        }
        activity.answered()
        assertEquals(0.02, activity.demo.screen.answer!!.setting.tau, 0.0)
    }

    @Test
    fun `a turned phone shows the same, and answers nothing anew`() {
        val controller = open(sample = "02")
        controller.get().drag(controller.get().view(R.id.tau), 0.2f, 0.6f)
        controller.get().answered()
        val before = controller.get().seen()
        val ran = Watched.runs.get()
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange().visible()
        val turned = controller.get()
        assertEquals(Configuration.ORIENTATION_LANDSCAPE, turned.resources.configuration.orientation)
        eventually("it is drawn") { turned.says(R.id.answer) != null }
        assertEquals(before, turned.seen())
        assertEquals(ran, Watched.runs.get())
    }

    private fun MainActivity.seen() =
        listOf(R.id.answer, R.id.way, R.id.macs, R.id.time, R.id.tau_value, R.id.most_value).map(::says) +
            view<SeekBar>(R.id.tau).progress + view<SeekBar>(R.id.most).progress +
            view<ImageView>(R.id.image).contentDescription.toString()

    @Test
    fun `what was shown is shown again after the process was killed`() {
        val controller = open(sample = "03")
        controller.get().drag(controller.get().view(R.id.tau), 0.2f, 0.45f)
        controller.get().drag(controller.get().view(R.id.most), 0f, 1f / 3)
        controller.get().answered()
        assertTheSameAfterDeath(controller)
    }

    private fun assertTheSameAfterDeath(controller: ActivityController<MainActivity>) {
        val before = controller.get().seen()
        val state = Bundle()
        controller.pause().stop().saveInstanceState(state).destroy()
        app.begin()
        val again = open(state = state).get()
        again.answered()
        assertEquals(before, again.seen())
    }

    @Test
    fun `a photograph outlives the process, too`() {
        val controller = open()
        controller.get().receive(PHOTOGRAPH_ASKED, photograph(jpeg(300, 200)))
        controller.get().answered()
        assertEquals("Your photograph, 300 by 200 pixels", controller.get().view<View>(R.id.image).contentDescription)
        assertTheSameAfterDeath(controller)
    }

    @Test
    @Config(qualifiers = "+night")
    fun `at night it is dark`() {
        val picture = open(sample = "00").get().picture()
        assertTrue(picture.shareOf(0xff15181c.toInt()) + picture.shareOf(0xff1e2329.toInt()) > 0.5)
        assertEquals(0.0, picture.shareOf(0xffffffff.toInt()), 0.01)
    }

    @Test
    @Config(qualifiers = "de-rDE-w411dp-h891dp")
    fun `in German, numbers too`() {
        val activity = open(sample = "00").get()
        activity.drag(activity.view(R.id.tau), 0.2f, 0f)
        activity.answered()
        assertTrue(activity.says(R.id.way)!!.matches(Regex("Experte \\d wurde gefragt\\.")))
        assertTrue(activity.says(R.id.macs)!!.matches(Regex("3,65 Mio\\., das 1,48-Fache der Basis")))
        assertEquals("0,000", activity.says(R.id.tau_value))
    }

    @Test
    @Config(qualifiers = "de-rDE-w360dp-h640dp", fontScale = 2f)
    fun `letters twice as large are cut nowhere, and everything is reached`() = everythingIsReached()

    @Test
    @Config(qualifiers = "w640dp-h360dp-land")
    fun `a small phone on its side reaches everything`() = everythingIsReached()

    private fun everythingIsReached() {
        val activity = open(sample = "00").get()
        val seen = activity.window.decorView.all().filter(View::isShown).toList()
        for (text in seen.filterIsInstance<TextView>().filter { it.text.isNotEmpty() }) {
            val layout = text.layout
            val lines = 0 until layout.lineCount
            assertTrue("'${text.text}' is cut", lines.all { layout.getEllipsisCount(it) == 0 })
            val room = text.height - text.compoundPaddingTop - text.compoundPaddingBottom
            assertTrue("'${text.text}' is cut", layout.height <= room)
            val width = text.width - text.compoundPaddingLeft - text.compoundPaddingRight
            assertTrue("'${text.text}' is cut", lines.all { layout.getLineMax(it) <= width + 1 })
        }
        val controls = seen.filter { it.isClickable || it is SeekBar }
        assertTrue("${controls.size}", controls.size >= 9)
        controls.filter { it !is ImageButton }.forEach(activity::reveal)
    }

    @Test
    fun `every control says what it is`() {
        for (activity in listOf(open(sample = "00").get(), withoutBundle().get())) {
            val controls = activity.view<View>(R.id.root).all()
                .filter { it is Button || it is SeekBar || it is ImageView || it is ProgressBar }
                .filter { it.importantForAccessibility != View.IMPORTANT_FOR_ACCESSIBILITY_NO }
            for (control in controls) assertFalse("$control", control.contentDescription.isNullOrBlank())
        }
    }

    private fun withoutBundle() = run {
        app.filesDir.resolve("bundle").deleteRecursively()
        app.begin()
        open()
    }

    @Test
    fun `without a bundle it says what to do`() {
        val activity = withoutBundle().get()
        assertTrue(activity.view<View>(R.id.no_bundle_card).isShown)
        assertFalse(activity.view<View>(R.id.content).isShown)
    }

    @Test
    @Config(sdk = [35])
    fun `nothing is behind the system's bars`() {
        val activity = open(sample = "00").get()
        val root = activity.view<View>(R.id.root)
        val bars = WindowInsets.Builder()
            .setInsets(WindowInsets.Type.systemBars(), Insets.of(0, 63, 0, 126))
            .setInsets(WindowInsets.Type.displayCutout(), Insets.of(80, 0, 0, 0))
            .build()
        root.dispatchApplyWindowInsets(bars)
        val padding = with(root) { listOf(paddingLeft, paddingTop, paddingRight, paddingBottom) }
        assertEquals(listOf(80, 63, 0, 126), padding)
    }

    @Test
    fun `a photograph to which nobody comes back is deleted`() {
        val controller = open()
        controller.get().receive(PHOTOGRAPH_ASKED, photograph(jpeg(300, 200)))
        val kept = app.filesDir.resolve("photograph")
        assertTrue(kept.exists())
        controller.pause().stop().destroy()
        app.begin()
        open()
        assertFalse(kept.exists())
    }

    @Test
    fun `the licences of what the app is made of`() {
        val activity = open().get()
        activity.tap(activity.view(R.id.licences))
        val dialog = ShadowDialog.getLatestDialog() as AlertDialog
        val text = dialog.findViewById<TextView>(android.R.id.message).text
        for (one in listOf("Kotlin", "jackson-core", "TensorFlow Lite", "Pillow", "Version 2.0, January 2004")) {
            assertTrue(one, one in text)
        }
        dialog.dismiss()
    }
}
