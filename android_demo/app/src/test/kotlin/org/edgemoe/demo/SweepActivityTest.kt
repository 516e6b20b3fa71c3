package org.edgemoe.demo

import android.content.Intent
import android.os.Handler
import android.os.Looper
import android.view.View
import android.view.WindowManager
import android.widget.ProgressBar
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import java.io.File
import java.nio.file.Files
import java.nio.file.Paths
import java.util.concurrent.Executor

/** A sweep as the harness has it: files, and an intent. */
@RunWith(RobolectricTestRunner::class)
class SweepActivityTest : OnPhone() {
    private val harness by lazy { Harness(app) }

    @After
    fun end() = harness.end()

    @Test
    fun `rounds are measured as they are asked for, and the screen says how many`() {
        val folder = harness.job("first")
        val controller = harness.start("first")
        val activity = controller.get()
        assertTrue(activity.window.attributes.flags and WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON != 0)
        harness.ask(folder, 1)
        eventually("it is open") { harness.state(folder)?.optInt("lines") == 1 }
        assertEquals("app", JSONObject(harness.lines(folder)[0]).getString("target"))
        for (round in 0 until ROUNDS) {
            harness.ask(folder, 2 + round, round = round)
            eventually("round $round is there") { harness.state(folder)!!.getInt("lines") == 2 + round }
        }
        val words = "Waiting for what to measure next. 2 rounds measured."
        eventually("the screen says so") { activity.says(R.id.step) == words }
        assertEquals(2, activity.view<ProgressBar>(R.id.rounds).progress)
        assertEquals("first", activity.says(R.id.job))
        val found = JSONObject(harness.lines(folder)[1]).getJSONArray("sets").getJSONObject(0)
        val (asked, exited) = List(2) { found.getJSONArray("points").getJSONObject(it).getJSONArray("ran").toString() }
        assertTrue(asked, asked.matches(Regex("\\[\\[\\d],\\[\\d]]")))
        assertEquals("[null,null]", exited)
        assertTrue(
            JSONObject(harness.lines(folder)[1]).getJSONObject("seen").getJSONObject("facts").getBoolean("in front"),
        )
        harness.ask(folder, 3, "end")
        eventually("it is done") { activity.says(R.id.step) == "Done. 2 rounds measured." }
        eventually("the folder is gone") { !folder.exists() }
        assertFalse(activity.view<View>(R.id.stop).isShown)
    }

    @Test
    fun `a turned phone measures on, and one behind another app says that it is`() {
        val folder = harness.job("turned")
        val controller = harness.start("turned")
        harness.ask(folder, 1)
        eventually("it is open") { harness.state(folder)?.optInt("lines") == 1 }
        controller.recreate()
        harness.ask(folder, 2)
        eventually("the screen says so") { controller.get().says(R.id.step)?.contains("1 round measured") == true }
        controller.pause()
        harness.ask(folder, 3, round = 1)
        eventually("it is there") { harness.state(folder)!!.getInt("lines") == 3 }
        assertFalse(
            JSONObject(harness.lines(folder)[2]).getJSONObject("seen").getJSONObject("facts").getBoolean("in front"),
        )
    }

    @Test
    fun `a second sweep is told that one runs, which is not disturbed`() {
        val (first, second) = harness.job("one") to harness.job("two")
        val controller = harness.start("one")
        harness.ask(first, 1)
        eventually("it is open") { harness.state(first)?.optInt("lines") == 1 }
        harness.ask(second, 1)
        controller.newIntent(harness.intent("two"))
        eventually("it is told") { harness.state(second)?.optString("kind") == "busy" }
        controller.newIntent(harness.intent("one"))
        harness.ask(first, 2)
        eventually("the first goes on") { harness.state(first)!!.getInt("lines") == 2 }
        assertEquals("one", controller.get().says(R.id.job))
    }

