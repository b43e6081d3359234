package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import java.util.Map;

/** As much of it as the library calls: a signature to compile against. */
public final class CompiledModel implements AutoCloseable {
    public static final class CpuOptions {
        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {
            throw new UnsupportedOperationException("a signature to compile against");
        }
    }
    public static final class Options {
        public Options(Accelerator... accelerators) {
            throw new UnsupportedOperationException("a signature to compile against");
        }
        public CpuOptions getCpuOptions() {
            throw new UnsupportedOperationException("a signature to compile against");
        }
        public void setCpuOptions(CpuOptions options) {
            throw new UnsupportedOperationException("a signature to compile against");
        }
    }
    public static CompiledModel create(AssetManager assets, String asset, Options options) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public TensorBuffer createInputBuffer(String name, String signature) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public TensorBuffer createOutputBuffer(String name, String signature) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void run(Map<String, TensorBuffer> inputs, Map<String, TensorBuffer> outputs, String signature) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    @Override
    public void close() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
