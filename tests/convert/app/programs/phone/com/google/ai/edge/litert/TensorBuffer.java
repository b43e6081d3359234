package com.google.ai.edge.litert;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Bytes. */
public final class TensorBuffer implements AutoCloseable {
    byte[] bytes;
    public void writeInt8(byte[] data) {
        bytes = data.clone();
    }
    public void writeFloat(float[] data) {
        ByteBuffer buffer = ByteBuffer.allocate(4 * data.length).order(ByteOrder.LITTLE_ENDIAN);
        buffer.asFloatBuffer().put(data);
        bytes = buffer.array();
    }
    public float[] readFloat() {
        float[] data = new float[bytes.length / 4];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(data);
        return data;
    }
    @Override
    public void close() {}
}
