package org.edgemoe.demo

import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import edgemoe.core.Engine
import edgemoe.core.Here
import edgemoe.core.Processor
import java.io.File
import java.io.IOException

private val THERMAL = listOf("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
private const val CPU = "/sys/devices/system/cpu"
private const val KHZ_A_MHZ = 1000

/**
 * This phone, as reports have it.
 *
 * @param inFront whether the sweep's screen was what the person sees, all the time since this was asked before
 */
internal fun phone(context: Context, engines: Map<String, Engine>, inFront: () -> Boolean) = Here(
    engines = engines,
    processor = Processor.parse(text("/proc/cpuinfo").orEmpty()),
    decoder = BitmapDecoder(),
    target = "app",
    how = "in an app, from Kotlin",
    machine = machine(context),
    facts = { mapOf("in front" to inFront()) + state(context) },
)

/** What two measurements have in common when they are of one phone. */
private fun machine(context: Context): Map<String, Any> {
    val memory = ActivityManager.MemoryInfo()
    context.getSystemService(ActivityManager::class.java).getMemoryInfo(memory)
    val facts = buildMap<String, Any> {
        put("build", Build.FINGERPRINT)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) put("SoC", "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}")
    }
    return mapOf(
        "name" to "${Build.MANUFACTURER} ${Build.MODEL}",
        "system" to "Android ${Build.VERSION.RELEASE}",
        "processor" to Build.HARDWARE,
        "logical_cpus" to Runtime.getRuntime().availableProcessors(),
        "memory_bytes" to memory.totalMem,
        "facts" to facts,
    )
}

/** How it is now; what it does not tell is left away. */
private fun state(context: Context): Map<String, Any> = buildMap {
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
        val status = context.getSystemService(PowerManager::class.java).currentThermalStatus
        put("thermal status", "$status (${THERMAL.getOrElse(status) { "?" }})")
    }
    val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
    if (battery != null) {
        put("battery, percent", battery.getIntExtra(BatteryManager.EXTRA_LEVEL, 0))
        put("powered", battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0)
    }
    val clocks = (0 until Runtime.getRuntime().availableProcessors())
        .mapNotNull { text("$CPU/cpu$it/cpufreq/scaling_cur_freq")?.trim()?.toIntOrNull() }
    clocks.maxOrNull()?.let { put("clock, MHz", it / KHZ_A_MHZ) }
}

private fun text(file: String): String? = try {
    File(file).readText()
} catch (_: IOException) { // some phones keep it to themselves
    null
}
