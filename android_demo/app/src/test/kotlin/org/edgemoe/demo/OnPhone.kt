package org.edgemoe.demo

import android.app.Activity
import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.graphics.Bitmap
import android.graphics.Color
import android.net.Uri
import android.os.Bundle
import android.os.Looper
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import org.junit.Before
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import java.io.ByteArrayOutputStream
import java.io.File

internal const val PHOTOGRAPH_ASKED = 1
internal const val BUNDLE_ASKED = 2
private const val AUTHORITY = "org.edgemoe.test.documents"

/** A phone with the app and a bundle on it, and a folder of documents that somebody else has. */
abstract class OnPhone {
    internal val app get() = RuntimeEnvironment.getApplication() as TestApp
    internal val engine get() = Stage.engines.single() as Watched
    internal val documents: File get() = app.cacheDir.resolve("documents")

    @Before
    fun begin() {
        Stage.reset()
        copied(BUNDLE, File(app.filesDir, "bundle"))
        documents.mkdirs()
        Documents.root = documents
        Robolectric.buildContentProvider(Documents::class.java).create(AUTHORITY)
    }

    /** The screen, with the bundle open; [sample] is looked at. */
    internal fun open(sample: String? = null, state: Bundle? = null): ActivityController<MainActivity> {
        val controller = Robolectric.buildActivity(MainActivity::class.java)
        if (state == null) controller.setup() else controller.setup(state)
        val activity = controller.get()
        eventually("the bundle is open") { activity.demo.screen.busy == null }
        if (sample != null) {
            activity.demo.takeSample(sample)
            eventually("the sample is there") { activity.demo.screen.picture?.choice == Choice.sample(sample) }
            activity.answered()
        }
        return controller
    }

    internal fun Activity.answered() = eventually("it is answered") {
        val answer = demo.screen.answer
        demo.screen.busy == null && answer != null && answer.setting == demo.screen.setting && !answer.loading
    }

    /** The person chose this. */
    internal fun Activity.receive(request: Int, uri: Uri) {
        val asked = if (request == PHOTOGRAPH_ASKED) R.id.choose else R.id.import_other
        tap(view(asked))
        val intent = shadowOf(this).nextStartedActivityForResult
        check(intent.requestCode == request)
        shadowOf(this).receiveResult(intent.intent, Activity.RESULT_OK, Intent().setData(uri))
        shadowOf(Looper.getMainLooper()).idle()
        eventually("it is done") { demo.screen.busy == null }
    }

    /** A file that a picker gives. */
    internal fun photograph(bytes: ByteArray): Uri {
        documents.resolve("photograph").writeBytes(bytes)
        return DocumentsContract.buildDocumentUri(AUTHORITY, "photograph")
    }

    internal fun tree(folder: String): Uri = DocumentsContract.buildTreeDocumentUri(AUTHORITY, folder)

    internal fun jpeg(width: Int, height: Int): ByteArray {
        val bitmap = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        bitmap.eraseColor(Color.rgb(200, 60, 20))
        return ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.JPEG, 90, it) }.toByteArray()
    }

    internal fun offMain(act: () -> Unit) {
        var failed: Throwable? = null
        Thread(act).apply { setUncaughtExceptionHandler { _, error -> failed = error } }.apply { start() }.join()
        failed?.let { throw it }
    }
}

/** Somebody else's documents: a folder, as the system's chooser hands it to an app. */
class Documents : ContentProvider() {
    override fun onCreate() = true

    override fun query(
        uri: Uri,
        columns: Array<String>?,
        selection: String?,
        values: Array<String>?,
        order: String?,
    ): Cursor {
        // More than was asked for, in an order of its own.
        val names = arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_FLAGS, Document.COLUMN_DISPLAY_NAME)
        val rows = MatrixCursor(names)
        val id = DocumentsContract.getDocumentId(uri)
        for (file in root.resolve(id).listFiles().orEmpty()) rows.addRow(arrayOf<Any>("$id/${file.name}", 0, file.name))
        return rows
    }

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        val file = root.resolve(DocumentsContract.getDocumentId(uri))
        return ParcelFileDescriptor.open(file, ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun getType(uri: Uri) = "application/octet-stream"

    override fun insert(uri: Uri, values: ContentValues?) = error("it is only read")

    override fun delete(uri: Uri, selection: String?, values: Array<String>?) = error("it is only read")

    override fun update(uri: Uri, values: ContentValues?, selection: String?, arguments: Array<String>?) =
        error("it is only read")

    companion object {
        lateinit var root: File
    }
}
