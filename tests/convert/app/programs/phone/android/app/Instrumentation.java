package android.app;

import android.content.Context;

/** A signature for the instrumentation test. */
public class Instrumentation {
    public Context getTargetContext() {
        return null;
    }
}
