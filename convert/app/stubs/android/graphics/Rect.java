package android.graphics;

/** As much of it as the library calls: a signature to compile against. */
public final class Rect {
    public Rect(int left, int top, int right, int bottom) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
