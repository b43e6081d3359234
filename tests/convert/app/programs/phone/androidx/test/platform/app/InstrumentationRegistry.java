package androidx.test.platform.app;

import android.app.Instrumentation;

/** A signature for the instrumentation test. */
public final class InstrumentationRegistry {
    public static Instrumentation getInstrumentation() {
        return null;
    }
}
