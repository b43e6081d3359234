package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.util.Map;

/** LiteRT of Python, in a process of its own; the GPU is a file that it runs in place of the one that was asked for. */
public final class CompiledModel implements AutoCloseable {
    public static String[] command = {};
    public static String gpu = "";
    public static int runs = 0;
    public static String options = "";
    private final Thread owner = Thread.currentThread();
    private final Process process;
    private final DataOutputStream out;
    private final DataInputStream in;
    public static final class CpuOptions {
        final String words;
        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {
            words = numThreads + " " + new File(xnnPackWeightCachePath).getName();
        }
    }
    public static final class Options {
        final Accelerator accelerator;
        private CpuOptions cpuOptions;
        public Options(Accelerator... accelerators) {
            accelerator = accelerators[0];
        }
        public CpuOptions getCpuOptions() {
            return cpuOptions;
        }
        public void setCpuOptions(CpuOptions options) {
            cpuOptions = options;
        }
    }
    private CompiledModel(String file) throws IOException {
        String[] words = java.util.Arrays.copyOf(command, command.length + 1);
        words[command.length] = file;
        process = new ProcessBuilder(words).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        out = new DataOutputStream(process.getOutputStream());
        in = new DataInputStream(process.getInputStream());
    }
    public static CompiledModel create(AssetManager assets, String asset, Options options) throws IOException {
        boolean onGpu = options.accelerator == Accelerator.GPU;
        if (onGpu && gpu.isEmpty()) {
            throw new IllegalStateException("no GPU here");
        }
        CompiledModel.options = options.accelerator + " " + options.cpuOptions.words;
        return new CompiledModel(onGpu ? gpu : new File(assets.folder, asset).getPath());
    }
    public TensorBuffer createInputBuffer(String name, String signature) {
        return new TensorBuffer();
    }
    public TensorBuffer createOutputBuffer(String name, String signature) {
        return new TensorBuffer();
    }
    public void run(Map<String, TensorBuffer> inputs, Map<String, TensorBuffer> outputs, String signature) throws IOException {
        check();
        runs++;
        out.writeInt(inputs.size());
        for (Map.Entry<String, TensorBuffer> each : inputs.entrySet()) {
            out.writeUTF(each.getKey());
            out.writeInt(each.getValue().bytes.length);
            out.write(each.getValue().bytes);
        }
        out.flush();
        for (Map.Entry<String, TensorBuffer> each : outputs.entrySet()) {
            out.writeUTF(each.getKey());
            out.flush();
            each.getValue().bytes = new byte[in.readInt()];
            in.readFully(each.getValue().bytes);
        }
        out.writeUTF("");
        out.flush();
    }
    @Override
    public void close() {
        check();
        process.destroy();
    }
    private void check() {
        if (Thread.currentThread() != owner) {
            throw new IllegalStateException("another thread than the one that made the model");
        }
    }
}
