package com.google.ai.edge.litert;

/** As much of it as the library calls: a signature to compile against. */
public enum Accelerator { NONE, CPU, GPU, NPU }
