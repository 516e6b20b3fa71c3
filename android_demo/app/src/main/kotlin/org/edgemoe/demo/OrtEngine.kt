package org.edgemoe.demo

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import edgemoe.core.BackendError
import edgemoe.core.Engine
import edgemoe.core.OpenPart
import edgemoe.core.PartSource
import java.nio.FloatBuffer

/** ONNX Runtime, in an app that has its library: build.gradle.kts names it, the APK that Maven makes has it not. */
internal class OrtEngine : Engine {
    private val environment = OrtEnvironment.getEnvironment()
    override val backend = "onnx"
    override val version = "onnxruntime ${environment.version}"

    override fun open(source: PartSource, threads: Int): OpenPart = try {
        OrtSession.SessionOptions().use { options ->
            options.setIntraOpNumThreads(threads)
            options.setInterOpNumThreads(1)
            options.addConfigEntry("session.force_spinning_stop", "1") // a phone has a battery
            OrtPart(source, environment, environment.createSession(source.bytes, options))
        }
    } catch (error: OrtException) {
        throw BackendError("ONNX Runtime refuses ${source.name}: ${error.message}", error)
    }
}

private class OrtPart(
    private val source: PartSource,
    private val environment: OrtEnvironment,
    private val session: OrtSession,
) : OpenPart {
    private val input = source.file.inputs.single()
    private val name = input.tensor ?: input.name
    private val shape = input.shape.map(Int::toLong).toLongArray()

    override fun run(input: FloatBuffer): Map<String, FloatBuffer> = try {
        OnnxTensor.createTensor(environment, input.duplicate().apply { toStart() }, shape).use { tensor ->
            session.run(mapOf(name to tensor)).use { found ->
                source.file.outputs.associate { it.name to floats(found, it.tensor ?: it.name) }
            }
        }
    } catch (error: OrtException) {
        throw BackendError("ONNX Runtime could not run ${source.name}: ${error.message}", error)
    }

    private fun floats(found: OrtSession.Result, name: String): FloatBuffer {
        val tensor = found[name].orElse(null) as? OnnxTensor
        return tensor?.floatBuffer ?: throw BackendError("${source.name} gives no floats called $name")
    }

    override fun close() = session.close()
}
