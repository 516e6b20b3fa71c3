package org.edgemoe.demo

import android.graphics.Bitmap
import edgemoe.core.OperatingPoint
import edgemoe.core.Prediction
import edgemoe.core.Setting

/** All that the main screen shows: it is drawn from this alone. */
internal data class Screen(
    /** What takes time right now. */
    val busy: Busy? = Busy(Task.OPENING),
    /** Null: there is no bundle. */
    val model: Model? = null,
    val setting: Setting = Setting(0.0, 0),
    val picture: Picture? = null,
    /** For the picture, and for the setting that it names: the newest there is. */
    val answer: Answer? = null,
    val problem: Problem? = null,
)

internal enum class Task { OPENING, IMPORTING, DECODING }

/** [share]: how much of it is done, 0 to 1; null: that is not known. */
internal data class Busy(val task: Task, val share: Float? = null)

/** What is shown of an open bundle. */
internal class Model(
    val architecture: String,
    val trained: Boolean,
    val labels: List<String>,
    val experts: Int,
    /** backend/recipe, and what runs it. */
    val set: String,
    val engine: String,
    /** What speaks against the sets before it; empty: nothing. */
    val skipped: List<String>,
    val baseMacs: Long,
    val samples: List<Sample>,
    val points: List<OperatingPoint>,
    /** Whether an expert that is not here comes later. */
    val delivered: Boolean,
)

/** An image that a bundle has. */
internal class Sample(val name: String, val bitmap: Bitmap)

/** Which image it is, in one word that outlives the process. */
internal data class Choice(val key: String) {
    /** The sample's name; null: a photograph. */
    val sample get() = key.takeIf { it.startsWith(SAMPLE) }?.removePrefix(SAMPLE)

    companion object {
        private const val SAMPLE = "sample/"
        val PHOTOGRAPH = Choice("photograph")

        fun sample(name: String) = Choice(SAMPLE + name)
    }
}

internal class Picture(val choice: Choice, val bitmap: Bitmap, val width: Int, val height: Int)

internal class Answer(
    val prediction: Prediction,
    val setting: Setting,
    /** Null: not known yet, or it says nothing. */
    val ms: Double?,
    /** Whether experts are being loaded whose answer will take this one's place. */
    val loading: Boolean = false,
)

/** What went wrong; [expert] that did not come. */
internal class Problem(val what: Trouble, val detail: String = "", val expert: Int? = null)

internal enum class Trouble {
    ALTERED,
    BUNDLE,
    BACKEND,
    IMAGE,
    STORAGE,
    MEMORY,
    DELIVERY,
    MEASURING,
    NO_PICKER,
    UNEXPECTED,
}

/** What a screen is made of again after the process was killed. */
internal data class Saved(val setting: Setting, val choice: Choice?)
