package edgemoe.jvm

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import edgemoe.core.BackendError
import edgemoe.core.Engine
import edgemoe.core.OpenPart
import edgemoe.core.PartSource
import java.nio.FloatBuffer

/**
 * ONNX Runtime on a JVM, as edge_moe/backends/onnx_session.py opens it.
 *
 * @param unsignedWeights where this processor's kernels saturate, which Python finds out
 */
class OrtEngine(private val unsignedWeights: Boolean = false) : Engine {
    private val environment = OrtEnvironment.getEnvironment()
    override val backend = "onnx"
    override val version = "onnxruntime ${environment.version}"

    override fun open(source: PartSource, threads: Int): OpenPart = try {
        OrtSession.SessionOptions().use { options ->
            options.setIntraOpNumThreads(threads)
            options.setInterOpNumThreads(1)
            options.addConfigEntry("session.force_spinning_stop", "1")
            if (unsignedWeights) options.addConfigEntry("session.x64quantprecision", "1")
            OrtPart(source, environment.createSession(source.bytes, options))
        }
    } catch (error: OrtException) {
        throw BackendError("ONNX Runtime refuses ${source.name}: ${error.message}", error)
    }

    private inner class OrtPart(source: PartSource, private val session: OrtSession) : OpenPart {
        private val input = source.file.inputs.single()
        private val name = input.tensor ?: input.name
        private val shape = input.shape.map(Int::toLong).toLongArray()
        private val outputs = source.file.outputs.associate { (it.tensor ?: it.name) to it.name }

        override fun run(input: FloatBuffer): Map<String, FloatBuffer> = try {
            OnnxTensor.createTensor(environment, input.duplicate().apply { rewind() }, shape).use { tensor ->
                session.run(mapOf(name to tensor)).use { found ->
                    outputs.entries.associate { (there, here) ->
                        here to (found[there].get() as OnnxTensor).floatBuffer
                    }
                }
            }
        } catch (error: OrtException) {
            throw BackendError("ONNX Runtime could not run the part: ${error.message}", error)
        }

        override fun close() = session.close()
    }
}
