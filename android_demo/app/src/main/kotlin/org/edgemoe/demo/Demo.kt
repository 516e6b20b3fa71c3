package org.edgemoe.demo

import edgemoe.core.ArtifactSet
import edgemoe.core.BackendError
import edgemoe.core.Bundle
import edgemoe.core.BundleError
import edgemoe.core.DataError
import edgemoe.core.Here
import edgemoe.core.IntegrityError
import edgemoe.core.Pixels
import edgemoe.core.Prediction
import edgemoe.core.Runtime
import edgemoe.core.Setting
import edgemoe.core.StorageError
import edgemoe.core.Withheld
import edgemoe.core.expertName
import edgemoe.core.normalize
import edgemoe.core.pick
import edgemoe.core.resizeCrop
import edgemoe.core.unmet
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.FloatBuffer
import java.util.concurrent.Executor
import java.util.concurrent.atomic.AtomicBoolean

private const val MOST_SAMPLES = 12
private const val SHOWN_PIXELS = 1024 // of the longer side
private const val MOST_PHOTOGRAPH_BYTES = 64 shl 20 // whoever gives it may go on for ever
private const val REPEATS = 5
private const val REPEAT_MS = 60.0 // longer than that nobody waits for a median
private const val NANOS_A_MS = 1e6

/**
 * What the main screen is a picture of: the bundle, an image, and the answer at the setting of the moment.
 *
 * It belongs to the process and not to a screen, so that turning the phone stops nothing. Public methods are the main
 * thread's and return at once; files and engines are the worker's alone. While it is busy only the newest of several
 * settings waits.
 *
 * @param here where to answer, made on the worker
 * @param files the app's own folder
 * @param main runs what it is given on the main thread, in order
 * @param worker the same on a thread of its own
 * @param quiet whether to wait
 */
