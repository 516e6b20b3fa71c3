package org.edgemoe.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.view.WindowManager
import android.widget.ProgressBar
import android.widget.TextView
import edgemoe.core.DeskState
import edgemoe.core.Progress

private const val JOB = "job"

/**
 * Where the harness has a bundle measured: `am start -n org.edgemoe.demo/.SweepActivity -a org.edgemoe.demo.SWEEP --es job
 * ID`. The job and its answer are files, see edgemoe.core.Desk; this only shows how far it is, and keeps the screen on.
 */
class SweepActivity : Activity() {
    private val sweeps get() = (application as DemoApp).sweeps
    private val watcher = ::show
    private lateinit var words: Words

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        words = Words(this)
        setContentView(R.layout.sweep)
        findViewById<View>(R.id.root).clearOfBars()
        findViewById<View>(R.id.stop).setOnClickListener { sweeps.stop() }
        // From the list of recent apps Android gives the old intent: that job ended long ago.
        val old = intent.flags and Intent.FLAG_ACTIVITY_LAUNCHED_FROM_HISTORY != 0
        if (savedInstanceState == null && !old) begin(intent)
    }

    /** Another intent, while this is open. */
    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        setIntent(intent)
        begin(intent)
    }

    private fun begin(intent: Intent) {
        intent.getStringExtra(JOB)?.takeIf(String::isNotEmpty)?.let(sweeps::start)
    }

    override fun onStart() {
        super.onStart()
        sweeps.watcher = watcher
    }

    override fun onResume() {
        super.onResume()
        sweeps.attention.inFront = true
    }

    override fun onPause() {
        sweeps.attention.inFront = false
        super.onPause()
    }

    override fun onStop() {
        if (sweeps.watcher === watcher) sweeps.watcher = null
        super.onStop()
    }

    override fun onDestroy() {
        if (isFinishing) sweeps.stop() // nobody would see it, and Android gives little time to what nobody sees
        super.onDestroy()
    }

    private fun show(shown: Shown?) {
        val progress = shown?.progress ?: Progress(DeskState.OPENING)
        val rounds = maxOf(0, progress.lines - 1)
        val measured = resources.getQuantityString(R.plurals.rounds, rounds, rounds)
        findViewById<TextView>(R.id.job).text = shown?.id.orEmpty()
        findViewById<TextView>(R.id.step).text = when {
            shown == null -> words.say(R.string.sweep_no_job)
            else -> when (progress.state) {
                DeskState.OPENING -> words.say(R.string.sweep_starting)
                DeskState.WAITING -> words.say(R.string.sweep_waiting, measured)
                DeskState.RUNNING -> words.say(R.string.sweep_running, measured)
                DeskState.DONE -> words.say(R.string.sweep_done, measured)
                DeskState.FAILED -> words.say(R.string.sweep_failed, measured)
            }
        }
        findViewById<ProgressBar>(R.id.rounds).apply {
            visibility = if (progress.rounds > 0) View.VISIBLE else View.GONE
            max = progress.rounds
            setProgress(rounds, true)
        }
        findViewById<TextView>(R.id.problem).apply {
            text = progress.problem
            visibility = if (progress.problem == null) View.GONE else View.VISIBLE
        }
        val ended = shown == null || progress.state == DeskState.DONE || progress.state == DeskState.FAILED
        findViewById<View>(R.id.stop).visibility = if (ended) View.GONE else View.VISIBLE
        val awake = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
        if (ended) window.clearFlags(awake) else window.addFlags(awake)
    }
}
