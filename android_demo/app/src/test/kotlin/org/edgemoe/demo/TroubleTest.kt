package org.edgemoe.demo

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.provider.MediaStore
import android.view.View
import android.widget.ImageView
import edgemoe.core.BackendError
import edgemoe.core.Prediction
import edgemoe.core.Setting
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.File
import java.io.InputStream

/** What comes wrong onto a phone: a message each time, and what worked before works on. */
@RunWith(RobolectricTestRunner::class)
class TroubleTest : OnPhone() {
    private fun there(name: String = "new") = copied(BUNDLE, documents.resolve(name))

    private fun edit(file: File, change: (String) -> String) = file.writeText(change(file.readText()))

    private fun MainActivity.worksOn() {
        demo.takeSample("00")
        answered()
        assertTrue(says(R.id.answer)!!.contains("%"))
        assertFalse(app.filesDir.resolve("bundle.part").exists())
        assertFalse(app.filesDir.resolve("bundle.old").exists())
    }

    private fun refused(words: String, spoil: (File) -> Unit) {
        spoil(there())
        val activity = open(sample = "01").get()
        val facts = activity.says(R.id.facts)
        activity.receive(BUNDLE_ASKED, tree("new"))
        assertTrue(activity.says(R.id.problem), activity.says(R.id.problem).orEmpty().contains(words))
        assertEquals(facts, activity.says(R.id.facts))
        activity.tap(activity.view(R.id.problem_close))
        assertFalse(activity.view<View>(R.id.problem_card).isShown)
        activity.worksOn()
    }

    @Test
    fun `another bundle takes the place of the one that was there`() {
        val new = there()
        edit(new.resolve("operating.json")) { it.replace(Regex("\"default_tau\": *0.2\\b"), "\"default_tau\": 0.7") }
        val activity = open(sample = "01").get()
        activity.receive(BUNDLE_ASKED, tree("new"))
        assertEquals(null, activity.says(R.id.problem))
        assertEquals("0.700", activity.says(R.id.tau_value))
        assertEquals("Choose an image.", activity.says(R.id.answer))
        activity.worksOn()
        val (here, came) = listOf(app.filesDir.resolve("bundle"), new).map { root ->
            root.walk().filter(File::isFile).associate { it.relativeTo(root).path to it.readBytes().toList() }
        }
        assertEquals(came, here)
    }

    @Test
    fun `a bundle with an altered byte`() = refused("onnx/fp32/expert_02.onnx was altered") { folder ->
        folder.resolve("onnx/fp32/expert_02.onnx").run { writeBytes(readBytes().also { it[1000]++ }) }
    }

    @Test
    fun `a bundle that was copied by half`() = refused("onnx/fp32/expert_03.onnx is missing") {
        it.resolve("onnx/fp32/expert_03.onnx").delete()
    }

    @Test
    fun `a bundle with a file that was cut`() = refused("onnx/fp32/base.onnx should have") { folder ->
        folder.resolve("onnx/fp32/base.onnx").run { writeBytes(readBytes().copyOf(5000)) }
    }

    @Test
    fun `a folder that is no bundle`() = refused("new has no manifest.json") { folder ->
        folder.listFiles()!!.forEach(File::deleteRecursively)
        folder.resolve("holiday.txt").writeText("sun")
    }

    @Test
    fun `a manifest of another kind`() = refused("This is not a bundle") { it.resolve("manifest.json").writeText("{}") }

    @Test
    fun `a bundle for which there is no room`() = refused("There is not enough room") { folder ->
        edit(folder.resolve("manifest.json")) {
            it.replaceFirst(Regex("\"bytes\": *\\d+"), "\"bytes\": 999999999999999")
        }
    }

    @Test
    fun `a set that this phone cannot run`() {
        Stage.engines = listOf(Refusing("litert"))
        app.begin()
        val activity = open().get()
        assertTrue(activity.says(R.id.problem)!!.startsWith("This phone cannot run the bundle."))
        assertTrue(activity.says(R.id.problem)!!.contains("it needs the backend onnx, which is not here"))
        assertTrue(activity.view<View>(R.id.no_bundle_card).isShown)
    }

    @Test
    fun `a bundle that was spoilt since it was imported`() {
        app.filesDir.resolve("bundle/onnx/fp32/base.onnx").run { writeBytes(readBytes().also { it[1000]++ }) }
        val activity = open().get()
        assertTrue(activity.says(R.id.problem)!!.contains("was altered"))
        assertTrue(activity.view<View>(R.id.no_bundle_card).isShown)
    }

    @Test
    fun `an expert that was spoilt since`() {
        app.filesDir.resolve("bundle/onnx/fp32").listFiles { one -> one.name.startsWith("expert") }!!
            .forEach { file -> file.writeBytes(file.readBytes().also { it[1000]++ }) }
        val activity = open().get()
        activity.demo.set(Setting(0.0, 1))
        activity.demo.takeSample("00")
        eventually("it is told") { activity.says(R.id.problem) != null }
        assertTrue(activity.says(R.id.problem)!!.contains("was altered"))
    }

    @Test
    fun `an import that was killed between its last two steps`() {
        app.filesDir.resolve("bundle").renameTo(app.filesDir.resolve("bundle.old"))
        app.filesDir.resolve("bundle.part").mkdirs()
        open().get().run {
            assertEquals(null, says(R.id.problem))
            assertTrue(view<View>(R.id.content).isShown)
        }
    }

