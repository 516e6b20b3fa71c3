package org.edgemoe.demo

import android.content.Context
import com.google.android.play.core.assetpacks.AssetPackManagerFactory
import com.google.android.play.core.assetpacks.AssetPackState
import com.google.android.play.core.assetpacks.AssetPackStateUpdateListener
import com.google.android.play.core.assetpacks.model.AssetPackStatus
import java.io.File
import java.util.concurrent.ConcurrentHashMap

private const val INSTALLED = "bundle" // the pack that comes with the app, and the folder among the assets

/**
 * Experts by Google Play: the pack bundle_expert_00 has the file expert_00 of every set, and comes when it is asked for.
 *
 * Unproven: its library is on Google's Maven alone, so that this was neither compiled nor run where it was made. What the
 * app does with any [Delivery] is tested.
 */
class PlayDelivery(context: Context) : Delivery {
    private val manager = AssetPackManagerFactory.getInstance(context)
    private val waiting = ConcurrentHashMap<String, (String?) -> Unit>()

    init {
        manager.registerListener(AssetPackStateUpdateListener(::changed))
    }

    override fun later(path: String) = pack(path) != null

    override fun find(path: String): File? {
        val place = pack(path)?.let(manager::getPackLocation) ?: return null
        return File(place.assetsPath() ?: return null, "$INSTALLED/$path").takeIf(File::isFile)
    }

    override fun fetch(path: String, done: (problem: String?) -> Unit) {
        val pack = pack(path) ?: return done("$path came with the app")
        if (waiting.putIfAbsent(pack, done) != null) return
        manager.fetch(listOf(pack))
            .addOnSuccessListener { states -> states.packStates()[pack]?.let(::changed) } // it may be here already
            .addOnFailureListener { tell(pack, "Google Play says: ${it.message}") }
    }

    private fun pack(path: String): String? =
        if (isExpert(path)) "${INSTALLED}_${path.substringAfterLast('/').substringBefore('.')}" else null

    private fun changed(state: AssetPackState) {
        when (state.status()) {
            AssetPackStatus.COMPLETED -> tell(state.name(), null)
            AssetPackStatus.FAILED, AssetPackStatus.CANCELED ->
                tell(state.name(), "Google Play gave up: ${state.errorCode()}")
            // It is told, and asked for anew when it is needed next: this app has no dialog of Google Play's.
            AssetPackStatus.REQUIRES_USER_CONFIRMATION ->
                tell(state.name(), "Google Play wants to be asked first: it is large; use Wi-Fi")
            AssetPackStatus.WAITING_FOR_WIFI -> tell(state.name(), "Google Play waits for Wi-Fi")
        }
    }

    private fun tell(pack: String, problem: String?) {
        waiting.remove(pack)?.invoke(problem)
    }
}
