package android.widget;

import android.content.Context;

/** A signature for the sample. */
public class Button extends TextView {
    public Button(Context context) {
        super(context);
    }
}
