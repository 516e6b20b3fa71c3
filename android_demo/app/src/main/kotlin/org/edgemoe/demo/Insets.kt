package org.edgemoe.demo

import android.graphics.Insets
import android.os.Build
import android.view.View
import android.view.WindowInsets

/**
 * Keep what is in a view clear of the system's bars, the keyboard and the camera's cutout, where the app is drawn behind
 * them: from Android 15 on it always is. Give the view clipToPadding="false", so that it scrolls behind them.
 */
internal fun View.clearOfBars() {
    val (left, top, right, bottom) = listOf(paddingLeft, paddingTop, paddingRight, paddingBottom)
    setOnApplyWindowInsetsListener { view, insets ->
        val bars = bars(insets)
        view.setPadding(left + bars.left, top + bars.top, right + bars.right, bottom + bars.bottom)
        insets
    }
}

private class Sides(val left: Int, val top: Int, val right: Int, val bottom: Int)

private fun bars(insets: WindowInsets): Sides {
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
        val types = WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout() or WindowInsets.Type.ime()
        val found: Insets = insets.getInsets(types)
        return Sides(found.left, found.top, found.right, found.bottom)
    }
    @Suppress("DEPRECATION")
    return with(insets) {
        Sides(systemWindowInsetLeft, systemWindowInsetTop, systemWindowInsetRight, systemWindowInsetBottom)
    }
}
