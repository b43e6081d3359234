package io.mobileiqa

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer

/** The file in LiteRT. Made, used and closed on one thread. */
internal class LiteRtRunner(
    assets: AssetManager,
    private val facts: ModelFacts,
    accelerator: String,
    threads: Int,
    weightCache: String?,
) : Runner {
    private val model = CompiledModel.create(
        assets,
        "$ASSETS/${facts.file}",
        CompiledModel.Options(acceleratorOf(accelerator)).apply {
            cpuOptions = CompiledModel.CpuOptions(threads, null, weightCache)
        },
    )
    private val inputs = HashMap<String, TensorBuffer>()
    private val outputs = LinkedHashMap<String, TensorBuffer>()

    init {
        try {
            for (view in facts.views) inputs[view.name] = model.createInputBuffer(view.name, facts.signature)
            outputs["score"] = model.createOutputBuffer("score", facts.signature)
            if (facts.reasons.isNotEmpty()) outputs["reasons"] = model.createOutputBuffer("reasons", facts.signature)
        } catch (error: Exception) {
            close()
            throw error
        }
    }

    override fun run(views: List<ByteArray>): FloatArray {
        facts.views.zip(views) { view, pixels ->
            val input = inputs.getValue(view.name)
            if (facts.takesBytes) input.writeInt8(pixels) else input.writeFloat(normalised(pixels, view))
        }
        model.run(inputs, outputs, facts.signature)
        return outputs.values.flatMap { it.readFloat().asList() }.toFloatArray()
    }

    override fun close() {
        (inputs.values + outputs.values).forEach { it.close() }
        model.close()
    }
}

/** The libraries in which LiteRT looks for a GPU accelerator; litert-gpu has one of them. */
private val GPU_LIBRARIES = listOf("GpuAccelerator", "ClGlAccelerator", "OpenClAccelerator", "WebGpuAccelerator", "VulkanAccelerator")

internal var loadLibrary: (String) -> Unit = System::loadLibrary

/** Without litert-gpu in the app, LiteRT runs on the CPU and says nothing: a self-test would pass and name the GPU. */
private fun acceleratorOf(name: String): Accelerator {
    if (name != "gpu") return Accelerator.CPU
    check(GPU_LIBRARIES.any { loads("LiteRt$it") }) {
        "no GPU accelerator is in the app: add com.google.ai.edge.litert:litert-gpu"
    }
    return Accelerator.GPU
}

private fun loads(library: String): Boolean = try {
    loadLibrary(library)
    true
} catch (error: UnsatisfiedLinkError) {
    false
}
