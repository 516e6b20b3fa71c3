package org.edgemoe.demo

import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/**
 * While a sweep measures, the demo does nothing, for it would be measured along: its work waits. What it has begun before,
 * it ends.
 */
internal class Quiet {
    private val lock = ReentrantLock()
    private val changed = lock.newCondition()
    private var sweeps = 0

    /** Whether one measures. */
    val wanted get() = lock.withLock { sweeps > 0 }

    /** A sweep begins. */
    fun begin() = lock.withLock { sweeps++ }

    /** A sweep has ended. */
    fun end() = lock.withLock {
        sweeps--
        changed.signalAll()
    }

    /** Wait until none measures. */
    fun await() = lock.withLock { while (sweeps > 0) changed.await() }
}

/**
 * Whether a screen is in front, and whether it stayed there: a phone that was used for something else inside of a round has
 * measured that, even if the screen is back at the end.
 */
internal class Attention {
    private var left = false // since [stayed] was asked

    /** Whether it is in front now. */
    var inFront = false
        @Synchronized get

        @Synchronized set(value) {
            field = value
            if (!value) left = true
        }

    /** Forget what was before. */
    @Synchronized
    fun anew() {
        left = false
    }

    /** Whether it was in front all the time since this was asked before; the first time, whether it is now. */
    @Synchronized
    fun stayed(): Boolean {
        val stayed = inFront && !left
        left = !inFront // what begins behind another app was not in front all the time
        return stayed
    }
}
