package android.os;

/** A signature for the sample. */
public final class Bundle {}