internal class Demo(
    here: () -> Here,
    private val home: Home,
    private val delivery: Delivery,
    files: File,
    private val main: Executor,
    private val worker: Executor,
    private val quiet: Quiet,
) {
    private val here by lazy(LazyThreadSafetyMode.NONE, here)
    private val photograph = File(files, "photograph")
    private val draft = File(files, "photograph.part")
    private var started = false

    // The worker's.
    private var runtime: Runtime? = null
    private var input: FloatBuffer? = null

    private val queued = AtomicBoolean()

    @Volatile
    private var wanted = Setting(0.0, 0)

    /** What to show now. */
    var screen = Screen()
        private set

    /** Told of every change, on the main thread, the first at once. */
    var watcher: ((Screen) -> Unit)? = null
        set(value) {
            field = value
            value?.invoke(screen)
        }

    /** Open the bundle, once a process; go on where [saved] was. */
    fun start(saved: Saved? = null) {
        if (started) return
        started = true
        work(Busy(Task.OPENING)) {
            draft.delete() // of an app that was killed
            if (saved?.choice != Choice.PHOTOGRAPH) photograph.delete() // nobody comes back to it
            open(saved)
        }
    }

    /** Take the bundle of [source] in the place of the one that is open, if it is sound and runs here. */
    fun import(source: Source) = work(Busy(Task.IMPORTING)) {
        source.use { from ->
            home.import(from, check = { pick(it.manifest, here.engines, here.processor) }) { done, of ->
                show { copy(busy = Busy(Task.IMPORTING, done.toFloat() / of)) }
            }
        }
        open(null)
    }

    /** Take the photograph that [open] gives, and answer for it. */
    fun takePhotograph(open: () -> InputStream?) = work(Busy(Task.DECODING)) {
        try {
            copy(open, draft)
            look(Choice.PHOTOGRAPH, draft.readBytes())
            if (!draft.renameTo(photograph)) throw StorageError("the photograph cannot be kept")
        } finally {
            draft.delete()
        }
    }

    /** Take a sample of the bundle, and answer for it. */
    fun takeSample(name: String) = work(Busy(Task.DECODING)) { look(Choice.sample(name)) }

    /** Answer anew at another setting. */
    fun set(setting: Setting) {
        wanted = setting
        change { copy(setting = setting) }
        ask()
    }

    /** Show that something went wrong. */
    fun tell(problem: Problem?) = change { copy(problem = problem) }

    private fun ask() {
        if (!queued.compareAndSet(false, true)) return
        work {
            queued.set(false)
            answer()
        }
    }

    private fun open(saved: Saved?) {
        runtime?.close()
        runtime = null
        input = null
        show { copy(model = null, picture = null, answer = null) }
        val bundle = home.open() ?: return
        val set = pick(bundle.manifest, here.engines, here.processor)
        val opened = Runtime(bundle, set, here.engines.getValue(set.backend))
        runtime = opened
        val setting = saved?.setting?.let { it.copy(maxExperts = fitting(it.maxExperts, bundle.manifest.experts)) }
            ?: Setting(opened.tau, opened.maxExperts)
        wanted = setting
        val model = model(bundle, set)
        show { copy(model = model, setting = setting) }
        saved?.choice?.let(::lookAgain)
    }

    private fun fitting(maxExperts: Int, experts: Int) = maxExperts.coerceIn(minOf(1, experts), experts)

    private fun model(bundle: Bundle, set: ArtifactSet): Model = with(bundle.manifest) {
        val images = golden.images.entries.take(MOST_SAMPLES)
        Model(
            architecture = architecture,
            trained = trained,
            labels = labels,
            experts = experts,
            set = set.key,
            engine = here.engines.getValue(set.backend).version,
            skipped = sets.takeWhile { it.key != set.key }
                .map { "${it.key}, ${unmet(it, here.engines, here.processor)}" },
            baseMacs = parts.getValue("base").macs,
            samples = images.map { (name, file) ->
                Sample(name, here.decoder.decode(bundle.read(file)).toBitmap(SHOWN_PIXELS))
            },
            points = bundle.operating(set).operatingPoints,
            delivered = delivery.brings,
        )
    }

    /** What was shown before the process was killed; if it is not there any more, nothing is. */
    private fun lookAgain(choice: Choice) {
        val there = runtime?.manifest?.golden?.images.orEmpty()
        if (if (choice.sample != null) choice.sample in there else photograph.exists()) look(choice)
    }

    private fun look(choice: Choice, bytes: ByteArray = bytes(choice)) {
        val manifest = (runtime ?: return).manifest
        val pixels = here.decoder.decode(bytes)
        input = normalize(resizeCrop(pixels, manifest.preprocessing), manifest.preprocessing)
        val picture = picture(choice, pixels)
        show { copy(picture = picture, answer = null) }
        answer()
    }

    private fun bytes(choice: Choice): ByteArray {
        val bundle = runtime?.bundle
        val sample = choice.sample ?: return photograph.readBytes()
        return bundle!!.read(bundle.manifest.golden.images.getValue(sample))
    }

    private fun picture(choice: Choice, pixels: Pixels) =
        Picture(choice, pixels.toBitmap(SHOWN_PIXELS), pixels.width, pixels.height)

    private fun answer() {
        val (runtime, input) = (runtime ?: return) to (input ?: return)
        val setting = wanted
        runtime.tau = setting.tau
        runtime.maxExperts = setting.maxExperts
        val times = mutableListOf<Double>()
        var waited = false
        fun timed(onBase: (Prediction) -> Unit): Prediction {
            val start = here.clock.nanos()
            return runtime.predict(input, onBase).also { times += (here.clock.nanos() - start) / NANOS_A_MS }
        }
        var found = timed { base ->
            waited = true
            show(Answer(base, setting, null, loading = true))
        }
        if (waited) times.clear() // what loading took is not what answering takes
        while (found.withheld == null && times.size < REPEATS && times.sum() < REPEAT_MS && wanted === setting) {
            found = timed {}
        }
        val ms = times.sorted().getOrNull(times.size / 2).takeIf { found.withheld == null }
        show(Answer(found, setting, ms))
        if (found.withheld == Withheld.NOT_HERE && delivery.brings) found.asked.forEach(::fetch)
    }

    private fun fetch(expert: Int) {
        val runtime = runtime ?: return
        val file = runtime.set.parts.getValue(expertName(expert)).artifact
        if (runtime.bundle.isHere(file)) return
        delivery.fetch(file.file) { problem ->
            if (problem == null) ask() else show { copy(problem = Problem(Trouble.DELIVERY, problem, expert)) }
        }
    }

    private fun copy(open: () -> InputStream?, to: File) {
        val from = try {
            open()
        } catch (error: IOException) {
            throw DataError("the image cannot be read: ${error.message}")
        } catch (error: SecurityException) {
            throw DataError("the image may not be read: ${error.message}")
        } ?: throw DataError("the image cannot be read: nobody has it")
        from.use {
            val bytes = try {
                atMost(it, MOST_PHOTOGRAPH_BYTES)
            } catch (error: IOException) {
                throw DataError("the image cannot be read: ${error.message}")
            }
            try {
                to.writeBytes(bytes)
            } catch (error: IOException) {
                throw StorageError("the image cannot be kept: ${error.message}", error)
            }
        }
    }

    private fun atMost(from: InputStream, most: Int): ByteArray {
        val bytes = ByteArrayOutputStream()
        val buffer = ByteArray(1 shl 16)
        while (true) {
            val read = from.read(buffer)
            if (read < 0) return bytes.toByteArray()
            if (bytes.size() + read > most) throw DataError("the image has more than ${most shr 20} MiB")
            bytes.write(buffer, 0, read)
        }
    }

    private fun waitForSweeps() {
        if (!quiet.wanted) return
        show { copy(problem = Problem(Trouble.MEASURING)) }
        quiet.await()
        show { if (problem?.what == Trouble.MEASURING) copy(problem = null) else this }
    }

    private fun show(answer: Answer) = show { if (picture == null) this else copy(answer = answer) }

    private fun show(change: Screen.() -> Screen) = main.execute { change(change) }

    private fun change(change: Screen.() -> Screen) {
        screen = screen.change()
        watcher?.invoke(screen)
    }

    /** Do something on the worker; whatever it throws is told, and ends nothing. */
    private fun work(busy: Busy? = null, act: () -> Unit) {
        if (busy != null) change { copy(busy = busy, problem = null) }
        worker.execute {
            val problem = try {
                waitForSweeps()
                act()
                null
            } catch (error: Exception) {
                problem(error)
            } catch (error: OutOfMemoryError) {
                problem(error)
            } catch (error: LinkageError) { // of a native library
                problem(error)
            }
            show {
                val rest = if (busy == null) this else copy(busy = null)
                if (problem == null) rest else rest.copy(problem = problem)
            }
        }
    }
}

private fun problem(error: Throwable) = Problem(
    when (error) {
        is IntegrityError -> Trouble.ALTERED
        is BundleError -> Trouble.BUNDLE
        is BackendError -> Trouble.BACKEND
        is DataError -> Trouble.IMAGE
        is StorageError -> Trouble.STORAGE
        is OutOfMemoryError -> Trouble.MEMORY
        else -> Trouble.UNEXPECTED
    },
    error.message ?: error.toString(),
)