    @Test
    fun `a photograph that cannot be opened`() {
        val activity = open(sample = "01").get()
        for (bytes in listOf("no image".toByteArray(), ByteArray(0), jpeg(300, 200).copyOf(100))) {
            activity.receive(PHOTOGRAPH_ASKED, photograph(bytes))
            assertTrue(activity.says(R.id.problem)!!.startsWith("This image cannot be opened."))
            assertEquals("Sample 01 of the bundle", activity.view<ImageView>(R.id.image).contentDescription)
        }
        val gone = photograph(ByteArray(1)).also { documents.resolve("photograph").delete() }
        activity.receive(PHOTOGRAPH_ASKED, gone)
        assertTrue(activity.says(R.id.problem)!!.startsWith("This image cannot be opened."))
        activity.worksOn()
    }

    @Test
    fun `not enough memory for an expert, then enough`() {
        for (part in List(4) { "expert_0$it" }) engine.refused[part] = mutableListOf(OutOfMemoryError("no"))
        val activity = open(sample = "00").get()
        activity.demo.set(Setting(0.0, 1))
        activity.answered()
        assertTrue(activity.says(R.id.way)!!.startsWith("The base’s answer: there is not enough memory for expert"))
        assertEquals("2.47 M, the base alone" to "…", activity.says(R.id.macs) to activity.says(R.id.time))
        activity.demo.set(Setting(0.001, 1))
        activity.answered()
        assertTrue(activity.says(R.id.way)!!.startsWith("It asked expert"))
    }

    @Test
    fun `an expert that the library refuses`() {
        for (part in List(4) { "expert_0$it" }) engine.refused[part] = mutableListOf(BackendError("of a newer version"))
        val activity = open(sample = "00").get()
        activity.demo.set(Setting(0.0, 1))
        activity.answered()
        assertTrue(activity.says(R.id.way)!!.matches(Regex("The base’s answer: expert \\d cannot be run here\\.")))
    }

    @Test
    fun `not enough memory for the base`() {
        engine.refused["base"] = mutableListOf(OutOfMemoryError("no"))
        val activity = open().get()
        assertTrue(activity.says(R.id.problem)!!.startsWith("There is not enough memory."))
    }

    @Test
    fun `an engine that fails as no engine should`() {
        engine.refused["base"] = mutableListOf(IllegalStateException("a mutex"))
        val activity = open().get()
        assertEquals("Something unexpected happened.\n\na mutex", activity.says(R.id.problem))
    }

    @Test
    fun `a phone without a picker`() {
        shadowOf(app).checkActivities(true)
        val activity = open().get()
        activity.tap(activity.view(R.id.choose))
        assertTrue(activity.says(R.id.problem)!!.startsWith("There is no app on this phone"))
    }

    @Test
    fun `the person chooses nothing`() {
        val activity = open(sample = "01").get()
        activity.tap(activity.view(R.id.choose))
        val asked = shadowOf(activity).nextStartedActivityForResult
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_CANCELED, null)
        assertEquals(null, activity.says(R.id.problem))
    }

    @Test
    @Config(sdk = [35])
    fun `photographs come from the system's picker`() {
        val activity = open().get()
        activity.tap(activity.view(R.id.choose))
        assertEquals(MediaStore.ACTION_PICK_IMAGES, shadowOf(activity).nextStartedActivityForResult.intent.action)
    }

    @Test
    @Config(sdk = [26])
    fun `where there is none, from the file chooser`() {
        val activity = open().get()
        activity.tap(activity.view(R.id.choose))
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, shadowOf(activity).nextStartedActivityForResult.intent.action)
    }

    @Test
    fun `experts whose answer is not a number`() {
        engine.spoilt += List(4) { "expert_0$it" }
        val activity = open(sample = "00").get()
        activity.demo.set(Setting(0.0, 1))
        activity.answered()
        assertTrue(activity.view<View>(R.id.answer).isShown)
        val scores = FloatArray(activity.demo.screen.model!!.labels.size) { Float.NaN }
        val none = Answer(Prediction(0, scores, emptyList(), false, 1), activity.demo.screen.setting, null)
        activity.demo.watcher!!(activity.demo.screen.copy(answer = none)) // whoever gave it
        assertTrue(activity.says(R.id.answer)!!.endsWith(", …"))
        engine.spoilt.clear()
        activity.worksOn()
    }

    @Test
    fun `a picker that gives no folder`() {
        val activity = open(sample = "01").get()
        activity.receive(BUNDLE_ASKED, Uri.parse("content://org.edgemoe.test.documents/no/folder"))
        assertTrue(activity.says(R.id.problem)!!.startsWith("This is not a bundle"))
        activity.worksOn()
    }

    @Test
    fun `a folder may be read until it is copied, and no longer`() {
        there()
        val resolver = app.contentResolver
        Tree(resolver, tree("new")).use { assertEquals(1, resolver.persistedUriPermissions.size) }
        assertEquals(0, resolver.persistedUriPermissions.size)
        open(sample = "01").get().receive(BUNDLE_ASKED, tree("new"))
        assertEquals(0, resolver.persistedUriPermissions.size)
    }

    @Test
    fun `a photograph that does not end`() {
        val activity = open(sample = "01").get()
        val endless = object : InputStream() {
            override fun read() = 1
        }
        activity.demo.takePhotograph { endless }
        eventually("it is told") { activity.says(R.id.problem) != null }
        assertEquals(
            "This image cannot be opened. Choose a JPEG, PNG or WebP.\n\nthe image has more than 64 MiB",
            activity.says(R.id.problem),
        )
        activity.worksOn()
    }
}
