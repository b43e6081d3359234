package android.view;

/** Signatures for the sample. */
public class View {
    public interface OnClickListener {
        void onClick(View view);
    }
    public void setOnClickListener(OnClickListener listener) {}
}
