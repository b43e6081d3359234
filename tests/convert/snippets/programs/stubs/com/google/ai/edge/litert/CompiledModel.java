package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import bridge.Bridge;
import java.util.Collections;
import java.util.List;

/** As much of LiteRT's CompiledModel as the Kotlin snippet uses; a Bridge does the work. */
public final class CompiledModel implements AutoCloseable {
    /** Options. */
    public static final class Options {
        public Options(Accelerator... accelerators) {}
    }

    public static CompiledModel create(AssetManager assets, String asset, Options options) {
        return new CompiledModel();
    }

    public List<TensorBuffer> createInputBuffers(String signature) {
        return Collections.singletonList(new TensorBuffer());
    }

    public List<TensorBuffer> createOutputBuffers(String signature) {
        return Collections.singletonList(new TensorBuffer());
    }

    public void run(List<TensorBuffer> inputs, List<TensorBuffer> outputs, String signature) {
        outputs.get(0).floats = new float[] {Bridge.run(signature, inputs.get(0).bytes)};
    }

    @Override
    public void close() {}
}
