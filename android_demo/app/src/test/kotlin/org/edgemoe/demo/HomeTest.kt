package org.edgemoe.demo

import edgemoe.core.StorageError
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.io.File
import edgemoe.core.Bundle as MoeBundle

/** A bundle in the app's own folder: whole, or the one that was there before. */
@RunWith(RobolectricTestRunner::class)
class HomeTest : OnPhone() {
    private class Elsewhere(private val folder: File) : Source {
        override val name = folder.name

        override fun open(path: String) = folder.resolve(path).takeIf(File::exists)?.inputStream()
    }

    private val home by lazy { Home(app.filesDir, app.assets, NoDelivery) }

    private fun import(check: (MoeBundle) -> Unit = {}, onProgress: (Long, Long) -> Unit = { _, _ -> }) =
        home.import(Elsewhere(BUNDLE), check, onProgress)

    private fun own() = app.filesDir.list()!!.filter { it.startsWith("bundle") }

    @Test
    fun `what a killed app left is cleared away`() {
        for (left in listOf("bundle.part", "bundle.old")) copied(BUNDLE, app.filesDir.resolve(left))
        home.open()!!.verify()
        assertEquals(listOf("bundle"), own())
    }

    @Test
    fun `where the new one cannot take its place, the old one is put back`() {
        val mark = app.filesDir.resolve("bundle/mark").also { it.writeText("the one before") }
        assertThrows(StorageError::class.java) {
            import(check = { app.filesDir.resolve("bundle.part").deleteRecursively() })
        }
        assertTrue(mark.exists())
        home.open()!!.verify()
        assertEquals(listOf("bundle"), own())
    }

    @Test
    fun `progress is told once a percent`() {
        val told = mutableListOf<Pair<Long, Long>>()
        import { done, of -> told += done to of }
        assertTrue("${told.size}", told.size in 2..101)
        assertEquals(told.last().second, told.last().first)
        assertEquals(told.map { (done, of) -> done * 100 / of }.distinct().size, told.size)
    }
}
