package org.edgemoe.demo

import android.content.res.AssetManager
import edgemoe.core.Bundle
import edgemoe.core.BundleError
import edgemoe.core.Folder
import edgemoe.core.IntegrityError
import edgemoe.core.MANIFEST
import edgemoe.core.MOST_JSON_BYTES
import edgemoe.core.OPERATING
import edgemoe.core.StorageError
import edgemoe.core.parseManifest
import java.io.File
import java.io.IOException

private const val SPARE_BYTES = 16L shl 20 // that an app had better leave
private const val PERCENT = 100L

/**
 * Where the app has its bundle: the one that was imported, else the one that it was made with.
 *
 *     bundle/       it
 *     bundle.part/  one that is being copied, or was when the app was killed
 *     bundle.old/   the one before, while the new one takes its place
 *
 * @param files the app's own folder
 */
internal class Home(private val files: File, private val assets: AssetManager, private val delivery: Delivery) {
    private val bundle = File(files, "bundle")
    private val draft = File(files, "bundle.part")
    private val old = File(files, "bundle.old")

    /** Open the bundle; null: there is none. Throws as [Bundle] does. */
    fun open(): Bundle? {
        putBack()
        draft.deleteRecursively() // of an app that was killed
        if (bundle.exists()) old.deleteRecursively()
        if (bundle.exists()) return Bundle(Folder(bundle.toPath()))
        val shipped = Shipped(assets, delivery)
        return if (shipped.size(MANIFEST) == null) null else Bundle(shipped) { delivery.later(it.file) }
    }

    /**
     * Copy a bundle from elsewhere, check every byte of it, and put it in the place of the one that is here: whole, or not
     * at all.
     *
     * @param check throws what speaks against it
     * @param onProgress told of how many bytes of how many, once a percent
     *
     * Throws [BundleError]: it is none, or cannot be read; [IntegrityError]: a file is missing, cut or altered;
     * [StorageError]: there is no room for it.
     */
    fun import(source: Source, check: (Bundle) -> Unit, onProgress: (done: Long, of: Long) -> Unit) {
        try {
            draft.deleteRecursively()
            for (file in listOf(MANIFEST, OPERATING)) copy(source, file, MOST_JSON_BYTES) {}
            val wanted = parseManifest(File(draft, MANIFEST).readBytes(), MANIFEST).files.distinctBy { it.file }
            val total = wanted.sumOf { it.bytes }
            if (total + SPARE_BYTES > files.usableSpace) {
                throw StorageError("the bundle has $total bytes, and ${files.usableSpace} are free")
            }
            var done = 0L
            var told = -1L
            for (one in wanted) {
                copy(source, one.file, one.bytes) {
                    done += it
                    val percent = done * PERCENT / maxOf(1, total)
                    if (percent != told) onProgress(done, total)
                    told = percent
                }
            }
            val copied = Bundle(Folder(draft.toPath()))
            copied.verify()
            check(copied)
            replace()
        } finally {
            draft.deleteRecursively()
        }
    }

    private fun replace() {
        old.deleteRecursively()
        if (bundle.exists() && !bundle.renameTo(old)) throw StorageError("the bundle before cannot be moved away")
        if (!draft.renameTo(bundle)) {
            putBack()
            throw StorageError("the bundle cannot be put in its place")
        }
        old.deleteRecursively()
    }

    /** Where nothing took the place of the bundle before, it takes it again. */
    private fun putBack() {
        if (!bundle.exists() && old.exists() && !old.renameTo(bundle)) {
            throw StorageError("the bundle before cannot be put back")
        }
    }

    private fun copy(source: Source, path: String, most: Long, onBytes: (Int) -> Unit) {
        val from = reading(source, path) { source.open(path) } ?: throw missing(source, path)
        from.use {
            val to = File(draft, path)
            writing {
                to.parentFile!!.mkdirs()
                to.outputStream()
            }.use { output ->
                val buffer = ByteArray(1 shl 16)
                var count = 0L
                while (true) {
                    val read = reading(source, path) { from.read(buffer) }
                    if (read < 0) break
                    count += read
                    if (count > most) throw IntegrityError("$path has more than $most bytes; copy the bundle again")
                    writing { output.write(buffer, 0, read) }
                    onBytes(read)
                }
            }
        }
    }

    private fun missing(source: Source, path: String) = when (path) {
        MANIFEST -> BundleError("${source.name} has no $path; choose the folder in which it is")
        OPERATING -> BundleError("${source.name} has no $path; copy the whole folder")
        else -> IntegrityError("$path is missing; copy the bundle again")
    }

    private inline fun <T> reading(source: Source, path: String, act: () -> T): T = try {
        act()
    } catch (error: IOException) {
        throw BundleError("$path of ${source.name} cannot be read: ${error.message}")
    }

    private inline fun <T> writing(act: () -> T): T = try {
        act()
    } catch (error: IOException) {
        throw StorageError("the bundle cannot be copied: ${error.message}", error)
    }
}
