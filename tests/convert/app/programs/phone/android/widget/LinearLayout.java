package android.widget;

import android.content.Context;
import android.view.View;

/** Signatures for the sample. */
public class LinearLayout extends View {
    public static final int VERTICAL = 1;
    public LinearLayout(Context context) {}
    public void setOrientation(int orientation) {}
    public int getOrientation() {
        return VERTICAL;
    }
    public void addView(View view) {}
}
