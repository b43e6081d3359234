package com.google.ai.edge.litert;

/** As much of it as the library calls: a signature to compile against. */
public final class TensorBuffer implements AutoCloseable {
    public void writeInt8(byte[] data) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public void writeFloat(float[] data) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    public float[] readFloat() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
    @Override
    public void close() {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
