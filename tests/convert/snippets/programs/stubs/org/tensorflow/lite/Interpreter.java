package org.tensorflow.lite;

import bridge.Bridge;
import java.nio.ByteBuffer;
import java.util.Map;

/** As much of LiteRT's Interpreter as the Java snippet uses, with its rules for buffers; a Bridge does the work. */
public final class Interpreter implements AutoCloseable {
    /** Options. */
    public static final class Options {
        public Options setNumThreads(int threads) {
            return this;
        }
    }

    public Interpreter(ByteBuffer file, Options options) {
        if (!file.isDirect() || file.get(4) != 'T') {
            throw new IllegalArgumentException("a direct or mapped .tflite file");
        }
    }

    public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String key) {
        ByteBuffer image = (ByteBuffer) inputs.get("image");
        if (!image.isDirect() || image.position() != 0) {
            throw new IllegalArgumentException("a direct buffer, rewound");
        }
        byte[] rgb = new byte[image.remaining()];
        image.get(rgb);
        ((float[]) outputs.get("score"))[0] = Bridge.run(key, rgb);
    }

    @Override
    public void close() {}
}
