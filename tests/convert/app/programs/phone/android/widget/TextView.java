package android.widget;

import android.content.Context;
import android.view.View;

/** Signatures for the sample. */
public class TextView extends View {
    public TextView(Context context) {}
    public void setText(CharSequence text) {}
    public CharSequence getText() {
        return "";
    }
}
