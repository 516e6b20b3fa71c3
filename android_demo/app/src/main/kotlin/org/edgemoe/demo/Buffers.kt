package org.edgemoe.demo

import java.nio.Buffer

/*
 * Before Android 14 a FloatBuffer has no rewind() of its own, only Buffer's: code that was compiled to call it does not
 * find it there.
 */

internal fun Buffer.toStart() {
    rewind()
}

internal fun Buffer.moveTo(place: Int) {
    position(place)
}
