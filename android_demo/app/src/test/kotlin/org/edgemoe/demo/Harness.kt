package org.edgemoe.demo

import android.content.Intent
import edgemoe.core.Folder
import edgemoe.core.prepare
import org.json.JSONObject
import org.robolectric.Robolectric
import org.robolectric.android.controller.ActivityController
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import edgemoe.core.Bundle as MoeBundle

/** Rounds of a job's plan. */
internal const val ROUNDS = 2

/** What `edge-moe bench --device app` does over adb: it pushes a job, starts an intent, and asks. */
internal class Harness(private val app: TestApp) {
    val sweeps get() = app.getExternalFilesDir(null)!!.resolve("sweeps")
    private var beat = 0

    /** Leave nothing running. */
    fun end() {
        for (folder in sweeps.listFiles().orEmpty()) {
            ask(folder, 0, "end")
            eventually("the sweep ends") { !folder.exists() }
        }
    }

    /** What the harness pushes. */
    fun job(id: String): File {
        val folder = sweeps.resolve(id)
        copied(BUNDLE, folder.resolve("bundle"))
        folder.resolve("images").mkdirs()
        val bundle = MoeBundle(Folder(BUNDLE.toPath()))
        val images = bundle.manifest.golden.images.values.take(2)
        val inputs = images.mapIndexed { i, image ->
            folder.resolve("images/$i.png").writeBytes(bundle.read(image))
            prepare(bundle.read(image), bundle.manifest.preprocessing, BitmapDecoder())
        }
        val header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 32, 32, 3), }".padEnd(117) + "\n"
        val bytes = ByteBuffer.allocate(128 + 4 * inputs.sumOf { it.limit() }).order(ByteOrder.LITTLE_ENDIAN)
        bytes.put("\u0093NUMPY\u0001\u0000".toByteArray(Charsets.ISO_8859_1)).putShort(118).put(header.toByteArray())
        for (input in inputs) for (i in 0 until input.limit()) bytes.putFloat(input.get(i))
        folder.resolve("inputs.npy").writeBytes(bytes.array())
        folder.resolve("plan.json").writeText(
            """{"schema_version": 3, "bundle": "bundle", "inputs": "inputs.npy", "images": ["images/0.png", "images/1.png"],
               "threads": 1, "rounds": $ROUNDS, "cold_starts": 0, "seed": 7, "sets": [{"set": "onnx/fp32",
               "settings": [{"tau": 0.0, "max_experts": 1}, {"tau": 1.0, "max_experts": 1}],
               "order": [[0, 1, 2, 3], [0, 1, 2, 3]]}]}""",
        )
        return folder
    }

    fun ask(folder: File, line: Int, what: String = "round", round: Int = 0) {
        val part = folder.resolve("ask.json.part")
        if (!folder.exists()) return
        part.writeText("""{"beat": ${++beat}, "line": $line, "what": "$what", "round": $round}""")
        part.renameTo(folder.resolve("ask.json"))
    }

    fun state(folder: File): JSONObject? =
        folder.resolve("state.json").takeIf(File::exists)?.let { JSONObject(it.readText()) }

    fun lines(folder: File) = folder.resolve("rounds.jsonl").readLines()

    fun intent(id: String) =
        Intent("org.edgemoe.demo.SWEEP").setClassName(app, "org.edgemoe.demo.SweepActivity").putExtra("job", id)

    fun start(id: String): ActivityController<SweepActivity> =
        Robolectric.buildActivity(SweepActivity::class.java, intent(id)).setup()
}
