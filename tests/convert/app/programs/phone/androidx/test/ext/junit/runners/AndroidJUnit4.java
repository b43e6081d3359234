package androidx.test.ext.junit.runners;

/** A signature for the instrumentation test. */
public final class AndroidJUnit4 extends org.junit.runner.Runner {}
