package org.edgemoe.demo

import android.content.ContentResolver
import android.content.Intent
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import java.io.IOException
import java.io.InputStream

/** A folder elsewhere that a bundle is copied from. */
internal interface Source : AutoCloseable {
    /** What a person calls it. */
    val name: String

    /** A file by its path in the folder; null: there is none. Throws [IOException]. */
    fun open(path: String): InputStream?

    /** It is not read any more. */
    override fun close() = Unit
}

/**
 * A folder that the person chose: whose it is, the card's or a cloud's, is the system's affair. It can be read until it is
 * closed, even where the screen that asked for it is gone before, with which Android 8 to 11 would take the right away.
 */
internal class Tree(private val resolver: ContentResolver, private val tree: Uri) : Source {
    private val root by lazy { DocumentsContract.getTreeDocumentId(tree) } // which throws where a picker gave no folder
    private val folders = mutableMapOf<String, Map<String, String>>()

    private val held = held { resolver.takePersistableUriPermission(tree, Intent.FLAG_GRANT_READ_URI_PERMISSION) }

    override val name by lazy {
        try {
            root.substringAfterLast('/').substringAfterLast(':').ifEmpty { root }
        } catch (_: RuntimeException) {
            "$tree"
        }
    }

    override fun open(path: String): InputStream? = translated {
        var id = root
        for (part in path.split('/')) id = folders.getOrPut(id) { list(id) }[part] ?: return null
        resolver.openInputStream(DocumentsContract.buildDocumentUriUsingTree(tree, id))
    }

    /** Name -> id of what is in a folder. */
    private fun list(folder: String): Map<String, String> {
        val children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder)
        val columns = arrayOf(Document.COLUMN_DISPLAY_NAME, Document.COLUMN_DOCUMENT_ID)
        return resolver.query(children, columns, null, null, null)?.use { found ->
            val (name, id) = columns.map(found::getColumnIndexOrThrow) // not everyone gives what was asked for
            buildMap { while (found.moveToNext()) put(found.getString(name), found.getString(id)) }
        }.orEmpty()
    }

    override fun close() {
        if (held) held { resolver.releasePersistableUriPermission(tree, Intent.FLAG_GRANT_READ_URI_PERMISSION) }
    }

    /** Do what is only possible where the folder's owner lends it for longer -> whether that was so. */
    private fun held(act: () -> Unit) = try {
        act()
        true
    } catch (_: RuntimeException) {
        false
    }

    /** Whose folder it is may be written by anybody: what it throws is a file that cannot be read. */
    private inline fun <T> translated(act: () -> T): T = try {
        act()
    } catch (error: RuntimeException) {
        throw IOException("$error", error)
    }
}
