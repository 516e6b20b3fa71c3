package org.edgemoe.demo

import android.util.Log
import edgemoe.core.Engine

/**
 * The engines whose libraries are in this app, by backend. A library that does not start is left away: bundles say
 * which backends they need.
 *
 * It loads native code: not for the main thread.
 */
internal fun engines(): Map<String, Engine> =
    listOf(::LiteRtEngine, ::OrtEngine).mapNotNull(::started).associateBy(Engine::backend)

private fun started(make: () -> Engine): Engine? = try {
    make()
} catch (error: LinkageError) { // not in this app, or not for this phone
    Log.i("edge-moe", "an engine is not here: $error")
    null
} catch (error: RuntimeException) {
    Log.w("edge-moe", "an engine does not start", error)
    null
}
