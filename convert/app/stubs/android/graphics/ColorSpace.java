package android.graphics;

/** As much of it as the library calls: a signature to compile against. */
public abstract class ColorSpace {
    public enum Named { SRGB, DISPLAY_P3 }
    public static ColorSpace get(Named name) {
        throw new UnsupportedOperationException("a signature to compile against");
    }
}
