package org.edgemoe.demo

import android.content.res.AssetManager
import edgemoe.core.Store
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException

/**
 * Brings files of the app's own bundle that were not installed with it: experts, each when it is first asked.
 *
 * Paths are those in the manifest. Until a file is here the base answers in the expert's place. Methods are called on
 * the thread that answers.
 */
interface Delivery {
    /** Whether it brings anything at all; where it does not, a file that is not here never will be. */
    val brings: Boolean get() = true

    /** Whether a file may come later than the app. */
    fun later(path: String): Boolean

    /** Where a file is that came; null: it did not, or it came with the app. */
    fun find(path: String): File?

    /** Bring a file, unless it is on its way. [done] is called on any thread, with what went wrong, or null. */
    fun fetch(path: String, done: (problem: String?) -> Unit)
}

/**
 * Nothing comes later. An app that was packed with experts to be delivered, and has nobody who does, works all the same:
 * the base answers where an expert is asked.
 */
object NoDelivery : Delivery {
    override val brings get() = false

    override fun later(path: String) = isExpert(path)

    override fun find(path: String): File? = null

    override fun fetch(path: String, done: (problem: String?) -> Unit) = done("this app brings no files later")
}

/** Whether a file of a bundle, by its path, is an expert: those alone may come later than the app. */
internal fun isExpert(path: String) = path.substringAfterLast('/').startsWith("expert_")

/** The bundle that is in the app: a [folder] of its assets, with what [delivery] brings. */
internal class Shipped(
    private val assets: AssetManager,
    private val delivery: Delivery,
    private val folder: String = "bundle",
) : Store {
    override val name = "the app's own bundle"

    override fun size(path: String): Long? = delivery.find(path)?.length() ?: try {
        assets.open(inAssets(path)).use { it.available().toLong() } // of an asset: all that is left
    } catch (_: FileNotFoundException) {
        null
    } catch (_: IOException) {
        null
    }

    override fun read(path: String): ByteArray =
        (delivery.find(path)?.inputStream() ?: assets.open(inAssets(path))).use { it.readBytes() }

    private fun inAssets(path: String) = "$folder/$path"
}
