package org.edgemoe.demo

import edgemoe.core.BackendError
import edgemoe.core.Engine
import edgemoe.core.OpenPart
import edgemoe.core.PartSource
import edgemoe.core.floats
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/** LiteRT by its Interpreter, with XNNPACK: what most bundles are made for. */
internal class LiteRtEngine : Engine {
    override val backend = "litert"
    override val version = "tensorflow-lite ${TensorFlowLite.runtimeVersion()}"

    override fun open(source: PartSource, threads: Int): OpenPart {
        val model = ByteBuffer.allocateDirect(source.bytes.size).order(ByteOrder.nativeOrder()) // it is not copied
        model.put(source.bytes).toStart()
        val options = Interpreter.Options().setNumThreads(threads).setUseXNNPACK(true)
        return refusing(source) {
            val interpreter = Interpreter(model, options)
            try {
                LiteRtPart(source, interpreter)
            } catch (error: Throwable) {
                interpreter.close()
                throw error
            }
        }
    }
}

private class LiteRtPart(private val source: PartSource, private val interpreter: Interpreter) : OpenPart {
    private class Output(val name: String, val floats: FloatBuffer)

    private val outputs: Map<Int, Output> = source.file.outputs.associate { tensor ->
        val count = source.spec.outputs.first { it.name == tensor.name }.count
        interpreter.getOutputIndex(tensor.tensor ?: tensor.name) to Output(tensor.name, floats(count))
    }
    private val byName = outputs.values.associate { it.name to it.floats }

    override fun run(input: FloatBuffer): Map<String, FloatBuffer> {
        for (output in byName.values) output.toStart() // the interpreter moves them
        refusing(source) {
            interpreter.runForMultipleInputsOutputs(
                arrayOf(input.duplicate().apply { toStart() }),
                outputs.mapValues { it.value.floats },
            )
        }
        return byName
    }

    override fun close() = interpreter.close()
}

private inline fun <T> refusing(source: PartSource, act: () -> T): T = try {
    act()
} catch (error: IllegalArgumentException) {
    throw BackendError("LiteRT refuses ${source.name}: ${error.message}", error)
} catch (error: IllegalStateException) {
    throw BackendError("LiteRT could not run ${source.name}: ${error.message}", error)
}
