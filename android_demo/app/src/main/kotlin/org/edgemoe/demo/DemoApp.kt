package org.edgemoe.demo

import android.app.Application
import android.os.Handler
import android.os.Looper
import edgemoe.core.Here
import java.util.concurrent.Executor
import java.util.concurrent.Executors

/** What outlives the screens: the demo, the sweeps, and what this phone is. */
open class DemoApp : Application() {
    /** Who brings experts that were not installed with the app. */
    protected open val delivery: Delivery get() = NoDelivery

    /** This phone as a place to answer and to measure at. It loads native code: not for the main thread. */
    internal open fun here(): Here = phone(this, engines()) { sweeps.attention.stayed() }

    private val main = Handler(Looper.getMainLooper()).let { Executor(it::post) }

    internal lateinit var demo: Demo
        private set

    internal lateinit var sweeps: Sweeps
        private set

    override fun onCreate() {
        super.onCreate()
        begin()
    }

    /** What a process begins with. */
    internal fun begin() {
        val quiet = Quiet()
        val worker = Executors.newSingleThreadExecutor { Thread(it, "edge-moe's demo") }
        demo = Demo(::here, Home(filesDir, assets, delivery), delivery, filesDir, main, worker, quiet)
        sweeps = Sweeps({ getExternalFilesDir(null) }, ::here, main, quiet)
    }
}
