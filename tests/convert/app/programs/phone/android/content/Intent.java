package android.content;

import android.net.Uri;

/** Signatures for the sample. */
public class Intent {
    public static final String ACTION_OPEN_DOCUMENT = "android.intent.action.OPEN_DOCUMENT";
    public Intent(String action) {}
    public Intent setType(String type) {
        return this;
    }
    public Uri getData() {
        return null;
    }
}
