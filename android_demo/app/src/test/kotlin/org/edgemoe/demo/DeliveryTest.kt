package org.edgemoe.demo

import android.view.View
import edgemoe.core.Bundle
import edgemoe.core.Setting
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.io.File
import java.util.concurrent.ConcurrentHashMap

/** Experts that come later: the base answers in their place, and says so. */
@RunWith(RobolectricTestRunner::class)
class DeliveryTest : OnPhone() {
    /** A shop that brings a file when a test says so; of an app that was installed without experts. */
    private class Shop(private val shelf: File) : Delivery {
        val asked = ConcurrentHashMap<String, (String?) -> Unit>()
        val here = ConcurrentHashMap.newKeySet<String>()!!

        override fun later(path: String) = path.substringAfterLast('/').startsWith("expert_")

        override fun find(path: String): File? = shelf.resolve(path).takeIf {
            (!later(path) || path in here) &&
                it.exists()
        }

        override fun fetch(path: String, done: (problem: String?) -> Unit) {
            asked.putIfAbsent(path, done)
        }

        fun bring(path: String) {
            here += path
            asked.remove(path)!!(null)
        }
    }

    private val shop = Shop(BUNDLE)

    private fun installed(): MainActivity {
        app.filesDir.resolve("bundle").deleteRecursively()
        Stage.delivery = shop
        app.begin()
        return open(sample = "00").get()
    }

    @Test
    fun `the base answers until an expert is here`() {
        val activity = installed()
        activity.demo.set(Setting(0.0, 1))
        activity.answered()
        eventually("it is asked for") { shop.asked.isNotEmpty() }
        val path = shop.asked.keys.single()
        val k = path.substringAfter("expert_0").substringBefore(".")
        assertEquals("The base’s answer: expert $k is still on its way to this phone.", activity.says(R.id.way))
        shop.bring(path)
        eventually("it answers") { activity.says(R.id.way) == "It asked expert $k." }
        assertEquals("0.39 ms", activity.says(R.id.time))
    }

    @Test
    fun `a bundle among the assets is read as one in a folder`() {
        assumeTrue(app.assets.list("data").orEmpty().isNotEmpty()) // resources.sh puts it there, Gradle does not
        val bundle = Bundle(Shipped(app.assets, NoDelivery, "data/bundle"))
        bundle.verify()
        assertEquals(null, Shipped(app.assets, NoDelivery).size("manifest.json"))
        val (file, there) = bundle.manifest.sets[0].parts.getValue("base").artifact to
            BUNDLE.resolve("onnx/fp32/base.onnx")
        assertArrayEquals(there.readBytes(), bundle.read(file))
    }

    @Test
    fun `an expert that does not come`() {
        val activity = installed()
        activity.demo.set(Setting(0.0, 1))
        eventually("it is asked for") { shop.asked.isNotEmpty() }
        shop.asked.values.single()("no network")
        eventually("it is told") { activity.says(R.id.problem) != null }
        assertTrue(
            activity.says(R.id.problem)!!.matches(Regex("Expert \\d did not come\\. It is asked .*\n\nno network")),
        )
        assertTrue(activity.view<View>(R.id.answer).isShown)
    }

    @Test
    fun `an app that was installed without its experts, and has nobody who brings them`() {
        app.filesDir.resolve("bundle").deleteRecursively()
        Stage.delivery = object : Delivery by NoDelivery {
            override fun find(path: String) = BUNDLE.resolve(path).takeIf { !isExpert(path) && it.exists() }
        }
        app.begin()
        val activity = open(sample = "00").get()
        activity.demo.set(Setting(0.0, 1))
        activity.answered()
        assertTrue(activity.says(R.id.way)!!.matches(Regex("The base’s answer: expert \\d is not in this app\\.")))
        assertEquals(null, activity.says(R.id.problem))
        activity.demo.set(Setting(1.0, 1))
        activity.answered()
        assertEquals("It left early: the base alone answered.", activity.says(R.id.way))
    }
}
