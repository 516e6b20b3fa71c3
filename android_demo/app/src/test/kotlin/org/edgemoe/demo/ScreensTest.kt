package org.edgemoe.demo

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import android.graphics.Rect
import android.widget.ImageView
import android.widget.ScrollView
import edgemoe.core.Setting
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import java.io.File
import kotlin.math.abs

private const val KEEP = "edgemoe.screens" // "keep": they are what docs/android shall have
private const val GREY_LEVELS = 1.0 // of difference on average: other processors draw edges a little differently
private const val TILE = 32
private const val TILE_GREY_LEVELS = 3.0 // in a square of so many pixels: a line of text that is missing is more
private const val PHONE = "w411dp-h891dp"
private val KEPT = CHECKOUT.resolve("docs/android")
private val MADE = File("target/screens")

/** What is seen: pictures of the real screens, beside those that docs/android has. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
class ScreensTest {
    private val app get() = RuntimeEnvironment.getApplication() as TestApp

    @Before
    fun fresh() {
        Stage.reset()
        copied(BUNDLE, File(app.filesDir, "bundle"))
    }

    private fun open(sample: String? = "01", tau: Double? = null, maxExperts: Int = 1): MainActivity {
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        eventually("the bundle is open") { activity.demo.screen.busy == null }
        if (sample == null) return activity
        activity.demo.takeSample(sample)
        eventually("it is there") { activity.demo.screen.picture != null && activity.demo.screen.busy == null }
        activity.demo.set(Setting(tau ?: activity.demo.screen.setting.tau, maxExperts))
        eventually("it is answered") {
            val answer = activity.demo.screen.answer
            answer?.setting == activity.demo.screen.setting && answer.ms != null
        }
        return activity
    }

    private fun check(activity: Activity, name: String) {
        val made = activity.picture()
        MADE.mkdirs()
        File(MADE, "$name.png").outputStream().use { made.compress(Bitmap.CompressFormat.PNG, 100, it) }
        val kept = KEPT.resolve("$name.png")
        if (System.getProperty(KEEP) == "keep") {
            KEPT.mkdirs()
            File(MADE, "$name.png").copyTo(kept, overwrite = true)
        }
        val there = kept.readBytes().let { BitmapFactory.decodeByteArray(it, 0, it.size) }
        assertEquals(made.width to made.height, there.width to there.height)
        val (now, before) = pixels(made) to pixels(there)
        val off = now.indices.sumOf { difference(now[it], before[it]) } / (3.0 * now.size)
        assertTrue(
            "$name.png is another than in docs/android by $off grey levels: look, and keep it",
            off <= GREY_LEVELS,
        )
        val images = images(activity)
        val tiles = tiles(made).filterNot { tile -> images.any { Rect.intersects(it, tile) } }
        val worst = tiles.maxByOrNull { difference(it, made.width, now, before) }!!
        val most = difference(worst, made.width, now, before)
        assertTrue("$name.png is another than in docs/android by $most in $worst: look", most <= TILE_GREY_LEVELS)
    }

    /** Where images are: the pictures in docs/android have not enough colours for those. */
    private fun images(activity: Activity) = activity.window.decorView.all().filter { it is ImageView && it.isShown }
        .map { view ->
            val place = IntArray(2).also(view::getLocationInWindow)
            Rect(place[0], place[1], place[0] + view.width, place[1] + view.height)
        }.toList()

    private fun tiles(bitmap: Bitmap) = (0 until bitmap.height step TILE).flatMap { y ->
        (0 until bitmap.width step TILE).map { x ->
            Rect(x, y, minOf(x + TILE, bitmap.width), minOf(y + TILE, bitmap.height))
        }
    }

    private fun difference(tile: Rect, width: Int, now: IntArray, before: IntArray): Double {
        var sum = 0
        for (y in tile.top until tile.bottom) {
            for (x in tile.left until tile.right) sum += difference(now[y * width + x], before[y * width + x])
        }
        return sum / (3.0 * tile.width() * tile.height())
    }

    private fun pixels(bitmap: Bitmap) = with(bitmap) {
        IntArray(width * height).also { getPixels(it, 0, width, 0, 0, width, height) }
    }

    private fun difference(a: Int, b: Int) =
        abs(Color.red(a) - Color.red(b)) + abs(Color.green(a) - Color.green(b)) + abs(Color.blue(a) - Color.blue(b))

    private fun scrollDown(activity: Activity) {
        val root = activity.view<ScrollView>(R.id.root)
        root.scrollTo(0, root.getChildAt(0).height)
        eventually("it is at the end") { !root.canScrollVertically(1) }
    }

    @Test
    @Config(qualifiers = "en-rUS-$PHONE-notnight-hdpi")
    fun light() {
        val activity = open()
        check(activity, "light")
        scrollDown(activity)
        check(activity, "light-end")
    }

    @Test
    @Config(qualifiers = "en-rUS-$PHONE-night-hdpi")
    fun dark() = check(open(tau = 0.0, maxExperts = 2), "dark")

    @Test
    @Config(qualifiers = "en-rUS-w891dp-h411dp-land-notnight-hdpi")
    fun landscape() {
        val activity = open()
        check(activity, "landscape")
        scrollDown(activity)
        check(activity, "landscape-end")
    }

    @Test
    @Config(qualifiers = "de-rDE-$PHONE-notnight-hdpi", fontScale = 2f)
    fun `German, in letters twice as large`() {
        val activity = open()
        check(activity, "german-large")
        scrollDown(activity)
        check(activity, "german-large-end")
    }

    @Test
    @Config(qualifiers = "en-rUS-$PHONE-notnight-hdpi")
    fun sweep() {
        val harness = Harness(app)
        val folder = harness.job("laptop-1")
        val activity = harness.start("laptop-1").get()
        harness.ask(folder, 2)
        eventually("a round is there") {
            activity.says(R.id.step) ==
                "Waiting for what to measure next. 1 round measured."
        }
        check(activity, "sweep")
        harness.end()
    }

    @Test
    @Config(qualifiers = "en-rUS-$PHONE-notnight-hdpi")
    fun `no bundle`() {
        File(app.filesDir, "bundle").deleteRecursively()
        check(open(sample = null), "no-bundle")
    }
}
