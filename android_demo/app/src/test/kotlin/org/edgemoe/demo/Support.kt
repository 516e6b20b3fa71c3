package org.edgemoe.demo

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Rect
import android.os.Looper
import android.os.SystemClock
import android.view.MotionEvent
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import edgemoe.core.BackendError
import edgemoe.core.Clock
import edgemoe.core.Engine
import edgemoe.core.Here
import edgemoe.core.OpenPart
import edgemoe.core.PartSource
import edgemoe.core.Processor
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.robolectric.Shadows.shadowOf
import java.io.File
import java.nio.FloatBuffer
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.locks.ReentrantLock

/** The checkout, and what of it tests read. */
val CHECKOUT = File(System.getProperty("edgemoe.checkout"))
val BUNDLE = File("src/test/data/bundle")
private const val PATIENCE_MS = 20_000L

/** The app as it is, but for who executes artifacts, what the clock says, and who brings experts. */
class TestApp : DemoApp() {
    override val delivery get() = Stage.delivery

    override fun here() = Here(
        engines = Stage.engines.associateBy(Engine::backend),
        processor = Processor(emptySet()),
        decoder = BitmapDecoder(),
        target = "app",
        how = "in a test",
        machine = mapOf("name" to "a test"),
        facts = { mapOf("in front" to sweeps.attention.stayed()) },
        clock = Stage.clock,
    )
}

/** What a test may set before the activity is made; [OnPhone] puts it back. */
object Stage {
    var engines: List<Engine> = emptyList()
    var delivery: Delivery = NoDelivery
    var clock: Clock = Clock(System::nanoTime)

    fun reset() {
        engines = listOf(Watched(OrtEngine()))
        delivery = NoDelivery
        clock = Ticking()
    }
}

/** A clock by which every part takes 0.13 ms: pictures are the same everywhere. */
class Ticking : Clock {
    override fun nanos() = Watched.runs.get() * 130_000L
}

/** An engine that no screen waits for: it throws on the main thread. It fails where a test says so. */
class Watched(private val inner: Engine) : Engine by inner {
    /** Part -> what opening it throws, once. */
    val refused = mutableMapOf<String, MutableList<Throwable>>()

    /** Parts whose answers are no numbers. */
    val spoilt = mutableSetOf<String>()

    /** Held by a test as long as no expert may be opened. */
    val gate = ReentrantLock()

    override fun open(source: PartSource, threads: Int): OpenPart {
        offMain()
        refused[source.name]?.removeFirstOrNull()?.let { throw it }
        if (source.name.startsWith("expert")) gate.lock().also { gate.unlock() }
        val part = inner.open(source, threads)
        return object : OpenPart by part {
            override fun run(input: FloatBuffer): Map<String, FloatBuffer> {
                offMain()
                runs.incrementAndGet()
                val found = part.run(input)
                if (source.name !in spoilt) return found
                return found.mapValues { (_, floats) -> FloatBuffer.wrap(FloatArray(floats.limit()) { Float.NaN }) }
            }
        }
    }

    private fun offMain() = check(Looper.myLooper() != Looper.getMainLooper()) { "an engine on the main thread" }

    companion object {
        /** How many parts ran. */
        val runs = AtomicInteger()
    }
}

/** An engine of a backend that this phone does not have. */
class Refusing(override val backend: String) : Engine {
    override val version = "none"

    override fun open(source: PartSource, threads: Int): OpenPart = throw BackendError("no")
}

/** Let the app work until something holds. */
fun eventually(what: String, holds: () -> Boolean) {
    val end = System.nanoTime() + PATIENCE_MS * 1_000_000
    while (true) {
        shadowOf(Looper.getMainLooper()).idle()
        if (holds()) return
        if (System.nanoTime() > end) fail("not in ${PATIENCE_MS / 1000} s: $what")
        Thread.sleep(2)
    }
}

internal val Activity.demo get() = (application as TestApp).demo

fun <T : View> Activity.view(id: Int): T = findViewById(id)

/** What a text says; null: nobody sees it. */
fun Activity.says(id: Int): String? = view<TextView>(id).takeIf(View::isShown)?.text?.toString()

/** All views of a tree. */
fun View.all(): Sequence<View> = sequence {
    yield(this@all)
    if (this@all is ViewGroup) for (i in 0 until childCount) yieldAll(getChildAt(i).all())
}

/** Bring a view onto the screen, as a finger scrolls it there. */
fun Activity.reveal(view: View) {
    view.requestRectangleOnScreen(Rect(0, 0, view.width, view.height), true)
    shadowOf(Looper.getMainLooper()).idle()
    val (place, root) = IntArray(2).also(view::getLocationInWindow) to window.decorView
    assertTrue("$view cannot be reached", place[1] >= 0 && place[1] + view.height <= root.height)
}

/** Put a finger on a view at a share of its width, draw it to another, and lift it: what the screen itself receives. */
fun Activity.drag(view: View, from: Float, to: Float) {
    reveal(view)
    val place = IntArray(2).also(view::getLocationInWindow)
    val inner = view.width - view.paddingLeft - view.paddingRight
    val start = SystemClock.uptimeMillis()
    fun touch(action: Int, share: Float, at: Int) {
        val x = place[0] + view.paddingLeft + share * inner
        val event = MotionEvent.obtain(start, start + 16L * at, action, x, place[1] + view.height / 2f, 0)
        assertTrue(window.decorView.dispatchTouchEvent(event))
        event.recycle()
        shadowOf(Looper.getMainLooper()).idle()
    }
    touch(MotionEvent.ACTION_DOWN, from, 0)
    for (i in 1..10) touch(MotionEvent.ACTION_MOVE, from + (to - from) * i / 10, i)
    touch(MotionEvent.ACTION_UP, to, 11)
}

/** Touch a view in its middle. */
fun Activity.tap(view: View) {
    reveal(view)
    assertTrue("$view is no button", view.isShown && view.isEnabled && view.performClick())
    shadowOf(Looper.getMainLooper()).idle()
}

/** What the window shows. */
fun Activity.picture(): Bitmap = with(window.decorView) {
    findViewById<View>(R.id.root).isVerticalScrollBarEnabled = false // which fades on a phone
    Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888).also { draw(Canvas(it)) }
}

fun Bitmap.shareOf(colour: Int): Double {
    val pixels = IntArray(width * height).also { getPixels(it, 0, width, 0, 0, width, height) }
    return pixels.count { it == colour }.toDouble() / pixels.size
}

/** Copy a folder that may be spoilt. */
fun copied(from: File, to: File) = to.also { from.copyRecursively(it, overwrite = true) }
