package org.edgemoe.demo

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import java.io.IOException
import java.io.InputStream

/** A folder elsewhere that a bundle is copied from. */
internal interface Source {
    /** What a person calls it. */
    val name: String

    /** A file by its path in the folder; null: there is none. Throws [IOException]. */
    fun open(path: String): InputStream?
}

/** A folder that the person chose: whose it is, the card's or a cloud's, is the system's affair. */
internal class Tree(private val resolver: ContentResolver, private val tree: Uri) : Source {
    private val root = DocumentsContract.getTreeDocumentId(tree)
    private val folders = mutableMapOf<String, Map<String, String>>()

    override val name = root.substringAfterLast('/').substringAfterLast(':').ifEmpty { root }

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
            buildMap { while (found.moveToNext()) put(found.getString(0), found.getString(1)) }
        }.orEmpty()
    }

    /** Whose folder it is may be written by anybody: what it throws is a file that cannot be read. */
    private inline fun <T> translated(act: () -> T): T = try {
        act()
    } catch (error: RuntimeException) {
        throw IOException("$error", error)
    }
}
