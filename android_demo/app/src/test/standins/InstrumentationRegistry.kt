package androidx.test.platform.app

import android.app.Instrumentation
import android.os.Bundle

/*
 * The files of this folder stand in for androidx.test:monitor, which only Google's Maven has and Robolectric calls: as
 * much of it as it needs to begin and to follow an activity. Gradle takes the real one.
 */

object InstrumentationRegistry {
    private var instance: Instrumentation? = null

    @JvmStatic
    fun getInstrumentation(): Instrumentation = checkNotNull(instance)

    @JvmStatic
    fun registerInstance(instrumentation: Instrumentation?, arguments: Bundle?) {
        instance = instrumentation
    }
}
