package com.google.ai.edge.litert;

/** LiteRT's. */
public enum Accelerator {
    CPU,
    GPU,
    NPU
}