    @Test
    fun `the person stops it`() {
        val folder = harness.job("stopped")
        val activity = harness.start("stopped").get()
        harness.ask(folder, 1)
        eventually("it is open") { harness.state(folder)?.optInt("lines") == 1 }
        activity.tap(activity.view(R.id.stop))
        eventually("it is told") { harness.state(folder)?.optString("kind") == "stopped" }
        eventually("the screen says so") { activity.says(R.id.problem) != null }
    }

    @Test
    fun `a job that is none, and storage that is full`() {
        val spoilt = harness.job("spoilt").also { it.resolve("plan.json").writeText("{}") }
        val activity = harness.start("spoilt").get()
        harness.ask(spoilt, 1)
        eventually("it is told") { harness.state(spoilt)?.optString("kind") == "data" }
        eventually("the screen says so") { activity.says(R.id.problem)?.contains("plan.json") == true }

        val full = harness.job("full")
        Files.createSymbolicLink(full.resolve("rounds.jsonl").toPath(), Paths.get("/dev/full"))
        val another = harness.start("full").get()
        harness.ask(full, 1)
        eventually("it is told") { harness.state(full)?.optString("kind") == "storage" }
        val words = "It could not go on. 0 rounds measured. The computer keeps what it has fetched."
        eventually("the screen says so") { another.says(R.id.step) == words }
        assertTrue(another.says(R.id.problem)!!.contains("No space left on device"))
    }

    @Test
    fun `an id that is none, and no id`() {
        val activity = harness.start("../elsewhere").get()
        assertTrue(activity.says(R.id.problem)!!.contains("is no sweep"))
        app.begin()
        val empty = Robolectric.buildActivity(SweepActivity::class.java).setup().get()
        assertTrue(empty.says(R.id.step)!!.startsWith("There is nothing to measure."))
    }

    private fun inFront(line: Int, folder: File) =
        JSONObject(harness.lines(folder)[line]).getJSONObject("seen").getJSONObject("facts").getBoolean("in front")

    @Test
    fun `a round in which another app was in front says so, even if this one is again`() {
        val folder = harness.job("left")
        val controller = harness.start("left")
        harness.ask(folder, 1)
        eventually("it is open") { harness.state(folder)?.optInt("lines") == 1 }
        controller.pause().resume()
        for (round in 0 until ROUNDS) {
            harness.ask(folder, 2 + round, round = round)
            eventually("round $round is there") { harness.state(folder)!!.getInt("lines") == 2 + round }
        }
        assertEquals(false to true, inFront(1, folder) to inFront(2, folder))
    }

    @Test
    fun `what is opened from the recent apps begins nothing`() {
        val intent = harness.intent("old").addFlags(Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY)
        val activity = Robolectric.buildActivity(SweepActivity::class.java, intent).setup().get()
        assertTrue(activity.says(R.id.step)!!.startsWith("There is nothing to measure."))
    }

    @Test
    fun `the demo waits while a sweep measures`() {
        val folder = harness.job("alone")
        harness.start("alone")
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        eventually("it says so") { activity.says(R.id.problem).orEmpty().startsWith("This phone is being measured") }
        harness.ask(folder, 1)
        eventually("it is open") { harness.state(folder)?.optInt("lines") == 1 }
        assertEquals(null, activity.demo.screen.model)
        harness.end()
        eventually("it goes on") { activity.demo.screen.model != null && activity.demo.screen.busy == null }
        assertEquals(null, activity.says(R.id.problem))
    }

    @Test
    fun `a library that is not there ends the sweep, and not the app`() {
        val main = Executor(Handler(Looper.getMainLooper())::post)
        val quiet = Quiet()
        val sweeps = Sweeps({ app.filesDir }, { throw NoClassDefFoundError("a library") }, main, quiet)
        sweeps.start("broken")
        eventually("it is told") { sweeps.shown?.progress?.problem.orEmpty().contains("a library") }
        assertFalse(quiet.wanted)
    }
}
