package com.google.ai.edge.litert;

/** LiteRT's, over arrays. */
public final class TensorBuffer implements AutoCloseable {
    byte[] bytes;
    float[] floats;

    public void writeInt8(byte[] data) {
        bytes = data.clone();
    }

    public float[] readFloat() {
        return floats;
    }

    @Override
    public void close() {}
}
